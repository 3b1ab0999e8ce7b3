"""Which process owns a data root and an exec root: directories, an exclusive lock, the pid file.

<data-root>/lock    flock(2) held for the life of the daemon; the kernel drops it however the process ends
--pidfile           decimal pid; a stale one is replaced, a live one is refused
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sampan.config import Config
from sampan.errors import Conflict


@contextlib.contextmanager
def owned(config: Config) -> Iterator[None]:
    """Make the roots, lock the data root and write the pid file until the block ends.

    Raises Conflict when another daemon holds the data root or the pid file.
    """
    data_root, exec_root = Path(config.data_root), Path(config.exec_root)
    data_root.mkdir(parents=True, exist_ok=True, mode=0o711)
    exec_root.mkdir(parents=True, exist_ok=True, mode=0o711)
    with locked(data_root / "lock"), pid_written(config.pidfile):
        yield


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive flock on ``path``; raises Conflict when somebody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Conflict(f"another daemon is using {path.parent}: give this one its own --data-root") from None
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def pid_written(name: str) -> Iterator[None]:
    """Keep our pid in the file ``name`` (none when empty); raises Conflict if a live daemon wrote it."""
    if not name:
        yield
        return
    path = Path(name)
    refuse_live(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def refuse_live(path: Path) -> None:
    """Raise Conflict if the pid in ``path`` is a running process other than this one."""
    try:
        pid = int(path.read_text().strip() or 0)
    except (FileNotFoundError, ValueError):
        return
    if pid and pid != os.getpid() and Path(f"/proc/{pid}").exists():
        raise Conflict(
            f"failed to start daemon, ensure docker is not running or delete {path}: "
            f"process with PID {pid} is still running"
        )
