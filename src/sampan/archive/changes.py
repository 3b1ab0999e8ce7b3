"""What ``docker diff`` lists: the paths of an upper directory against the layers below it.

C  changed, or a directory in which something changed    A  added    D  deleted
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

from sampan.archive.diff import is_opaque, is_whiteout
from sampan.archive.walk import walk
from sampan.linux import overlay, xattr
from sampan.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2


class Kind(IntEnum):
    """The API's numbers."""

    MODIFIED = 0
    ADDED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One path, absolute in the container."""

    path: str
    kind: Kind


def changes_of(upper: int, lowers: Sequence[int], leave_out: Collection[str] = ()) -> list[Change]:
    """Changes in the directory fd ``upper`` over ``lowers``, topmost first; sorted as a walk meets them.

    ``leave_out`` names paths that are not mentioned.
    """
    changes = []
    hidden: list[str] = []
    for found in walk(upper):
        if found.path in leave_out:
            continue
        below = not _is_hidden(found.path, hidden) and _exists_below(found.path, lowers)
        if is_whiteout(found.status):
            if below:
                changes.append(Change(f"/{found.path}", Kind.DELETED))
            continue
        changes.append(Change(f"/{found.path}", Kind.MODIFIED if below else Kind.ADDED))
        if found.is_directory and is_opaque(found):
            hidden.append(found.path + "/")
    return changes


def _is_hidden(path: str, hidden: Sequence[str]) -> bool:
    return any(path.startswith(prefix) for prefix in hidden)


def _exists_below(path: str, lowers: Sequence[int]) -> bool:
    """Whether the merged lower layers have ``path``: the topmost that says something about it decides."""
    for lower in lowers:
        verdict = _says(lower, path)
        if verdict is not None:
            return verdict
    return False


def _says(lower: int, path: str) -> bool | None:
    """True: has it; False: hides it (a whiteout, an opaque directory or a file above it); None: nothing."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        part = "/".join(parts[:depth])
        try:
            fd = openat2(lower, part, os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        except NotADirectoryError:
            return False
        except FileNotFoundError:
            return False if _in_opaque(lower, parts[: depth - 1]) else None
        try:
            if is_whiteout(os.fstat(fd)):
                return False
        finally:
            os.close(fd)
    return True


def _in_opaque(lower: int, parts: Sequence[str]) -> bool:
    """Whether one of the directories ``parts`` leads through is opaque in this layer."""
    return any(xattr.get(lower, "/".join(parts[:depth]), overlay.OPAQUE) == b"y" for depth in range(1, len(parts) + 1))
