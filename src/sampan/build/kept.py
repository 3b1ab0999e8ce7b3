"""Directories that outlive builds: cache mounts, and what clients sent of their contexts.

    <root>/<name>       the directory; locked (flock) while a step or a build has it
    <root>/<name>.id    what it is for; its mtime is when it was made, its atime when it was last used

A shared lock is for those that use it side by side, an exclusive one for those that want it alone, and for removal.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sampan.storage.snapshots import usage_of

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
LABEL = ".id"
GONE = ".gone-"


@dataclass(frozen=True, slots=True)
class Kept:
    """A directory on disk; ``size`` in bytes, times in nanoseconds since 1970."""

    path: Path
    description: str
    size: int
    stored_at: int
    used_at: int
    in_use: bool


def hold(directory: Path, opened: ExitStack, *, exclusive: bool = False, wait: bool = True) -> bool:
    """Lock ``directory``, made if missing, until ``opened`` ends; False if it is taken and ``wait`` is not wanted."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory, DIRECTORY)
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(lock)
            return False
        if _is_at(directory, lock):
            opened.callback(os.close, lock)
            return True
        os.close(lock)  # it was removed while we waited


def _is_at(directory: Path, fd: int) -> bool:
    try:
        return os.path.samestat(directory.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def label(directory: Path, description: str) -> None:
    """Note what the directory is for, and that it is used now."""
    path = directory.with_name(directory.name + LABEL)
    if not path.exists():
        path.write_text(description)
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def kept_in(root: Path) -> Iterator[Kept]:
    """The labelled directories of ``root``."""
    for path in sorted(root.glob("*" + LABEL)):
        directory, status = path.with_name(path.name.removesuffix(LABEL)), path.stat()
        if directory.is_dir():
            size = usage_of(directory).size
            yield Kept(
                directory, path.read_text(), size, status.st_mtime_ns, status.st_atime_ns, in_use=_is_locked(directory)
            )


def _is_locked(directory: Path) -> bool:
    with ExitStack() as opened:
        return not hold(directory, opened, exclusive=True, wait=False)


def drop(directory: Path) -> bool:
    """Remove the directory unless somebody has it; whether it went."""
    with ExitStack() as opened:
        if not hold(directory, opened, exclusive=True, wait=False):
            return False
        gone = directory.with_name(GONE + directory.name)
        directory.rename(gone)
        directory.with_name(directory.name + LABEL).unlink(missing_ok=True)
    shutil.rmtree(gone, ignore_errors=True)
    return True
