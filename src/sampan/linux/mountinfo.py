"""Mounts as the kernel lists them: lines of ``/proc/<pid>/mountinfo``.

    36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
          │    │     │                │          └ type
          │    root  where it is      optional fields, none or several
          device

Spaces, tabs, newlines and backslashes of a path are written as ``\\040`` and so on; all else is as it is.
Source: proc_pid_mountinfo(5).
"""

import re
from pathlib import Path
from typing import NamedTuple

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount: ``major:minor`` of its device, what of it is mounted, its place, its optional fields, its type."""

    device: str
    root: str
    point: str
    optional: tuple[str, ...]
    type: str


def mounts() -> list[Mount]:
    """All mounts of this process's mount namespace, in the order in which they were made."""
    return parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def places_of_whole(*types: str) -> list[str]:
    """Where whole file systems of these types are mounted."""
    return [mount.point for mount in mounts() if mount.root == "/" and mount.type in types]


def parse(text: str) -> list[Mount]:
    """The mounts that ``text`` lists."""
    return [_mount(line.split(" ")) for line in text.split("\n") if line]


def _mount(fields: list[str]) -> Mount:
    end = fields.index("-", 6)
    root, point = (_ESCAPED.sub(lambda found: chr(int(found[1], 8)), field) for field in fields[3:5])
    return Mount(fields[2], root, point, tuple(fields[6:end]), fields[end + 1])
