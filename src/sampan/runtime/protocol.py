"""The packets between this process and the C program. ``native/wire.h`` draws them and holds the same tables.

u32 kind, u32 serial, u32 process, u32 flags, i64 v[4], text (strings, each followed by NUL)
"""

import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag

import msgspec

from sampan.errors import InvalidParameter

VERSION = 1
"""What this daemon knows; a monitor tells its own in HELLO, 0 if it is older than the telling. Nothing ever changes its
meaning: a newer daemon speaks with an older monitor, and what it does not know in a newer one it ignores."""

_HEAD = struct.Struct("=4I4q")
LONGEST = _HEAD.size + 160 * 1024
LONGEST_EARLY = 128 * 1024
LONGEST_KEYS = 16


class MessageKind(IntEnum):
    START = 1
    ATTACH = 2
    CONTINUE = 3
    RESIZE = 4
    SIGNAL = 5
    FORGET = 6
    MONITOR = 7
    HELLO = 16
    STARTED = 17
    CREATED = 18
    PAUSED = 19
    FAILED = 20
    EXITED = 21
    ENDED = 22
    DESCRIPTOR = 23
    REPLY = 24
    BORN = 25
    DROPPED = 26


class StartFlag(IntFlag):
    TERMINAL = 1
    STDIN = 2
    STDIN_ONCE = 4
    EXTERNAL = 8
    OOM = 16
    WAIT = 32


class StreamFlag(IntFlag):
    STDIN = 1
    STDOUT = 2
    STDERR = 4
    FRAMED = 8


class Message(msgspec.Struct, frozen=True):
    """One packet without its descriptors."""

    kind: MessageKind
    process: int = 0
    v: tuple[int, int, int, int] = (0, 0, 0, 0)
    text: bytes = b""
    flags: int = 0
    serial: int = 0

    def encode(self) -> bytes:
        """As it goes over the socket."""
        return _HEAD.pack(self.kind, self.serial, self.process, self.flags, *self.v) + self.text

    @classmethod
    def decode(cls, packet: bytes) -> "Message":
        """Read a packet; raises struct.error or ValueError for one the C program cannot have sent."""
        kind, serial, process, flags, *v = _HEAD.unpack_from(packet)
        return cls(MessageKind(kind), process, (v[0], v[1], v[2], v[3]), packet[_HEAD.size :], flags, serial)

    @property
    def strings(self) -> list[str]:
        """The text's strings."""
        return self.text.decode(errors="replace").split("\0")[:-1]


def strings(values: Sequence[str]) -> bytes:
    """A text of these strings. Raises InvalidParameter for one with a NUL inside."""
    raw = [value.encode(errors="surrogateescape") for value in values]
    if any(b"\0" in value for value in raw):
        raise InvalidParameter("NUL byte in a string for the monitor")
    return b"".join(value + b"\0" for value in raw)
