"""``docker cp`` and ``export``: names as Docker's, and no way out of the root."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from layer_tars import hard, link, listing, member, members_of, tar

from sampan.archive.copy import export, pack, stat_path, unpack
from sampan.archive.errors import MalformedArchive
from sampan.errors import InvalidParameter, NotFound


@pytest.fixture
def container(root: Path) -> Path:
    """A root file system beside a host's file."""
    (root / "secret").write_text("host")
    made = root / "c"
    (made / "etc/x").mkdir(parents=True)
    (made / "etc/passwd").write_text("root")
    (made / "etc/up").symlink_to("../../../..")
    (made / "abs").symlink_to("/etc")
    (made / "out").symlink_to(root / "secret")
    return made


@pytest.fixture
def fd(container: Path) -> Iterator[int]:
    opened = os.open(container, os.O_PATH)
    yield opened
    os.close(opened)


def packed(fd: int, path: str) -> list[str]:
    sink = io.BytesIO()
    pack(fd, path, sink)
    return [info.name for info in members_of(sink.getvalue())]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/etc", ["etc", "etc/passwd", "etc/up", "etc/x"]),
        ("etc/.", [".", "./passwd", "./up", "./x"]),
        ("/etc/passwd", ["passwd"]),
        ("/abs", ["abs"]),
        ("/abs/", ["abs", "abs/passwd", "abs/up", "abs/x"]),
        ("/etc/up/etc/x", ["x"]),
        ("/../../etc/x", ["x"]),
    ],
)
def test_an_archive_is_named_by_the_last_component(fd: int, path: str, names: list[str]) -> None:
    assert packed(fd, path) == names


def test_a_stat_does_not_follow_the_last_link(fd: int, root: Path) -> None:
    found = stat_path(fd, "/abs")
    assert (found.name, found.mode >> 27 & 1, found.link_target) == ("abs", 1, "/etc")
    assert stat_path(fd, "/abs/").is_directory
    assert stat_path(fd, "/out").link_target == str(root / "secret")


@pytest.mark.parametrize("path", ["/missing", "/etc/missing/x", "/out/"])
def test_a_missing_path_is_not_found_even_where_the_host_has_it(fd: int, path: str) -> None:
    with pytest.raises(NotFound, match="Could not find the file"):
        packed(fd, path)


def test_a_path_through_a_file_is_refused(fd: int) -> None:
    with pytest.raises(InvalidParameter):
        packed(fd, "/etc/passwd/x")


def test_what_is_packed_is_unpacked(fd: int, container: Path) -> None:
    sink = io.BytesIO()
    pack(fd, "/etc", sink)
    (container / "to").mkdir()
    unpack(io.BytesIO(sink.getvalue()), fd, "/to")
    assert listing(container / "to/etc") == listing(container / "etc")


def test_unpacking_follows_links_inside_the_root_only(fd: int, container: Path, root: Path) -> None:
    members = [member("out", b"a file now"), link("l", str(root)), hard("h", "etc/passwd")]
    unpack(io.BytesIO(tar(members)), fd, "/")
    assert (root / "secret").read_text() == "host"
    assert not (container / "out").is_symlink()
    assert (container / "h").read_text() == "root"
    unpack(io.BytesIO(tar([member("new", b"x")])), fd, "/etc/up/abs")
    assert (container / "etc/new").read_text() == "x"
    assert sorted(entry.name for entry in root.iterdir()) == ["c", "secret"]


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_a_member_that_climbs_out_is_refused(fd: int, root: Path, name: str) -> None:
    with pytest.raises(MalformedArchive):
        unpack(io.BytesIO(tar([member(name, b"x")])), fd, "/etc")
    assert not (root / "x").exists()


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (member("x", b"file"), 'cannot overwrite directory "/x" with non-directory "x"'),
        (member("passwd/"), 'cannot overwrite non-directory "/passwd" with directory "passwd'),
    ],
)
def test_kinds_are_kept_when_asked(fd: int, entry: tuple, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        unpack(io.BytesIO(tar([entry])), fd, "/etc", overwrite_directories=False)
    assert sentence in raised.value.message


def test_everything_can_be_given_to_one_owner(fd: int, container: Path) -> None:
    unpack(io.BytesIO(tar([member("d/", uid=1), member("d/f", b"x", uid=2)])), fd, "/", owner=(7, 8))
    assert [(container / path).stat().st_uid for path in ("d", "d/f")] == [7, 7]


def test_only_a_directory_can_be_extracted_into(fd: int) -> None:
    with pytest.raises(InvalidParameter, match="extraction point is not a directory"):
        unpack(io.BytesIO(tar([])), fd, "/etc/passwd")
    with pytest.raises(NotFound):
        unpack(io.BytesIO(tar([])), fd, "/missing")


def test_an_export_holds_the_whole_tree(container: Path) -> None:
    sink = io.BytesIO()
    tree = os.open(container, os.O_RDONLY)
    export(tree, sink, leave_out=("etc/x",))
    os.close(tree)
    assert [info.name for info in members_of(sink.getvalue())] == ["abs", "etc", "etc/passwd", "etc/up", "out"]
