"""The OCI command line's grammar and the mount options' table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidParameter
from sampan.linux import mount as kernel
from sampan.runtime.flags import Switch, Text, Texts, parse
from sampan.runtime.mount_options import ATTRIBUTES, PROPAGATION
from sampan.runtime.mount_options import parse as parse_options

TABLE = {"bundle": Text, "detach": Switch, "env": Texts}
SHORT = {"b": "bundle", "d": "detach", "e": "env"}


def test_the_first_word_ends_the_flags() -> None:
    found = parse(["-d", "--bundle=/b", "-e", "A=1", "-env", "B=2", "id", "-d", "x"], TABLE, SHORT)
    assert found.on("detach")
    assert (found.text("bundle"), found.texts("env"), found.words) == ("/b", ["A=1", "B=2"], ["id", "-d", "x"])


def test_flags_may_follow_words_where_a_command_says_so() -> None:
    found = parse(["id", "-d", "--bundle", "/b", "--", "-e"], TABLE, SHORT, anywhere=True)
    assert found.on("detach")
    assert (found.text("bundle"), found.words) == ("/b", ["id", "-e"])


@pytest.mark.parametrize("words", [["--nope"], ["--bundle"], ["--detach=maybe"]])
def test_a_wrong_flag_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidParameter):
        parse(words, TABLE, SHORT)


def test_of_two_contradicting_options_the_later_counts() -> None:
    assert parse_options(["ro", "rw"]).set & kernel.MOUNT_ATTR_RDONLY == 0
    assert parse_options(["rw", "ro"]).set & kernel.MOUNT_ATTR_RDONLY


def test_recursive_options_are_kept_apart() -> None:
    options = parse_options(["rbind", "rro", "nosuid", "rslave", "ridmap", "size=1m"])
    assert (options.bind, options.recursive, options.idmap, options.idmap_below) == (True, True, True, True)
    assert options.set_below == kernel.MOUNT_ATTR_RDONLY
    assert options.set == kernel.MOUNT_ATTR_NOSUID
    assert options.propagation == ((kernel.MS_SLAVE, True),)
    assert options.data == ("size=1m",)


@given(st.lists(st.sampled_from([*ATTRIBUTES, *PROPAGATION, "bind", "size=1m"])))
def test_no_attribute_is_both_set_and_cleared(words: list[str]) -> None:
    options = parse_options(words)
    flags = ~kernel.MOUNT_ATTR__ATIME
    assert options.set & options.clear & flags == 0
