"""HTTP/2's DATA frames, joined before h2 sees them, and the messages of a call taken all at once.

    length 3 │ type 1 │ flags 1 │ stream 4 │ payload            a frame
    compressed 1 │ length 4 │ message                            a message in the payloads of a stream

A directory of many files comes as many small messages, each in a frame of its own. What h2 and grpclib do for a frame
and for a message costs many times what a file does, so neighbours of one stream become one frame of the same bytes:
flow control counts payloads, so nothing else changes.

Source: RFC 9113 sections 4.1, 6.1; gRPC over HTTP2, "Requests".
"""

import asyncio
from collections.abc import Callable
from typing import Any

from sampan.errors import EngineError

HEAD = 9
PREFIX = 5
FRAME_LIMIT = 16384
"""The longest payload that h2 takes unless told otherwise."""
_PLAIN_DATA = b"\0\0"
"""Type DATA, no flags: neither the last of its stream nor padded."""


class Joiner:
    """Hands what arrives on to ``target`` in whole frames, small DATA frames joined."""

    def __init__(self, target: Callable[[bytes], None]) -> None:
        self._target = target
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Take bytes as the connection has them."""
        frames, self._rest = joined(self._rest + data)
        if frames:
            self._target(frames)


def joined(data: bytes) -> tuple[bytes, bytes]:
    """The whole frames of ``data``, plain DATA of one stream joined, and the rest that is no whole frame yet.

    A frame that is longer than it may be is not waited for: h2 says what is wrong with it.
    """
    out: list[bytes] = []
    payloads: list[bytes] = []
    size, current, position, end = 0, b"", 0, len(data)
    while end - position >= HEAD:
        length = int.from_bytes(data[position : position + 3], "big")
        after = position + HEAD + length
        if length > FRAME_LIMIT:
            after = end
        if after > end:
            break
        head = data[position + 3 : position + HEAD]
        if payloads and (head != current or size + length > FRAME_LIMIT):
            out.append(_frame(current, payloads, size))
            payloads, size = [], 0
        if head.startswith(_PLAIN_DATA) and length <= FRAME_LIMIT:
            payloads.append(data[position + HEAD : after])
            size, current = size + length, head
        else:
            out.append(data[position:after])
        position = after
    if payloads:
        out.append(_frame(current, payloads, size))
    return b"".join(out), data[position:]


def _frame(head: bytes, payloads: list[bytes], size: int) -> bytes:
    return b"".join((size.to_bytes(3, "big"), head, *payloads))


class Arriving:
    """The messages of a call of ours, as many at once as have come."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._rest = b""
        self._begun = self._ended = False

    async def take(self) -> list[bytes]:
        """Whole messages, encoded; none at the end. Raises GRPCError, StreamTerminatedError, EngineError."""
        if not self._begun:
            self._begun = True
            await self._stream.recv_initial_metadata()
        with self._stream._wrapper:  # raises what ended the stream; grpclib has no public way to read all at once
            while not self._ended:
                self._rest += await self._arrived()
                messages, self._rest = split_messages(self._rest)
                if messages:
                    return messages
        return []

    async def _arrived(self) -> bytes:
        buffer = self._stream._stream.buffer
        pieces = [await buffer._unacked.get()]
        try:
            while True:
                pieces.append(buffer._unacked.get_nowait())
        except asyncio.QueueEmpty:
            pass
        self._ended = buffer._eof and not buffer._unacked.qsize()
        buffer._ack_callback(sum(piece.ack_size for piece in pieces))
        return b"".join(piece.data for piece in pieces)


def split_messages(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole messages of ``data`` and the rest. Raises EngineError for a compressed one, which nobody asked for."""
    messages, position, end = [], 0, len(data)
    while end - position >= PREFIX:
        if data[position]:
            raise EngineError("the client sent a compressed message, which was not offered to it")
        start = position + PREFIX
        after = start + int.from_bytes(data[position + 1 : start], "big")
        if after > end:
            break
        messages.append(data[start:after])
        position = after
    return messages, data[position:]
