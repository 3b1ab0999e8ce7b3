"""Pull-through cache: what this registry lacks is fetched from its upstream, sent on while it arrives, and kept.

a tag          asked upstream again after ``ttl``; when upstream cannot be reached, what is here is served
a digest       never asked again once here
a blob         fetched once however many ask; who asks meanwhile reads along
"""

import asyncio
import time
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from aiohttp import web
from sqlalchemy import Connection

from sampan.api.images import AuthConfig
from sampan.errors import EngineError, Unavailable
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.reference import Reference
from sampan.registry.client.failures import RegistryFailure
from sampan.registry.client.hosts import Host
from sampan.registry.client.remote import Remote
from sampan.registry.client.transport import Transport
from sampan.registry.protocol import CONTENT_DIGEST, Code
from sampan.registry.server import answers, config, records
from sampan.registry.server.database import Database
from sampan.registry.server.payload import describe
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.sending import Sender
from sampan.registry.server.store import Store
from sampan.registry.server.uploads.files import FileUploads

_PIECE = 1 << 20
_TICK = 0.02
_REMEMBERED = 10_000
_ATTEMPTS = 3


@dataclass
class _Arriving:
    """A blob on its way from upstream into the upload at ``path``."""

    size: int
    path: Path
    task: "asyncio.Task[None]"


