"""Mounts as the kernel lists them: lines of ``/proc/<pid>/mountinfo``.

    36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
          │          │                │          └ type
          device     where it is      optional fields, none or several

Spaces, tabs, newlines and backslashes of a path are written as ``\\040`` and so on; all else is as it is.
Source: proc_pid_mountinfo(5).
"""

import re
from pathlib import Path
from typing import NamedTuple

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount: ``major:minor`` of its device, its place, its optional fields, its file system's type."""

    device: str
    point: str
    optional: tuple[str, ...]
    type: str


def mounts() -> list[Mount]:
    """All mounts of this process's mount namespace, in the order in which they were made."""
    return parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def parse(text: str) -> list[Mount]:
    """The mounts that ``text`` lists."""
    return [_mount(line.split(" ")) for line in text.split("\n") if line]


def _mount(fields: list[str]) -> Mount:
    end = fields.index("-", 6)
    point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4])
    return Mount(fields[2], point, tuple(fields[6:end]), fields[end + 1])
