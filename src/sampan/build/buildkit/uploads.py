"""Contexts that clients older than buildx send beside their build: ``docker build -`` makes two requests.

POST /build?version=2&buildid=ID&remote=upload-request     the build, which waits for
POST /build?version=2&buildid=upload-request:ID            the context, which waits until it was read
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from sampan.errors import NotFound

REQUEST = "upload-request"
PREFIX = f"{REQUEST}:"
T = TypeVar("T")
PATIENCE = 5.0
"""Seconds for which one of the two waits for the other."""


class Upload:
    """One context on its way."""

    def __init__(self) -> None:
        self.body: asyncio.Future[AsyncIterator[bytes]] = asyncio.get_running_loop().create_future()
        self.taken, self.read = asyncio.Event(), asyncio.Event()


class Uploads:
    """Contexts by the IDs of their builds."""

    def __init__(self) -> None:
        self._under_way: dict[str, Upload] = {}

    async def bring(self, build_id: str, body: AsyncIterator[bytes]) -> None:
        """Give ``body`` to the build; returns when it was read. Raises NotFound when no build asks for it."""
        upload = self._under_way.setdefault(build_id, Upload())
        if not upload.body.done():
            upload.body.set_result(body)
        await self._wait(build_id, upload.taken.wait())
        await upload.read.wait()

    @asynccontextmanager
    async def take(self, build_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The context that a client sends for the build. Raises NotFound when none comes."""
        upload = self._under_way.setdefault(build_id, Upload())
        try:
            body = await self._wait(build_id, asyncio.shield(upload.body))
            upload.taken.set()
            yield body
        finally:
            upload.read.set()
            self._under_way.pop(build_id, None)

    async def _wait(self, build_id: str, awaited: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(awaited, PATIENCE)
        except TimeoutError:
            self._under_way.pop(build_id, None)
            raise NotFound(f"no build and context met as {build_id}") from None