class Proxy:
    """The cache's side that talks to upstream; ``close`` it."""

    def __init__(
        self, settings: config.Proxy, database: Database, store: Store, sender: Sender, uploads: FileUploads
    ) -> None:
        self._host = Host(f"{settings.upstream.rstrip('/')}/v2")
        self._auth = AuthConfig(username=settings.username, password=settings.password)
        self._ttl = config.seconds(settings.ttl)
        self._transport = Transport(attempts=_ATTEMPTS)
        self._database = database
        self._store = store
        self._sender = sender
        self._uploads = uploads
        self._checked: dict[tuple[str, str], float] = {}
        self._arriving: dict[tuple[str, Digest], _Arriving] = {}

    def _remote(self, name: str) -> Remote:
        return Remote(self._transport, [self._host], Reference("upstream", name), self._auth)

    async def refresh(self, name: str, reference: str) -> None:
        """Make sure that what is here under ``reference`` is what upstream has, as far as can be known.

        Raises Refusal when upstream has it not.
        """
        here = await self._database.read(lambda connection: records.find_manifest(connection, name, reference))
        if here is not None and (":" in reference or self._is_fresh(name, reference)):
            return
        try:
            told = await self._remote(name).head(reference) if here else None
            if here is None or told is None or told.digest != here.digest:
                await self._fetch_manifest(name, reference)
        except RegistryFailure as failure:
            if failure.status in (401, 403, 404):
                raise Refusal(Code.MANIFEST_UNKNOWN, {"name": name, "upstream": failure.message}) from failure
            _serve_stale(here, failure)
        except Unavailable as error:
            _serve_stale(here, error)
        else:
            self._remember(name, reference)

    def _is_fresh(self, name: str, tag: str) -> bool:
        return time.monotonic() - self._checked.get((name, tag), -1e9) < self._ttl

    def _remember(self, name: str, tag: str) -> None:
        self._checked[name, tag] = time.monotonic()
        while len(self._checked) > _REMEMBERED:
            del self._checked[next(iter(self._checked))]

    async def _fetch_manifest(self, name: str, reference: str) -> None:
        fetched = await self._remote(name).manifest(reference)
        manifest = describe(fetched.raw, fetched.media_type)

        def record(connection: Connection) -> None:
            repository = records.make_repository(connection, name)
            records.put_manifest(connection, repository, manifest, [] if ":" in reference else [reference])

        await self._database.write(record)

    async def blob(self, request: web.BaseRequest, name: str, digest: Digest) -> web.StreamResponse:
        """A blob that is not here: its size for HEAD, else its bytes while they arrive."""
        arriving = await self._begin(name, digest)
        if arriving is None:
            return await self._stored(request, name, digest)
        headers = {**answers.BASE_HEADERS, CONTENT_DIGEST: digest, "Content-Length": str(arriving.size)}
        if request.method == "HEAD":
            return web.Response(headers=headers)
        if "Range" in request.headers:
            await asyncio.shield(arriving.task)
            return await self._stored(request, name, digest)
        try:
            file = arriving.path.open("rb", buffering=0)
        except FileNotFoundError:  # it has just become a blob
            await asyncio.shield(arriving.task)
            return await self._stored(request, name, digest)
        response = web.StreamResponse(headers={**headers, "Content-Type": "application/octet-stream"})
        with file:
            await _send_along(request, response, arriving, file)
        return response

    async def _begin(self, name: str, digest: Digest) -> _Arriving | None:
        """The fetch of the blob, begun unless it is under way; None when it has come meanwhile. Raises Refusal."""
        if found := self._arriving.get((name, digest)):
            return found
        remote = self._remote(name)
        try:
            size = await remote.blob_size(digest)
        except RegistryFailure as failure:
            raise Refusal(Code.BLOB_UNKNOWN, {"digest": digest, "upstream": failure.message}) from failure
        if found := self._arriving.get((name, digest)):
            return found
        if await self._held(name, digest):
            return None
        upload = await self._uploads.begin(name)
        task = asyncio.create_task(self._fetch_blob(remote, name, digest, size, upload))
        self._arriving[name, digest] = _Arriving(size, self._uploads.find(name, upload), task)
        task.add_done_callback(lambda done: self._end(name, digest, done))
        return self._arriving[name, digest]

    async def _fetch_blob(self, remote: Remote, name: str, digest: Digest, size: int, upload: str) -> None:
        descriptor = Descriptor(media_type="application/octet-stream", digest=digest, size=size)
        async with self._uploads.writing(name, upload) as writer:
            async with remote.blob(descriptor) as body:
                await writer.append(body, size)
            await writer.commit(digest)

    def _end(self, name: str, digest: Digest, done: "asyncio.Task[None]") -> None:
        arriving = self._arriving.pop((name, digest))
        if done.cancelled() or done.exception():
            self._uploads.forget(arriving.path)

    async def _held(self, name: str, digest: Digest) -> records.Blob | None:
        return await self._database.read(lambda connection: records.find_blob(connection, name, digest))

    async def _stored(self, request: web.BaseRequest, name: str, digest: Digest) -> web.StreamResponse:
        """The blob, or the part asked for, now that it is here."""
        found = await self._held(name, digest)
        if found is None:
            raise Refusal(Code.BLOB_UNKNOWN, {"digest": digest})
        return await answers.blob(request, self._store, self._sender, found)

    async def close(self) -> None:
        """Stop fetching and close connections."""
        tasks = [arriving.task for arriving in self._arriving.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()


def _serve_stale(here: records.StoredManifest | None, error: EngineError) -> None:
    """Return when something is here; upstream's trouble is the client's only when nothing is."""
    if here is None:
        raise Refusal(Code.UNAVAILABLE, message=f"the upstream registry cannot be reached: {error}") from error


async def _send_along(
    request: web.BaseRequest, response: web.StreamResponse, arriving: _Arriving, file: FileIO
) -> None:
    """Send the file as it grows; the connection breaks off when the fetch does.

    The last byte waits until the whole was found right: a client that has got all may trust the cache.
    """
    await response.prepare(request)
    left = arriving.size
    while left > 1:
        ended = arriving.task.done()
        piece = await asyncio.to_thread(file.read, min(_PIECE, left - 1))
        if piece:
            await response.write(piece)
            left -= len(piece)
        elif ended:
            raise ConnectionResetError("the upstream registry broke off")
        else:
            await asyncio.wait([arriving.task], timeout=_TICK)
    await asyncio.wait([arriving.task])
    if arriving.task.cancelled() or arriving.task.exception():
        raise ConnectionResetError("the upstream registry sent something else")
    await response.write(file.read(left))
    await response.write_eof()
