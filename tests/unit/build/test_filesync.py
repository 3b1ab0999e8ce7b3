"""A client's files received: only what differs is asked for, nothing leaves the directory."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.build.buildkit import messages as m
from sampan.build.buildkit.filesync import DATA, ERROR, GO_DIRECTORY, GO_SETUID, GO_SYMLINK, STAT, Receiver, unix_mode
from sampan.errors import EngineError, InvalidParameter


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    made = Receiver(fd)
    yield made
    made.close()
    os.close(fd)


def named(path: str, mode: int = 0o644, **more: Any) -> Any:
    return m.Packet(type=STAT, stat=m.Stat(path=path, mode=mode, **more))


def take(receiver: Receiver, *packets: Any) -> list[int]:
    """The numbers of the files asked for."""
    return [answer.ID for packet in packets for answer in receiver.receive(packet)]


def test_files_arrive_and_others_go(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("x")
    wanted = take(
        receiver,
        named("d", GO_DIRECTORY | 0o755, modTime=5_000_000_000),
        named("d/file", 0o600, size=2, modTime=7_000_000_000),
        named("link", GO_SYMLINK | 0o777, linkname="d/file"),
        m.Packet(type=STAT),
    )
    assert wanted == [1]
    assert not receiver.complete
    take(receiver, m.Packet(type=DATA, ID=1, data=b"hi"), m.Packet(type=DATA, ID=1))
    assert receiver.complete
    receiver.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "link"]
    assert (tmp_path / "link").read_text() == "hi"
    assert stat.S_IMODE((tmp_path / "d" / "file").stat().st_mode) == 0o600
    assert (tmp_path / "d").stat().st_mtime_ns == 5_000_000_000


def test_a_file_that_is_here_is_not_asked_for(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "same").write_text("hi")
    (tmp_path / "same").chmod(0o644)
    os.utime(tmp_path / "same", ns=(9, 9))
    assert take(receiver, named("same", size=2, modTime=9), m.Packet(type=STAT)) == []
    assert receiver.complete


@pytest.mark.parametrize("path", ["../x", "/x", "", "a/../../x"])
def test_a_path_that_leads_out_is_refused(receiver: Receiver, path: str) -> None:
    with pytest.raises(InvalidParameter):
        take(receiver, named(path))


def test_a_file_nobody_asked_for_is_refused(receiver: Receiver) -> None:
    with pytest.raises(InvalidParameter):
        take(receiver, m.Packet(type=DATA, ID=4, data=b"x"))


def test_the_clients_error_is_ours(receiver: Receiver) -> None:
    with pytest.raises(EngineError, match="error from sender: no"):
        take(receiver, m.Packet(type=ERROR, data=b"no"))


def test_go_modes_are_translated() -> None:
    assert unix_mode(0o755 | GO_SETUID) == stat.S_IFREG | stat.S_ISUID | 0o755
    assert unix_mode(GO_DIRECTORY | 0o700) == stat.S_IFDIR | 0o700


def test_a_directory_replaced_under_way_takes_no_more_files(receiver: Receiver, tmp_path: Path) -> None:
    """The fd of the directory last worked in is kept; it must not outlive the name's meaning."""
    take(receiver, named("d", GO_DIRECTORY | 0o755), named("d/a", size=1), m.Packet(type=DATA, ID=1))
    take(receiver, named("d", GO_SYMLINK | 0o777, linkname="/elsewhere"))
    with pytest.raises(FileNotFoundError):
        take(receiver, named("d/b", size=1), m.Packet(type=DATA, ID=3, data=b"x"))
    assert (tmp_path / "d").is_symlink()
