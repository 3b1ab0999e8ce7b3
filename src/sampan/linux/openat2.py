"""openat2(2): open a path below a directory without ever leaving it.

With RESOLVE_IN_ROOT the directory is the root of the walk: ``/`` and ``..`` and absolute symbolic links stay inside,
however the tree is changed meanwhile. This is how every path of a container's or a layer's file system is opened.

Source: openat2(2), include/uapi/linux/openat2.h. Linux 5.6.
"""

import ctypes
import errno
import os
import stat

from sampan.linux.syscall import syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_OPENAT2 = 437
_RETRIES = 128


class _OpenHow(ctypes.Structure):
    """struct open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(dir_fd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open ``path`` relative to ``dir_fd``; O_CLOEXEC is implied. Returns the fd.

    EAGAIN (a rename raced with a ``..``) is tried again, as the man page asks.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for attempt in range(_RETRIES):
        try:
            return syscall(
                *("openat2", _OPENAT2, dir_fd, os.fsencode(path), how, ctypes.sizeof(how)),
                about=os.fsdecode(path),
            )
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == _RETRIES - 1:
                raise
    raise AssertionError("unreachable")


def open_in_root(root: int, path: str | bytes, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Open ``path`` as a process chrooted to the directory ``root`` would; magic links of /proc are refused."""
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    return openat2(root, path or ".", flags, mode, resolve)


def open_regular(root: int, path: str | bytes) -> int:
    """Open a regular file as a process chrooted to ``root`` would, for reading.

    Anything else raises OSError (EINVAL) and is not opened: a pipe would be waited for, and opening a device may be
    all that it takes to set it off (a watchdog, a tape). Nothing that a container can write to is opened otherwise.
    """
    return _reopened(open_in_root(root, path, os.O_PATH))


def open_member(directory: int, name: str | bytes) -> int:
    """As ``open_regular``, a name of a directory itself; a symbolic link is nothing that could be read."""
    return _reopened(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory))


def open_settled(directory: int, name: str | bytes) -> int:
    """As ``open_member``, in a tree that nobody else writes to, for a name whose status has been seen to be a file's.

    One call instead of four; what could wait (a pipe) does not.
    """
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)


def _reopened(seen: int) -> int:
    try:
        if not stat.S_ISREG(os.fstat(seen).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(seen)
