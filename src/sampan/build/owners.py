"""``--chown=user[:group]``: names looked up in the /etc/passwd and /etc/group of the stage's own file system."""

import os
from collections.abc import Iterator

from sampan.errors import InvalidParameter
from sampan.linux.openat2 import open_regular

FILE_LIMIT = 16 << 20
ID_LIMIT = 1 << 32
NO_OWNER = "unable to convert uid/gid chown string to host mapping"


def resolve_owner(root: int, text: str) -> tuple[int, int]:
    """Uid and gid; a user without a group gives its number for both if it is a number. Raises InvalidParameter."""
    user, colon, group = text.partition(":")
    uid, gid = _user(root, user)
    return uid, _group(root, group) if colon and group else gid


def _user(root: int, name: str) -> tuple[int, int]:
    if name.isdecimal():
        return _bounded(name), _bounded(name)
    for fields in _lines(root, "/etc/passwd"):
        if len(fields) >= 4 and fields[0] == name and fields[2].isdecimal() and fields[3].isdecimal():
            return _bounded(fields[2]), _bounded(fields[3])
    raise InvalidParameter(f"{NO_OWNER}: can't find uid for user {name}: no such user: {name}")


def _group(root: int, name: str) -> int:
    if name.isdecimal():
        return _bounded(name)
    for fields in _lines(root, "/etc/group"):
        if len(fields) >= 3 and fields[0] == name and fields[2].isdecimal():
            return _bounded(fields[2])
    raise InvalidParameter(f"{NO_OWNER}: can't find gid for group {name}: no such group: {name}")


def _bounded(text: str) -> int:
    if int(text) >= ID_LIMIT:
        raise InvalidParameter(f"invalid user or group number {text}")
    return int(text)


def _lines(root: int, path: str) -> Iterator[list[str]]:
    try:
        fd = open_regular(root, path)
    except OSError:
        return
    with os.fdopen(fd, "rb") as file:
        text = file.read(FILE_LIMIT).decode(errors="replace")
    yield from (line.split(":") for line in text.splitlines() if line and not line.startswith("#"))
