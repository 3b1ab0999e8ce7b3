"""Owners of a container whose user namespace maps IDs: on disk they are the host's, in an archive the container's.

(inside, outside, count)     inside..inside+count-1 in the container is outside.. on the host
"""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from sampan.archive.entry import Entry

OVERFLOW = 65534
"""What the kernel shows for an ID that the namespace does not have."""


class IdMap(msgspec.Struct, frozen=True):
    """The maps of a user namespace, as in /proc/PID/uid_map and gid_map."""

    uids: Sequence[tuple[int, int, int]]
    gids: Sequence[tuple[int, int, int]]

    @property
    def root(self) -> tuple[int, int]:
        """uid and gid on the host of the container's root."""
        return to_outside(self.uids, 0), to_outside(self.gids, 0)

    def inside(self, entry: Entry) -> Entry:
        """``entry`` with the owner that the container sees."""
        return replace(entry, uid=to_inside(self.uids, entry.uid), gid=to_inside(self.gids, entry.gid))


def to_inside(ranges: Sequence[tuple[int, int, int]], host_id: int) -> int:
    """The container's ID for the host's."""
    for inside, outside, count in ranges:
        if outside <= host_id < outside + count:
            return inside + host_id - outside
    return OVERFLOW


def to_outside(ranges: Sequence[tuple[int, int, int]], container_id: int) -> int:
    """The host's ID for the container's."""
    for inside, outside, count in ranges:
        if inside <= container_id < inside + count:
            return outside + container_id - inside
    return OVERFLOW
