"""What a creation has under way: the names of a container's anonymous volumes, written down before they are made.

    <container's directory>/unfinished      one name a line; removed once the container's record is on disk

A start that finds the note without the record removes those volumes; with the record, only the note.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from sampan.engine.container import MountRecord

NOTE = "unfinished"


def name_volumes(directory: Path, mounts: Sequence[MountRecord]) -> frozenset[str]:
    """Give each anonymous volume of ``mounts`` its name and note them in ``directory``; returns the names."""
    given = []
    for mount in mounts:
        if mount.anonymous and not mount.point.name:
            mount.point.name = secrets.token_hex(32)
            given.append(mount.point.name)
    if given:
        (directory / NOTE).write_text("\n".join(given))
    return frozenset(given)


def settle(directory: Path) -> None:
    """The record is on disk: forget the note."""
    (directory / NOTE).unlink(missing_ok=True)


def noted(directory: Path) -> list[str]:
    """Names of the volumes that were being made."""
    try:
        return (directory / NOTE).read_text().split()
    except FileNotFoundError:
        return []
