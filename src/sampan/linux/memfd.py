"""Anonymous files in memory: memfd_create(2) and file sealing (fcntl(2), F_ADD_SEALS)."""

import fcntl
import os

_ADD_SEALS = 1033
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_WRITE = 1, 2, 4, 8


def memory_file(name: str, content: bytes) -> int:
    """An fd of an anonymous file that holds ``content``, positioned at its beginning."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def sealed_file(name: str, content: bytes) -> int:
    """As ``memory_file``, sealed: nobody can ever change it, whoever opens it through /proc."""
    fd = memory_file(name, content)
    fcntl.fcntl(fd, _ADD_SEALS, _SEAL_SEAL | _SEAL_SHRINK | _SEAL_GROW | _SEAL_WRITE)
    return fd
