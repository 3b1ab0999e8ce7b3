"""Directories of trees that have nothing to do with one another, and how ext4 is told so.

ext4 puts what lies below one directory side by side. Where trees come and go there, each new file is looked for past
all that were deleted in the last minutes: to make 20,000 files took twelve times as long after a few rounds. Told
that the children are unrelated, it gives each a place of its own.

Source: ioctl_iflags(2), chattr(1) (attribute T).
"""

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_TOPDIR = 0x20000
_FLAGS = struct.Struct("=q")


def make_home_of_trees(directory: Path, mode: int) -> None:
    """Make ``directory`` with ``mode`` and those above it, if missing, and have its children spread.

    Other file systems know no such flag; there it is a directory as any other.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=mode)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            flags = _FLAGS.unpack(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(_FLAGS.size)))[0]
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, _FLAGS.pack(flags | _TOPDIR))
    finally:
        os.close(fd)
