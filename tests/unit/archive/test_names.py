"""Member names: made relative, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.archive import names
from sampan.archive.errors import MalformedArchive


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b", "a/b"),
        ("./a/b/", "a/b"),
        ("/etc/passwd", "etc/passwd"),
        ("a/./b//c", "a/b/c"),
        ("a/../b", "b"),
        ("./", ""),
        (".", ""),
        ("..a/b..", "..a/b.."),
        (".wh.x", ".wh.x"),
    ],
)
def test_a_name_becomes_a_relative_path(name: str, path: str) -> None:
    assert names.clean(name) == path


@pytest.mark.parametrize("name", ["..", "../a", "a/../../b", "/../a", "a/b/../../..", "a\0b"])
def test_a_name_that_climbs_out_is_refused(name: str) -> None:
    with pytest.raises(MalformedArchive):
        names.clean(name)


@given(st.text(st.sampled_from("ab./"), max_size=30))
def test_a_clean_name_never_leaves_the_root(name: str) -> None:
    try:
        path = names.clean(name)
    except MalformedArchive:
        return
    assert not path.startswith("/")
    assert not {"..", "."} & set(path.split("/"))


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh..."])
def test_a_whiteout_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(MalformedArchive):
        names.whiteout_of(name)


def test_whiteouts_are_told_from_aufs_leftovers() -> None:
    assert names.whiteout_of(".wh.file") == "file"
    assert names.whiteout_of(names.OPAQUE) is None
    assert names.is_aufs(".wh..wh.plnk")
    assert not names.is_aufs(names.OPAQUE)
