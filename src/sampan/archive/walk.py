"""Walking a tree by directory fds: every name once, in the order of names' bytes, a directory before what is in it.

Nothing is followed; a directory that changes meanwhile cannot lead the walk elsewhere. Depth costs an fd, not stack.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Found:
    """A name: its path below the start, the fd of its directory (valid until the next step), and its status.

    Set ``descend`` to False to leave out what is below a directory.
    """

    path: str
    directory: int
    name: str
    status: os.stat_result
    descend: bool = True

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


def walk(start: int) -> Iterator[Found]:
    """Everything below the directory fd ``start``, which stays the caller's."""
    stack = [("", os.dup(start), iter(_names(start)))]
    try:
        while stack:
            prefix, fd, rest = stack[-1]
            name = next(rest, None)
            if name is None:
                os.close(stack.pop()[1])
                continue
            found = _look(prefix + name, fd, name)
            if found is None:
                continue
            yield found
            if found.is_directory and found.descend:
                below = _enter(fd, name)
                if below is not None:
                    stack.append((f"{found.path}/", below, iter(_names(below))))
    finally:
        for _, fd, _ in stack:
            os.close(fd)


def _names(fd: int) -> list[str]:
    return sorted(os.listdir(fd), key=os.fsencode)


def _look(path: str, fd: int, name: str) -> Found | None:
    """None when the name is gone since it was listed."""
    try:
        return Found(path, fd, name, os.stat(name, dir_fd=fd, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _enter(fd: int, name: str) -> int | None:
    """None when the directory was removed or replaced since."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
