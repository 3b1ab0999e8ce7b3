"""Users and groups of a container, resolved in its own /etc/passwd and /etc/group.

    user    = name-or-uid [":" group-or-gid]
    passwd  name:password:uid:gid:gecos:home:shell      group  name:password:gid:member,member

Both files are opened beneath the container's root and read up to a bound; what is malformed in them is skipped. A
number needs no entry; a name without one is an error.
Source: passwd(5), group(5); moby/sys user.GetExecUser for what counts.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec

from sampan.errors import InvalidParameter
from sampan.linux.openat2 import open_regular
from sampan.oci.runtime_spec import Process

MAXIMUM_FILE = 16 << 20
MAXIMUM_ID = (1 << 31) - 1


@dataclass(frozen=True)
class Identity:
    """Who a process runs as; ``groups`` holds the primary group too, ``home`` is for ``HOME``."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve(root: int, user: str, group_add: Sequence[str] = ()) -> Identity:
    """Who ``user`` is in the file system ``root``; raises InvalidParameter for a name that is not there."""
    wanted, _, wanted_group = user.partition(":")
    entry = find_user(root, wanted or "0")
    if entry is None and wanted and not wanted.removeprefix("-").isdecimal():
        raise InvalidParameter(f"unable to find user {wanted}: no matching entries in passwd file")
    name, uid, gid, home = entry or ("", number(wanted or "0"), 0, "/")
    every = bool(wanted_group or group_add)
    groups = list(group_entries(root, "" if every else name)) if every or name else []
    supplementary: list[int] = []
    if wanted_group:
        gid = find_group(groups, wanted_group)
    elif name:
        supplementary = [group for _, group, members in groups if name in members]
    supplementary += [find_group(groups, group) for group in group_add]
    return Identity(uid, gid, tuple(dict.fromkeys([gid, *supplementary])), home or "/")


def with_home(process: Process, root: str) -> Process:
    """The process with HOME, where its environment has none: what passwd below ``root`` says, else /."""
    named = [entry for entry in process.env if entry.startswith("HOME=")]
    if named and named[-1] != "HOME=":
        return process
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        entry = find_user(fd, str(process.user.uid))
    finally:
        os.close(fd)
    home = (entry and entry[3]) or "/"
    return msgspec.structs.replace(process, env=[*process.env, f"HOME={home}"])


def number(text: str) -> int:
    """An ID given as a number; raises InvalidParameter outside of its range."""
    value = int(text)
    if not 0 <= value <= MAXIMUM_ID:
        raise InvalidParameter(f"uids and gids must be in range 0-{MAXIMUM_ID}")
    return value


def find_user(root: int, wanted: str) -> tuple[str, int, int, str] | None:
    """Name, uid, gid and home of the first entry whose name or uid is ``wanted``."""
    for fields in lines(root, "/etc/passwd", wanted):
        if len(fields) >= 6 and wanted in (fields[0], fields[2]) and fields[2].isdecimal():
            gid = int(fields[3]) if fields[3].isdecimal() else 0
            return fields[0], number(fields[2]), gid, fields[5]
    return None


def group_entries(root: int, containing: str = "") -> Iterator[tuple[str, int, list[str]]]:
    """Name, gid and members of every group, at least of those whose lines hold a word."""
    for fields in lines(root, "/etc/group", containing):
        if len(fields) >= 3 and fields[2].isdecimal():
            yield fields[0], int(fields[2]), fields[3].split(",") if len(fields) > 3 else []


def find_group(groups: Sequence[tuple[str, int, list[str]]], wanted: str) -> int:
    """The gid of a group given by name or number; raises InvalidParameter."""
    for name, gid, _ in groups:
        if wanted == name:
            return gid
    if wanted.isascii() and wanted.removeprefix("-").isdecimal():
        return number(wanted)
    raise InvalidParameter(f"unable to find group {wanted}: no matching entries in group file")


def lines(root: int, path: str, containing: str = "") -> Iterator[list[str]]:
    """Fields of the lines with a word in them of a colon-separated file; none when there is no such file."""
    try:
        with ExitStack() as opened:
            fd = open_regular(root, path)
            opened.callback(os.close, fd)
            text = os.read(fd, min(os.fstat(fd).st_size, MAXIMUM_FILE)).decode(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        if line and containing in line and not line.startswith("#"):
            yield [field.strip() for field in line.split(":")]
