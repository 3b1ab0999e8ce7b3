"""inotify(7): a descriptor that becomes readable when a file changes."""

import os
import struct
from collections.abc import Iterator

from sampan.linux.syscall import libc_call

IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC
IN_MODIFY = 0x2
IN_CREATE = 0x100


def watch_modified(path: str, directory: str = "") -> int:
    """An fd that becomes readable when the file is written (or, for a kernel file, says so); OSError if missing.

    With ``directory`` it also does when a file is made there: a rotated file is not written any more, its successor is.
    """
    fd = libc_call("inotify_init1", IN_NONBLOCK | IN_CLOEXEC)
    try:
        libc_call("inotify_add_watch", fd, os.fsencode(path), IN_MODIFY, about=path)
        if directory:
            libc_call("inotify_add_watch", fd, os.fsencode(directory), IN_CREATE, about=directory)
    except OSError:
        os.close(fd)
        raise
    return fd


class Created:
    """Directories in which the making of files is watched; ``fd`` is readable when there is something to read."""

    EVENT = struct.Struct("iIII")

    def __init__(self) -> None:
        self.fd = libc_call("inotify_init1", IN_NONBLOCK | IN_CLOEXEC)

    def watch(self, directory: str) -> int:
        """The number by which events name ``directory``; the same when it is watched already."""
        return libc_call("inotify_add_watch", self.fd, os.fsencode(directory), IN_CREATE, about=directory)

    def read(self) -> Iterator[tuple[int, bytes]]:
        """(directory's number, file's name); no name: the directory is gone."""
        data = os.read(self.fd, 65536)
        while data:
            watch, _, _, size = self.EVENT.unpack_from(data)
            yield watch, data[self.EVENT.size : self.EVENT.size + size].rstrip(b"\0")
            data = data[self.EVENT.size + size :]
