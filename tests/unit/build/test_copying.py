"""Copying between trees: what is in the way gives way, attributes and times stay, no fd is left open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.build.copying import CHUNK, DIRECTORY, Copier, Placement, Selection, fingerprint
from sampan.errors import InvalidParameter

WHOLE = Selection("", True)


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """fds of the directories ``from`` and ``to``."""
    fds = []
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
        fds.append(os.open(tmp_path / name, DIRECTORY))
    yield fds[0], fds[1]
    for fd in fds:
        os.close(fd)


def test_files_take_the_place_of_files_and_links_only(tmp_path: Path, trees: tuple[int, int]) -> None:
    source, target = trees
    for name in ("file", "link"):
        (tmp_path / "from" / name).write_text("new")
    os.utime(tmp_path / "from" / "file", ns=(7, 7))
    (tmp_path / "from" / "file").chmod(0o4750)
    (tmp_path / "to" / "file").write_text("old, and longer")
    (tmp_path / "to" / "link").symlink_to("file")
    with Copier(target, Placement()) as copier:
        copier.copy(source, WHOLE, "", into=True)
        (tmp_path / "to" / "link").unlink()
        (tmp_path / "to" / "link").mkdir()
        with pytest.raises(InvalidParameter, match="cannot replace to directory link"):
            copier.copy(source, WHOLE, "", into=True)
    made = tmp_path / "to" / "file"
    assert made.read_text() == "new"
    assert (made.stat().st_mode & 0o7777, made.stat().st_mtime_ns) == (0o4750, 7)


def test_nothing_stays_open(tmp_path: Path, trees: tuple[int, int]) -> None:
    source, target = trees
    (tmp_path / "from" / "a" / "b").mkdir(parents=True)
    (tmp_path / "from" / "a" / "b" / "c").write_text("c")
    before = sorted(Path("/proc/self/fd").iterdir())
    with Copier(target, Placement()) as copier:
        copier.copy(source, WHOLE, "deep/er", into=True)
        copier.make_directory("left/off")
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert (tmp_path / "to/deep/er/a/b/c").read_text() == "c"


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_every_byte_counts_in_a_fingerprint(tmp_path: Path, trees: tuple[int, int], size: int) -> None:
    file = tmp_path / "from" / "file"
    file.write_bytes(bytes(size) + b"x")
    one = fingerprint(trees[0], [WHOLE], Placement())
    file.write_bytes(bytes(size) + b"y")
    assert fingerprint(trees[0], [WHOLE], Placement()) != one
