"""``builder.gc`` of daemon.json as prunes, in all the forms that dockerd reads."""

from pathlib import Path
from typing import Any

import pytest

from sampan.engine.builder_collection import TWO_DAYS, policies_of
from sampan.errors import InvalidParameter


def test_without_settings_there_are_dockers_policies(tmp_path: Path) -> None:
    first, *others = policies_of({}, tmp_path)
    assert first.filters.get("until") == [TWO_DAYS]
    assert first.max_used_space >= 512_000_000
    assert [policy.all for policy in others] == [False, False, True]
    assert all(policy.reserved_space and policy.max_used_space and policy.min_free_space for policy in others)


def test_no_collection_where_none_is_wanted(tmp_path: Path) -> None:
    assert policies_of({"gc": {"enabled": False}}, tmp_path) == ()
    assert policies_of({"GC": {"Policy": []}}, tmp_path) == ()


@pytest.mark.parametrize("name", ["defaultKeepStorage", "defaultReservedSpace"])
def test_what_is_kept_by_default_has_two_names(tmp_path: Path, name: str) -> None:
    _, *others = policies_of({"gc": {name: "20GB"}}, tmp_path)
    assert {(policy.reserved_space, policy.max_used_space) for policy in others} == {(20 << 30, 0)}


@pytest.mark.parametrize("written", [["unused-for=48h"], {"unused-for": ["48h"]}, {"unused-for": {"48h": True}}])
def test_a_policys_filters_have_three_forms(tmp_path: Path, written: Any) -> None:
    rules = [{"filter": written, "keepStorage": "1kb"}, {"all": True, "maxUsedSpace": "2kb", "minFreeSpace": "3kb"}]
    first, second = policies_of({"gc": {"policy": rules}}, tmp_path)
    assert (first.filters.get("unused-for"), first.reserved_space, first.all) == (["48h"], 1024, False)
    assert (second.max_used_space, second.min_free_space, second.all) == (2048, 3072, True)


@pytest.mark.parametrize(
    ("gc", "sentence"),
    [
        ({"polcy": []}, "builder.gc: unknown key 'polcy'"),
        ({"defaultKeepStorage": "much"}, "builder.gc: failed to parse defaultkeepstorage"),
        ({"policy": [{"keepStorage": "x"}]}, r"builder.gc.policy\[0\]: failed to parse keepstorage"),
        ({"policy": [{"filter": ["colour=red"]}]}, r"builder.gc.policy\[0\].*colour"),
        ({"policy": ["all"]}, r"builder.gc.policy\[0\] is not an object"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, gc: Any, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        policies_of({"gc": gc}, tmp_path)
