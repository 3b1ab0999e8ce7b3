"""Downloads of blobs into the content store: shared, resumed, verified.

    waiting ──slot──> receiving ──all bytes──> committed
                        │  ▲
             connection └──┘ again by range, while each attempt brings something or a few are left

Whoever wants a blob that is being downloaded joins that download; when the last one leaves, it stops and the bytes stay
for next time. A resumed blob that turns out wrong is downloaded once more from its beginning: a power cut may have
spoiled what an earlier process left.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sampan.archive.errors import DiskFull
from sampan.errors import DataLoss, Unreachable
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.registry.client.remote import Remote
from sampan.registry.streams import batches
from sampan.storage.content import ContentStore, Ingest


class Download:
    """One blob on its way. ``ingest`` is there from the first byte until it is committed."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.ingest: Ingest | None = None
        self.started = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.users = 0

    @property
    def received(self) -> int:
        """Bytes here so far, those of earlier attempts included."""
        return self.ingest.offset if self.ingest else 0

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.task is not None and self.task.done()

    async def wait(self) -> None:
        """Until the blob is in the content store; raises what went wrong."""
        assert self.task is not None
        await asyncio.shield(self.task)


class Downloads:
    """All downloads of one engine: at most ``slots`` at a time, ``attempts`` without progress each."""

    def __init__(self, content: ContentStore, slots: int = 3, attempts: int = 5, delay: float = 0.5) -> None:
        self._content = content
        self._slots = asyncio.Semaphore(slots)
        self._attempts = attempts
        self._delay = delay
        self._running: dict[Digest, Download] = {}

    @contextlib.asynccontextmanager
    async def join(self, remote: Remote, descriptor: Descriptor) -> AsyncIterator[Download]:
        """The download of a blob that is not here: one under way, or a new one."""
        download = self._running.get(descriptor.digest)
        if download is None:
            download = Download(descriptor)
            download.task = asyncio.create_task(self._run(remote, download), name=f"download {descriptor.digest}")
            download.task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._running[descriptor.digest] = download
        download.users += 1
        try:
            yield download
        finally:
            download.users -= 1
            if download.users == 0:
                await self._leave(download)

    async def _leave(self, download: Download) -> None:
        assert download.task is not None
        if self._running.get(download.descriptor.digest) is download:
            del self._running[download.descriptor.digest]
        download.task.cancel()
        await asyncio.wait([download.task])

    async def _run(self, remote: Remote, download: Download) -> None:
        async with self._slots:
            if download.descriptor.digest in self._content:
                return
            try:
                await self._once(remote, download)
            except _Spoiled:
                await self._once(remote, download)

    async def _once(self, remote: Remote, download: Download) -> None:
        descriptor = download.descriptor
        reference = f"download-{descriptor.digest}"
        algorithm = digests.algorithm(descriptor.digest)
        ingest = await asyncio.to_thread(self._content.ingest, reference, algorithm)
        with ingest:
            inherited = ingest.offset
            download.ingest = ingest
            download.started.set()
            try:
                await self._receive(remote, descriptor, ingest)
                await asyncio.to_thread(ingest.commit, descriptor.digest, descriptor.size)
            except DiskFull as error:
                ingest.abort(error)  # nobody is helped by a part that fills the disk
                raise
            except DataLoss as error:
                ingest.abort(error)
                if inherited:
                    raise _Spoiled(error.message) from error
                raise

    async def _receive(self, remote: Remote, descriptor: Descriptor, ingest: Ingest) -> None:
        """Bytes until there are as many as there should be; raises Unreachable, DataLoss, RegistryFailure."""
        fruitless = 0
        while ingest.offset < descriptor.size:
            before = ingest.offset
            try:
                async with remote.blob(descriptor, before) as body:
                    await _write(ingest, body, descriptor.size - before)
                if ingest.offset < descriptor.size:
                    raise Unreachable(f"unexpected EOF: {ingest.offset} of {descriptor.size} bytes of a blob arrived")
            except Unreachable:
                fruitless = 0 if ingest.offset > before else fruitless + 1
                if fruitless >= self._attempts:
                    raise
                await asyncio.sleep(self._delay * 2**fruitless)


class _Spoiled(DataLoss):
    """A blob that was gone on with has the wrong bytes: try again from the beginning."""


async def _write(ingest: Ingest, body: AsyncIterator[bytes], room: int) -> None:
    """Write a batch in a thread while the next arrives; what arrived before a cut is kept."""
    writing: asyncio.Future[None] | None = None
    try:
        async for batch in batches(body, room):
            if writing is not None:
                await writing
            writing = asyncio.ensure_future(asyncio.to_thread(_write_all, ingest, batch))
    finally:
        if writing is not None:
            await asyncio.wait([writing])
    if writing is not None:
        writing.result()


def _write_all(ingest: Ingest, batch: list[bytes]) -> None:
    for piece in batch:
        ingest.write(piece)
