"""Uploads as objects of a bucket and rows of the database, for registries that share both.

    uploads (id, repository, size)  ──<  parts (start, size, key, digest)          one part for each request's body

Nothing is kept in a process: any of them goes on where another stopped or was killed. An upload of one part becomes a
blob where it lies, without being copied; several are read once, checked, and written as one. A part counts when its row
is there, which says where it starts: of two requests that write at once the later one is refused. Objects that no row
names are the collector's (step 4).
"""

import asyncio
import contextlib
import hashlib
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Sequence

from aiohttp import ClientError
from sqlalchemy import Connection

from sampan.errors import DataLoss, EngineError
from sampan.oci import digest as digests
from sampan.oci.digest import Digest
from sampan.registry.protocol import Code
from sampan.registry.server import records
from sampan.registry.server.database import Database
from sampan.registry.server.records import Blob, Part
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.store import Key, new_key
from sampan.registry.server.store.s3 import BucketStore
from sampan.registry.streams import batches


class BucketUploads:
    """Every upload to the bucket."""

    def __init__(self, store: BucketStore, database: Database) -> None:
        self._store = store
        self._database = database

    async def begin(self, name: str) -> str:
        """Start an upload to the repository; returns its UUID."""
        upload = str(uuid.uuid4())
        await self._database.write(lambda connection: records.begin_upload(connection, name, upload))
        return upload

    async def offset(self, name: str, upload: str) -> int:
        """Bytes the upload has."""
        size = await self._database.read(lambda connection: records.upload_size(connection, name, upload))
        if size is None:
            raise Refusal(Code.BLOB_UPLOAD_UNKNOWN, {"upload": upload})
        return size

    async def cancel(self, name: str, upload: str) -> None:
        """Throw the upload away."""
        await self.offset(name, upload)
        await self.forget(upload)

    async def forget(self, upload: str) -> None:
        """Throw away an upload to whatever repository."""
        parts = await self._database.read(lambda connection: records.upload_parts(connection, upload))
        if await self._database.write(lambda connection: records.drop_upload(connection, upload)):
            for part in parts:
                await self._store.delete(part.key)

    @contextlib.asynccontextmanager
    async def writing(self, name: str, upload: str) -> AsyncIterator["BucketWriter"]:
        """A writer of the upload; another's part is found out when this one's is recorded."""
        yield BucketWriter(self, self._store, self._database, name, upload, await self.offset(name, upload))

    async def drop_stale(self, before: float) -> int:
        """Throw away uploads nobody wrote to since ``before`` (seconds since 1970); returns how many."""
        stale = await self._database.read(lambda connection: records.stale_uploads(connection, before))
        for upload in stale:
            await self.forget(upload)
        return len(stale)


class BucketWriter:
    """Adds parts to one upload."""

    def __init__(
        self, uploads: BucketUploads, store: BucketStore, database: Database, name: str, upload: str, offset: int
    ) -> None:
        self._uploads = uploads
        self._store = store
        self._database = database
        self._name = name
        self._upload = upload
        self.offset = offset

    async def append(self, body: AsyncIterator[bytes], limit: int | None = None) -> None:
        """Write the body as one part, as far as it came."""
        arriving = _Arriving(body, limit)
        first = await anext(aiter(arriving), b"")
        if first:
            key = Key(f"uploads/{self._upload}/{self.offset}-{secrets.token_hex(8)}")
            await self._store.write(key, arriving.after(first))
            part = Part(self.offset, arriving.size, key, digests.of_hash(arriving.hash))
            if isinstance(arriving.failure, DataLoss) or not await self._record(part):
                await self._store.delete(key)
                raise arriving.failure or Refusal(
                    Code.BLOB_UPLOAD_INVALID, message="another request is writing to this upload"
                )
            self.offset += arriving.size
        if arriving.failure is not None:
            raise arriving.failure

    async def _record(self, part: Part) -> bool:
        return await self._database.write(lambda connection: records.add_part(connection, self._upload, part))

    async def commit(self, digest: Digest) -> None:
        """Make it a blob: the only part as it is, or all parts as one object."""
        parts = await self._database.read(lambda connection: records.upload_parts(connection, self._upload))
        joined = len(parts) != 1 or digests.algorithm(digest) != digests.algorithm(parts[0].digest)
        key = new_key(digest) if joined else parts[0].key
        found = await self._join(key, parts, digests.algorithm(digest)) if joined else parts[0].digest
        if found != digest:
            await self._uploads.forget(self._upload)
            if joined:
                await self._store.delete(key)
            raise Refusal(Code.DIGEST_INVALID, {"expected": digest, "got": found})
        blob = Blob(digest, sum(part.size for part in parts), key, time.time())
        new = await self._database.write(lambda connection: self._record_blob(connection, blob))
        for unneeded in {key, *(part.key for part in parts)} - ({key} if new else set()):
            await self._store.delete(unneeded)

    def _record_blob(self, connection: Connection, blob: Blob) -> bool:
        """Let the blob take the upload's place; False when the blob is here already."""
        if not records.drop_upload(connection, self._upload):
            raise Refusal(Code.BLOB_UPLOAD_UNKNOWN, {"upload": self._upload})  # another request was faster
        return records.add_blob(connection, self._name, blob.digest, blob.size, blob.key)

    async def _join(self, key: Key, parts: Sequence[Part], algorithm: str) -> Digest:
        """Write all parts as one object; returns its digest."""
        state = hashlib.new(algorithm)

        async def pieces() -> AsyncIterator[bytes]:
            for part in parts:
                async for piece in self._store.read(part.key, 0, part.size):
                    await asyncio.to_thread(state.update, piece)
                    yield piece

        await self._store.write(key, pieces())
        return digests.of_hash(state)


class _Arriving:
    """A request's body on its way: counted and hashed; ``failure`` is what broke it off, after what came before."""

    def __init__(self, body: AsyncIterator[bytes], limit: int | None) -> None:
        self._batches = batches(body, limit)
        self.hash = hashlib.sha256()
        self.size = 0
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for batch in self._batches:
                piece = b"".join(batch)
                await asyncio.to_thread(self.hash.update, piece)
                self.size += len(piece)
                yield piece
        except (EngineError, OSError, ClientError) as error:
            self.failure = error

    async def after(self, first: bytes) -> AsyncIterator[bytes]:
        """``first``, which was taken already, and the rest."""
        yield first
        async for piece in self:
            yield piece
