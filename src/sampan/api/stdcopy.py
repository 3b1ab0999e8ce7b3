"""The multiplexed stream: stdout and stderr of a container without terminal on one connection.

    0        1 2 3    4 5 6 7                 8
    stream   zero     size, big-endian        size bytes of payload
             (stream: 0 stdin, 1 stdout, 2 stderr, 3 an error of the daemon)

A container with a terminal has one stream only, sent raw.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum

from sampan.errors import InvalidParameter

HEADER = struct.Struct(">BxxxI")
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


class Stream(IntEnum):
    """Which of the container's streams a frame belongs to."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    SYSTEM_ERROR = 3


def frame(stream: Stream, payload: bytes) -> bytes:
    """``payload`` with its header."""
    return HEADER.pack(stream, len(payload)) + payload


def content_type(terminal: bool) -> str:
    """The media type of a container's output."""
    return RAW if terminal else MULTIPLEXED


class Demultiplexer:
    """Takes a multiplexed stream in pieces of any size and gives back whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Stream, bytes]]:
        """The frames that ``data`` completes; raises InvalidParameter for a header with an unknown stream."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            stream, size = HEADER.unpack_from(self._buffer)
            if stream > Stream.SYSTEM_ERROR:
                raise InvalidParameter(f"unrecognized stream: {stream}")
            end = HEADER.size + size
            if len(self._buffer) < end:
                return
            yield Stream(stream), bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
