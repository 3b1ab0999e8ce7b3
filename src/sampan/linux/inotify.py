"""inotify(7): a descriptor that becomes readable when a file changes."""

import os

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
