"""What a start leaves in a writable layer without the user's doing: empty places to mount on.

    etc/hosts (empty file)  etc/mtab (link)  proc/ (empty directory)  →  left out of diffs and commits
    etc/                    →  left out too when it holds nothing else and is as in the layers below

A place that the user has filled is not empty any more, so it stays.
"""

import os
import stat
from collections.abc import Iterable, Sequence

from sampan.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2


def leftovers(upper: int, lowers: Sequence[int], places: Iterable[str]) -> frozenset[str]:
    """Those of ``places`` (relative paths) that are empty in ``upper``, and directories that hold only such."""
    found = {place for place in places if _is_empty(upper, place)}
    parents = {os.path.dirname(place) for place in found} - {""}  # noqa: PTH120
    return frozenset(found | {parent for parent in parents if _holds_only(upper, parent, found, lowers)})


def _is_empty(upper: int, place: str) -> bool:
    status = _status(upper, place)
    if status is None:
        return False
    if stat.S_ISDIR(status.st_mode):
        return not _names(upper, place)
    return stat.S_ISLNK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size == 0)


def _holds_only(upper: int, parent: str, found: set[str], lowers: Sequence[int]) -> bool:
    if any(f"{parent}/{name}" not in found for name in _names(upper, parent)):
        return False
    below = next((status for lower in lowers if (status := _status(lower, parent))), None)
    return below is None or _looks(below) == _looks(_status(upper, parent))


def _looks(status: os.stat_result | None) -> tuple[int, int, int] | None:
    return (status.st_mode, status.st_uid, status.st_gid) if status else None


def _status(root: int, path: str) -> os.stat_result | None:
    try:
        fd = openat2(root, path, os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    except OSError:
        return None
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _names(root: int, path: str) -> list[str]:
    fd = openat2(root, path, os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    try:
        return os.listdir(fd)  # noqa: PTH208
    finally:
        os.close(fd)
