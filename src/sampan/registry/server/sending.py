"""A file's bytes on their way to a client.

    plain, large     a thread copies pieces to the socket until the client is slow or has had its turn,
                     then the loop waits until the socket takes more
    plain, small     sendfile, at once
    TLS              the loop's own way

A thread that copies beats sendfile on one machine: what a client reads from then lies in the processor's cache, not
only in the page cache, and the two work side by side (bench/registry.py).
"""

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from aiohttp import web

_PIECE = 512 << 10
_TURN = 32 << 20
_PATIENCE = 0.02
_THREADS = 4


class Sender:
    """Threads that send; ``close`` them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "sampan-send")

    async def send(self, request: web.BaseRequest, file: BinaryIO, start: int, length: int) -> None:
        """``length`` bytes of ``file`` from ``start``, after the headers; raises ConnectionError."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        plain = transport.get_extra_info("sslcontext") is None
        if plain and length > _PIECE and transport.get_write_buffer_size() == 0:
            with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as connection:
                connection.settimeout(_PATIENCE)
                await self._in_turns(connection, file.fileno(), start, length)
        elif length:
            await asyncio.get_running_loop().sendfile(transport, file, start, length)

    async def _in_turns(self, connection: socket.socket, file: int, start: int, length: int) -> None:
        end = start + length
        while start < end:
            turn = asyncio.get_running_loop().run_in_executor(
                self._threads, _copy, connection, file, start, min(end, start + _TURN)
            )
            try:
                start = await asyncio.shield(turn)
            finally:
                await asyncio.wait([turn])  # the thread lets go of the descriptors before they are closed
            if start < end:
                await _writable(connection)

    def close(self) -> None:
        """End the threads after what they are at."""
        self._threads.shutdown()


def _copy(connection: socket.socket, file: int, start: int, end: int) -> int:
    """Send from ``start`` until ``end`` or until the client is slow; returns where it stopped."""
    buffer = memoryview(bytearray(_PIECE))
    while start < end:
        count = os.preadv(file, [buffer[: end - start]], start)
        if count == 0:
            raise ConnectionAbortedError("the file is shorter than announced")
        sent = 0
        while sent < count:
            try:
                sent += connection.send(buffer[sent:count])
            except TimeoutError:
                return start + sent
        start += count
    return start


async def _writable(connection: socket.socket) -> None:
    """Until the socket takes more."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(connection)
