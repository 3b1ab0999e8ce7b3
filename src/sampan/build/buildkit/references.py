"""What a reference of a build holds, read by its client: ``ReadFile``, ``ReadDir``, ``StatFile``.

Paths are followed below the reference's root only. Source: buildkit frontend/gateway/pb/gateway.proto.
"""

import fnmatch
import os
import posixpath
import stat
from typing import Any

from sampan.archive.copy import go_file_mode
from sampan.build.buildkit import messages as m
from sampan.build.copying import DIRECTORY, clean
from sampan.errors import InvalidParameter, NotFound
from sampan.linux.openat2 import open_in_root

LIMIT = 16 << 20
"""Bytes of a file that one answer holds; a message of gRPC has no more."""


def read_file(root: int, path: str, offset: int = 0, length: int = 0) -> bytes:
    """``length`` bytes of a file from ``offset``, 0 for all. Raises NotFound, InvalidParameter. Blocks."""
    with os.fdopen(_opened(root, path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidParameter(f"read {path}: is not a regular file")
        file.seek(max(offset, 0))
        data = file.read(length if 0 < length <= LIMIT else LIMIT + 1)
    if len(data) > LIMIT:
        raise InvalidParameter(f"read {path}: file is larger than {LIMIT} bytes")
    return data


def stat_file(root: int, path: str) -> Any:
    """A ``Stat`` of the file, links followed. Raises NotFound. Blocks."""
    fd = _opened(root, path, os.O_PATH)
    try:
        return _described(posixpath.basename(clean(path)), os.fstat(fd), "")
    finally:
        os.close(fd)


def read_dir(root: int, path: str, pattern: str = "") -> list[Any]:
    """A ``Stat`` of each member that ``pattern`` (empty: all) fits, by name. Raises NotFound. Blocks."""
    fd = _opened(root, path, DIRECTORY)
    try:
        names = sorted(os.listdir(fd))  # noqa: PTH208  a descriptor, not a path
        return [_member(fd, name) for name in names if not pattern or fnmatch.fnmatchcase(name, pattern)]
    finally:
        os.close(fd)


def _member(directory: int, name: str) -> Any:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    link = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else ""
    return _described(name, status, link)


def _opened(root: int, path: str, flags: int) -> int:
    try:
        return open_in_root(root, clean(path) or ".", flags)
    except OSError as error:
        raise NotFound(f"open {path}: {(error.strerror or str(error)).lower()}") from error


def _described(name: str, status: os.stat_result, link: str) -> Any:
    return m.Stat(
        path=name,
        mode=go_file_mode(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size,
        modTime=status.st_mtime_ns,
        linkname=link,
    )
