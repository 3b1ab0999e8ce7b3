"""Overlay mounts both ways: by fds, and by paths as older kernels need it."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from sampan.linux import overlay


@pytest.fixture
def directory(root: Path) -> Path:
    for name in ("one", "two", "upper", "work"):
        (root / name).mkdir()
    (root / "one/a").write_text("a")
    (root / "two/b").write_text("b")
    return root


@pytest.mark.parametrize("by_fds", [True, False])
def test_a_stack_is_mounted_without_a_trace(directory: Path, by_fds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "takes_fds", lambda: by_fds)
    before = Path("/proc/self/mounts").read_text()
    with ExitStack() as opened:
        fd = overlay.mount_overlay([directory / "two", directory / "one"], overlay.Writable(directory, volatile=True))
        opened.callback(os.close, fd)
        assert Path("/proc/self/mounts").read_text() == before
        view = Path(f"/proc/self/fd/{fd}")
        assert [(view / name).read_text() for name in "ab"] == ["a", "b"]
        (view / "c").write_text("c")
    assert (directory / "upper/c").read_text() == "c"


@pytest.mark.parametrize("by_fds", [True, False])
def test_without_a_writable_layer_nothing_can_be_written(
    directory: Path, by_fds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "takes_fds", lambda: by_fds)
    fd = overlay.mount_overlay([directory / "two", directory / "one"])
    try:
        with pytest.raises(OSError, match="Read-only file system"):
            (Path(f"/proc/self/fd/{fd}") / "c").write_text("c")
    finally:
        os.close(fd)
