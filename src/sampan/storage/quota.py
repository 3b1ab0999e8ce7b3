"""Quotas of directories: how many bytes a volume, or a container's writable layer, may have on disk.

    directory ── project ID (kept by the file system with the directory) ── limit (kept by the file system)

Nothing is written down by us: the number is chosen at random among those nobody uses, so that daemons and other
programs on one file system stay out of each other's way, and it is found again at the directory.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from sampan.errors import EngineError
from sampan.linux import quota

_FIRST, _LAST = 1 << 20, (1 << 31) - 2
_ATTEMPTS = 64


class Quotas:
    """The quotas on the file system that ``root`` is on."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def supported(self) -> bool:
        """Whether there are any: ext4 mounted with ``prjquota`` or XFS with ``pquota``."""
        with _opened(self._root) as fd:
            return quota.is_supported(fd)

    def limit(self, directories: Sequence[Path], size: int) -> None:
        """Let the (empty) ``directories`` hold ``size`` bytes together; raises EngineError."""
        try:
            with _opened(directories[0]) as fd:
                project = quota.project_of(fd)
                if project < _FIRST:
                    project = _unused(fd)
            for directory in directories:
                with _opened(directory) as fd:
                    quota.set_project(fd, project)
                    quota.set_limit(fd, project, size)
        except OSError as error:
            raise EngineError(f"cannot set a quota on {directories[0]}: {error.strerror}") from error

    def forget(self, directory: Path) -> None:
        """Lift the limit of a directory that is about to be removed; none is fine."""
        if not self.supported:
            return
        with suppress(OSError), _opened(directory) as fd:
            if (project := quota.project_of(fd)) >= _FIRST:
                quota.set_limit(fd, project, 0)


def _unused(fd: int) -> int:
    """The number of a project that nobody has."""
    for _ in range(_ATTEMPTS):
        project = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if quota.usage(fd, project) == (0, 0):
            return project
    raise EngineError("no free project ID was found for a quota")


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
