"""Maps of user and group IDs: what a user namespace's IDs are on the host.

(inside, outside, count)     inside..inside+count-1 in the namespace is outside.. on the host

``acting_as_root`` is for writing through an ID-mapped mount: there the host's root is nobody, and may own no file.

Source: user_namespaces(7) "User and group ID mappings", setfsuid(2), capabilities(7) "Effect of user ID changes".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sampan.errors import InvalidParameter
from sampan.linux.syscall import libc_call

Range = tuple[int, int, int]

OVERFLOW = 65534
"""What the kernel shows for an ID that the namespace does not have."""
_ALL = ((0, 0, (1 << 32) - 1),)
_PR_GET_SECUREBITS, _PR_SET_SECUREBITS = 27, 28
_NO_SETUID_FIXUP = 1 << 2


@dataclass(frozen=True, slots=True)
class IdMap:
    """The maps of a user namespace, as in /proc/PID/uid_map and gid_map."""

    uids: tuple[Range, ...]
    gids: tuple[Range, ...]

    @property
    def root(self) -> tuple[int, int]:
        """uid and gid on the host of the namespace's root."""
        return self.outside(0, 0)

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """The namespace's IDs for the host's."""
        return _inside(self.uids, uid), _inside(self.gids, gid)

    def outside(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's IDs for the namespace's; raises InvalidParameter for one that it does not have."""
        return _outside(self.uids, uid), _outside(self.gids, gid)


def _inside(ranges: Sequence[Range], host_id: int) -> int:
    return next(
        (first + host_id - start for first, start, count in ranges if start <= host_id < start + count), OVERFLOW
    )


def _outside(ranges: Sequence[Range], own_id: int) -> int:
    for first, start, count in ranges:
        if first <= own_id < first + count:
            return start + own_id - first
    raise InvalidParameter(f"Container ID {own_id} cannot be mapped to a host ID")


def host_ids(maps: IdMap | None, uid: int, gid: int) -> tuple[int, int]:
    """``maps.outside``, where None leaves IDs as they are."""
    return (uid, gid) if maps is None else maps.outside(uid, gid)


def text(ranges: Sequence[Range]) -> str:
    """The lines of a uid_map."""
    return "".join(f"{first} {start} {count}\n" for first, start, count in ranges)


def of_process(pid: int) -> IdMap | None:
    """The maps of the user namespace a process is in; None where all IDs are the host's.

    Raises FileNotFoundError or ProcessLookupError when the process is gone.
    """
    uids, gids = (_read(Path(f"/proc/{pid}/{name}")) for name in ("uid_map", "gid_map"))
    return None if uids == gids == _ALL else IdMap(uids, gids)


def _read(path: Path) -> tuple[Range, ...]:
    numbers = [tuple(map(int, line.split())) for line in path.read_text().splitlines()]
    return tuple((first, start, count) for first, start, count in numbers)


@contextmanager
def acting_as_root(maps: IdMap | None) -> Iterator[None]:
    """Files this thread makes meanwhile belong to the namespace's root (None: the host's); it keeps its capabilities.

    Nothing may be awaited within.
    """
    if maps is None:
        yield
        return
    uid, gid = maps.root
    bits = libc_call("prctl", _PR_GET_SECUREBITS, 0, 0, 0, 0)
    libc_call("prctl", _PR_SET_SECUREBITS, bits | _NO_SETUID_FIXUP, 0, 0, 0)
    before = libc_call("setfsuid", uid), libc_call("setfsgid", gid)
    try:
        yield
    finally:
        libc_call("setfsuid", before[0])
        libc_call("setfsgid", before[1])
        libc_call("prctl", _PR_SET_SECUREBITS, bits, 0, 0, 0)
