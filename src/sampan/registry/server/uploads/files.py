"""Uploads as files.

    <root>/uploads/<uuid>.<name>       what arrived; <name> is a hash of the repository's name

The file's length is the upload's offset, so an upload survives a restart of the registry. Its running hash is kept in
memory and taken up again from the file where it is lost. One request at a time may write; another gets a refusal.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.archive.errors import FULL
from sampan.oci import digest as digests
from sampan.oci.digest import Digest
from sampan.registry.protocol import Code
from sampan.registry.server import records
from sampan.registry.server.database import Database
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.store import Store, new_key
from sampan.registry.streams import batches

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE = 1 << 20
_REMEMBERED = 1000


@dataclass
class _Running:
    """A hash and the offset it has come to."""

    hash: "_Hash"
    offset: int


class FileUploads:
    """Every upload under ``root``; what is whole goes to ``store``."""

    def __init__(self, root: Path, store: Store, database: Database) -> None:
        self.root = root / "uploads"
        self.root.mkdir(parents=True, exist_ok=True)
        self._store = store
        self._database = database
        self._running: dict[Path, _Running] = {}

    async def begin(self, name: str) -> str:
        """Start an upload to the repository; returns its UUID."""
        upload = str(uuid.uuid4())
        self._path(name, upload).touch(mode=0o600, exist_ok=False)
        return upload

    async def offset(self, name: str, upload: str) -> int:
        """Bytes the upload has."""
        return self.find(name, upload).stat().st_size

    def _path(self, name: str, upload: str) -> Path:
        return self.root / f"{upload}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"

    def find(self, name: str, upload: str) -> Path:
        """The upload's file; raises Refusal BLOB_UPLOAD_UNKNOWN."""
        try:
            path = self._path(name, str(uuid.UUID(upload)))
        except ValueError:
            raise Refusal(Code.BLOB_UPLOAD_UNKNOWN, {"upload": upload}) from None
        if not path.exists():
            raise Refusal(Code.BLOB_UPLOAD_UNKNOWN, {"upload": upload})
        return path

    async def cancel(self, name: str, upload: str) -> None:
        """Throw the upload away."""
        self.forget(self.find(name, upload))

    def forget(self, path: Path) -> None:
        """Throw away the upload in this file."""
        self._running.pop(path, None)
        path.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def writing(self, name: str, upload: str) -> AsyncIterator["FileWriter"]:
        """The one writer of the upload."""
        path = self.find(name, upload)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Refusal(Code.BLOB_UPLOAD_UNKNOWN) from None
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refusal(Code.BLOB_UPLOAD_INVALID, message="another request is writing to this upload") from None
            yield FileWriter(self, name, path, fd)
        finally:
            os.close(fd)

    def running(self, path: Path, algorithm: str) -> _Running:
        """The hash of all bytes the file has; reads them where no earlier request of this process hashed them."""
        size = path.stat().st_size
        known = self._running.get(path)
        if known is None or known.offset > size or known.hash.name != algorithm:
            known = _Running(hashlib.new(algorithm), 0)
        with path.open("rb", buffering=0) as file:
            file.seek(known.offset)
            while piece := file.read(_PIECE):
                known.hash.update(piece)
                known.offset += len(piece)
        self._remember(path, known)
        return known

    def _remember(self, path: Path, running: _Running) -> None:
        self._running[path] = running
        while len(self._running) > _REMEMBERED:
            del self._running[next(iter(self._running))]

    def finish(self, path: Path, digest: Digest) -> int:
        """Check that the upload has ``digest``; returns its size. Raises Refusal and throws it away otherwise."""
        running = self.running(path, digests.algorithm(digest))
        if digests.of_hash(running.hash) != digest:
            self.forget(path)
            raise Refusal(Code.DIGEST_INVALID, {"expected": digest, "got": digests.of_hash(running.hash)})
        del self._running[path]
        return running.offset

    async def commit(self, name: str, path: Path, digest: Digest) -> None:
        """Make the finished upload at ``path`` a blob of the repository; raises Refusal for a wrong digest."""
        size = await asyncio.to_thread(self.finish, path, digest)
        key = new_key(digest)
        await self._store.put(key, path)
        if not await self._database.write(lambda connection: records.add_blob(connection, name, digest, size, key)):
            await self._store.delete(key)

    async def drop_stale(self, before: float) -> int:
        """Throw away uploads nobody wrote to since ``before`` (seconds since 1970); returns how many."""
        return await asyncio.to_thread(self._drop_stale, before)

    def _drop_stale(self, before: float) -> int:
        stale = [path for path in self.root.iterdir() if _modified(path) < before]
        for path in stale:
            self.forget(path)
        return len(stale)


class FileWriter:
    """Appends to one upload's file."""

    def __init__(self, uploads: FileUploads, name: str, path: Path, fd: int) -> None:
        self._uploads = uploads
        self._name = name
        self._path = path
        self._fd = fd

    @property
    def offset(self) -> int:
        """Bytes the upload has."""
        return os.fstat(self._fd).st_size

    async def append(self, body: AsyncIterator[bytes], limit: int | None = None) -> None:
        """Write the body to its end, a batch in a thread while the next arrives; what arrived before a cut is kept.

        Raises DataLoss when it is longer than ``limit`` bytes.
        """
        running = await asyncio.to_thread(self._uploads.running, self._path, self._algorithm())
        writing: asyncio.Future[None] | None = None
        try:
            async for batch in batches(body, limit):
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(asyncio.to_thread(self._write, running, batch))
        finally:
            if writing is not None:
                await writing

    async def commit(self, digest: Digest) -> None:
        """Make it a blob."""
        await self._uploads.commit(self._name, self._path, digest)

    def _algorithm(self) -> str:
        known = self._uploads._running.get(self._path)
        return known.hash.name if known else "sha256"

    def _written(self, view: memoryview) -> int:
        try:
            return os.write(self._fd, view)
        except OSError as error:
            if error.errno in FULL:
                self._uploads.forget(self._path)  # nobody is helped by a part that fills the disk
            raise

    def _write(self, running: _Running, batch: list[bytes]) -> None:
        for piece in batch:
            view = memoryview(piece)
            while view:
                written = self._written(view)
                running.hash.update(view[:written])
                running.offset += written
                view = view[written:]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
