"""Which stages a target needs."""

import pytest

from sampan.build.stages import global_arguments, needed_stages, target_index
from sampan.dockerfile.parser import parse
from sampan.errors import InvalidParameter

FILE = parse(
    "ARG BASE=one\nFROM a AS one\nFROM b AS two\nFROM ${BASE} AS three\nCOPY --from=1 /x /\n"
    "FROM c AS four\nRUN --mount=from=three,target=/t x\nFROM d AS five\n"
)


def test_only_what_the_target_reaches_is_needed() -> None:
    arguments = global_arguments(FILE, {}, {})
    assert needed_stages(FILE, target_index(FILE, "four"), arguments) == [0, 1, 2, 3]
    assert needed_stages(FILE, target_index(FILE, ""), arguments) == [4]
    assert needed_stages(FILE, target_index(FILE, "Three"), {"BASE": "elsewhere"}) == [1, 2]


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(InvalidParameter, match='target stage "six" could not be found'):
        target_index(FILE, "six")


def test_given_arguments_win_over_defaults() -> None:
    file = parse("ARG A=1\nARG B=$A$TARGETOS\nFROM x\n")
    assert global_arguments(file, {"A": "2", "unknown": "3"}, {"TARGETOS": "linux"}) == {
        "TARGETOS": "linux",
        "A": "2",
        "B": "2linux",
    }
