"""syncfs(2): write everything of one file system to its disk."""

import os
from pathlib import Path

from sampan.linux.syscall import syscall

_SYNCFS = {"x86_64": 306, "aarch64": 267, "riscv64": 267}.get(os.uname().machine, 267)


def syncfs(path: Path) -> None:
    """Sync the file system that ``path`` is on; raises OSError when a write failed."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscall("syncfs", _SYNCFS, fd, about=str(path))
    finally:
        os.close(fd)
