"""How much of the build cache stays, by what is kept, used at most, and to be free."""

import pytest

from sampan.api.build import BuildPruneOptions
from sampan.build.buildkit.records import FIELDS, fields_of, filters_of
from sampan.build.prune import kept_bytes
from sampan.errors import Unsupported

TOTAL, FREE = 100, 50


@pytest.mark.parametrize(
    ("reserved", "most", "least_free", "kept"),
    [
        (0, 0, 0, None),
        (30, 0, 0, 30),
        (0, 40, 0, 40),
        (60, 40, 0, 60),
        (0, 0, 50, TOTAL),
        (0, 0, 70, 80),
        (90, 0, 70, 90),
        (0, 40, 70, 40),
        (0, 95, 70, 80),
        (0, 0, 1000, 0),
    ],
)
def test_what_is_kept(reserved: int, most: int, least_free: int, kept: int | None) -> None:
    options = BuildPruneOptions(reserved_space=reserved, max_used_space=most, min_free_space=least_free)
    assert kept_bytes(TOTAL, FREE, options) == kept


@pytest.mark.parametrize(
    ("condition", "terms"),
    [
        ("type==regular", {"type": ["regular"]}),
        ("type!=regular", {"type": ["exec.cachemount", "source.local"]}),
        ("description~=apt,shared", {"description": ["apt"], "shared": ["true"]}),
    ],
)
def test_conditions_of_buildkits_are_filters(condition: str, terms: dict[str, list[str]]) -> None:
    assert filters_of([condition], 0).terms == terms


@pytest.mark.parametrize("condition", ["type~=reg", "description!=apt", "size>1"])
def test_a_condition_that_cannot_be_had_is_refused(condition: str) -> None:
    with pytest.raises(Unsupported, match="is not supported"):
        filters_of([condition], 0)


def test_fields_of_conditions_are_known() -> None:
    assert fields_of(["id~=ab,type!=regular,shared"]) <= FIELDS
    assert not fields_of(["type==regular,label==x"]) <= FIELDS
