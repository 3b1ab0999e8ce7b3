"""Where blocking code and the event loop meet: streams between a request and a thread of its own.

    body (async iterator) ──▶ BodySource.read, in the thread          load, import, put archive
    write(sink), in the thread ──▶ async iterator ──▶ response        save, export, get archive

Each stream has its own thread, so a slow client holds up nobody who waits for the engine's pool; a pipe in between
bounds what is in flight, and closing it ends a writer whose reader has gone.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from sampan.archive.stream import Sink

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK = 1 << 18


async def apart(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run blocking work in a thread of its own and wait for it; it is not interrupted when the waiter is."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, "sampan-stream")
    try:
        return await loop.run_in_executor(thread, lambda: function(*arguments, **named))
    finally:
        thread.shutdown(wait=False)


class BodySource:
    """An async iterator of bytes, read by blocking code in another thread. Make it in the event loop.

    ``close`` it there when nobody will feed it any more: a read that waits then fails.
    """

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self._body = aiter(body)
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._closed = asyncio.Event()

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, none at the end; raises what the body raises, ConnectionError when closed."""
        if not self._rest:
            self._rest = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def _next(self) -> bytes:
        if self._closed.is_set():
            raise ConnectionAbortedError("the client went away")
        while True:
            try:
                chunk = await anext(self._body)
            except StopAsyncIteration:
                return b""
            if chunk:
                return chunk

    def close(self) -> None:
        """No more bytes will come."""
        self._closed.set()


class _PipeSink:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes | memoryview, /) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


async def stream_of(write: Callable[[Sink], object]) -> AsyncIterator[bytes]:
    """The bytes that ``write`` writes, as it writes them; an error of it is raised after those before it."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    reader = asyncio.StreamReader(limit=_CHUNK)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
    )
    work = asyncio.ensure_future(apart(_write_and_close, write, writing))
    try:
        while chunk := await reader.read(_CHUNK):
            yield chunk
        await work
    finally:
        transport.close()
        with suppress(BrokenPipeError, asyncio.CancelledError):
            await work


def _write_and_close(write: Callable[[Sink], object], fd: int) -> None:
    try:
        write(_PipeSink(fd))
    finally:
        os.close(fd)
