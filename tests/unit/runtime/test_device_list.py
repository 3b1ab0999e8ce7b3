"""The device list of cgroup v1: what rules come to, and what is written for it."""

import pytest

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import DeviceCgroup
from sampan.runtime.device_list import compose, listed, writes

NOTHING = DeviceCgroup(False)


def written(*rules: DeviceCgroup, current: str | None = None) -> list[tuple[str, list[str]]]:
    return list(writes(compose(rules), None if current is None else listed(current)))


def test_what_is_allowed_is_written_in_one_go() -> None:
    rules = (
        NOTHING,
        DeviceCgroup(True, "c", 1, 3, "rwm"),
        DeviceCgroup(True, "b", None, -1, "m"),
        DeviceCgroup(False, "c", 1, 3, "w"),
        DeviceCgroup(True, "c", 5, None),
    )
    assert written(*rules) == [("devices.deny", ["a"]), ("devices.allow", ["c 1:3 rm", "b *:* m", "c 5:* rwm"])]


def test_where_everything_is_allowed_only_what_is_denied_is_written_beside_it() -> None:
    rules = (DeviceCgroup(True), DeviceCgroup(True, "c", 1, 3), DeviceCgroup(False, "c", 1, 11))
    assert written(*rules) == [("devices.allow", ["a"]), ("devices.deny", ["c 1:11 rwm"])]


def test_a_rule_for_everything_settles_what_came_before_it() -> None:
    assert written(DeviceCgroup(True, "c", 1, 3), DeviceCgroup(True), NOTHING) == [("devices.deny", ["a"])]


def test_a_wider_rule_takes_back_all_that_it_covers() -> None:
    rules = (NOTHING, DeviceCgroup(True, "c", 10, 229), DeviceCgroup(True, "c", 10, 1), DeviceCgroup(False, "c", 10))
    assert written(*rules) == [("devices.deny", ["a"])]


def test_a_type_left_out_with_numbers_is_both_kinds_and_not_everything() -> None:
    assert written(NOTHING, DeviceCgroup(True, "a", 10, 229)) == [
        ("devices.deny", ["a"]),
        ("devices.allow", ["b 10:229 rwm", "c 10:229 rwm"]),
    ]


@pytest.mark.parametrize("first", [NOTHING, DeviceCgroup(True)])
def test_what_would_be_taken_out_of_a_wider_rule_is_refused(first: DeviceCgroup) -> None:
    wide, narrow = DeviceCgroup(not first.allow, "c", 10), DeviceCgroup(first.allow, "c", 10, 229, "r")
    with pytest.raises(InvalidParameter, match=r"c 10:229 is part of c 10:\*.*cgroup v1 cannot"):
        compose((first, wide, narrow))
    other = DeviceCgroup(not first.allow, "c", 10, None, "w")
    assert compose((first, other, narrow)).named == {("c", "10", "*"): {"w"}}


def test_beside_a_list_that_is_there_only_the_difference_is_written() -> None:
    rules = (NOTHING, DeviceCgroup(True, "c", 1, 3), DeviceCgroup(True, "c", 1, 5, "r"))
    assert written(*rules, current="c 1:3 rwm\nc 1:5 rw\nb 8:0 r\n") == [("devices.deny", ["c 1:5 w", "b 8:0 r"])]
    assert written(*rules, current="c 1:3 rwm\n") == [("devices.allow", ["c 1:5 r"])]
    assert written(*rules, current="c 1:3 rwm\nc 1:5 r\n") == []
    assert written(DeviceCgroup(True), current="a *:* rwm\n") == []
