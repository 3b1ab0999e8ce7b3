"""Extended attributes of a name in a directory fd, the last component never followed.

Python's ``os.*xattr`` know no ``dir_fd``; going through ``/proc/self/fd`` gives the same without a race.
A missing or unsupported attribute is an answer, not an error.

Source: xattr(7).
"""

import errno
import os

_ABSENT = frozenset({errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP})


def path_at(dir_fd: int, name: str) -> str:
    """A path that names ``name`` in the directory ``dir_fd`` for calls without ``dir_fd``."""
    return f"/proc/self/fd/{dir_fd}/{name}" if name else f"/proc/self/fd/{dir_fd}"


def get(dir_fd: int, name: str, attribute: str) -> bytes | None:
    """The value of ``attribute``, None where there is none."""
    try:
        return os.getxattr(path_at(dir_fd, name), attribute, follow_symlinks=not name)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def all_of(dir_fd: int, name: str) -> dict[str, bytes]:
    """All attributes, in the order of their names."""
    path = path_at(dir_fd, name)
    try:
        names = os.listxattr(path, follow_symlinks=not name)
    except OSError as error:
        if error.errno in _ABSENT:
            return {}
        raise
    values = ((attribute, get(dir_fd, name, attribute)) for attribute in sorted(names))
    return {attribute: value for attribute, value in values if value is not None}


def set(dir_fd: int, name: str, attribute: str, value: bytes) -> bool:
    """Set ``attribute``; False where the file system has no attributes of this kind."""
    try:
        os.setxattr(path_at(dir_fd, name), attribute, value, follow_symlinks=not name)
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True
