"""Content stores that a client offers in its session: the OCI layouts of its contexts, the caches in its directories.

    Read    digest ─▶ bytes …
    Info    digest ─▶ whether it is there
    Write   STAT ref, total, expected ─▶ ; WRITE offset, data ─▶ …; COMMIT ─▶     each is answered

Each call names its store in metadata. Source: containerd api/services/content/v1/content.proto.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from grpclib.client import Channel, StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from sampan.build.buildkit import messages as m
from sampan.build.threads import in_thread
from sampan.errors import DataLoss, EngineError, NotFound
from sampan.oci import digest as digests
from sampan.oci import manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.document import Document
from sampan.oci.manifest import Index, Manifest
from sampan.oci.platform import Platform
from sampan.registry.client.pull import choose
from sampan.storage.images import Image
from sampan.storage.leases import Lease
from sampan.storage.store import Storage

SERVICE = "/containerd.services.content.v1.Content/"
STORE_KEY = "buildkit-attachable-store-id"
STAT, WRITE, COMMIT = range(3)
CHUNK = 1 << 20
DOCUMENT_LIMIT = 8 << 20
"""Bytes of a manifest, an index, a config."""


class ClientContent:
    """One store of one client."""

    def __init__(self, channel: Channel, store: str) -> None:
        self._channel = channel
        self._metadata = [(STORE_KEY, store)]

    async def read(self, digest: str) -> bytes:
        """The bytes of a document. Raises NotFound, DataLoss where they do not fit the digest, EngineError."""
        parts = bytearray()
        async for piece in self._pieces(digest, DOCUMENT_LIMIT):
            parts += piece
        document = bytes(parts)
        if digests.of(document) != digest:
            raise DataLoss(f"content {digest} of the client has the digest {digests.of(document)}")
        return document

    async def fetch(self, storage: Storage, lease: Lease, descriptor: Descriptor) -> None:
        """Bring a blob into ``storage`` unless it is there. Raises NotFound, DataLoss, EngineError."""
        lease.hold(descriptor.digest)
        if descriptor.digest in storage.content:
            return
        with storage.content.ingest() as ingest:
            async for piece in self._pieces(descriptor.digest, descriptor.size):
                await in_thread(ingest.write, piece)
            await in_thread(ingest.commit, descriptor.digest, descriptor.size)

    async def send_blobs(self, storage: Storage, digests: Collection[Digest]) -> None:
        """Put blobs there that are here. Raises EngineError."""
        for digest in digests:
            if not await self._has(digest):
                size = storage.content.size(digest)
                await self._write(storage, Descriptor(media_type="", digest=digest, size=size))

    async def send(self, storage: Storage, document: Document[Manifest]) -> None:
        """Put a manifest there, after the blobs that it points to. Raises EngineError."""
        for descriptor in (document.value.config, *document.value.layers, manifest.describe(document)):
            if not await self._has(descriptor.digest):
                await self._write(storage, descriptor)

    async def _has(self, digest: Digest) -> bool:
        call = UnaryUnaryMethod(self._channel, SERVICE + "Info", m.InfoContentRequest, m.InfoContentResponse)
        try:
            await call(m.InfoContentRequest(digest=digest), metadata=self._metadata)
        except GRPCError as error:
            if error.status == Status.NOT_FOUND:
                return False
            raise EngineError(f"content {digest} of the client: {error.message}") from error
        return True

    async def _write(self, storage: Storage, descriptor: Descriptor) -> None:
        digest, size = descriptor.digest, descriptor.size
        method = StreamStreamMethod(self._channel, SERVICE + "Write", m.WriteContentRequest, m.WriteContentResponse)
        about = {"ref": f"sampan-{digest}", "total": size, "expected": digest}
        try:
            async with method.open(metadata=self._metadata) as stream:
                await _say(stream, m.WriteContentRequest(action=STAT, **about))
                offset = 0
                with storage.content.open(digest) as file:
                    while data := await in_thread(file.read, CHUNK):
                        await _say(stream, m.WriteContentRequest(action=WRITE, offset=offset, data=data, **about))
                        offset += len(data)
                await _say(stream, m.WriteContentRequest(action=COMMIT, offset=offset, **about), end=True)
        except GRPCError as error:
            if error.status != Status.ALREADY_EXISTS:
                raise EngineError(f"content {digest} for the client: {error.message}") from error
        except StreamTerminatedError as error:
            raise EngineError(f"content {digest} for the client: {error}") from error

    async def _pieces(self, digest: str, most: int) -> AsyncIterator[bytes]:
        """What the client sends, until it is more than ``most`` bytes: DataLoss."""
        method = UnaryStreamMethod(self._channel, SERVICE + "Read", m.ReadContentRequest, m.ReadContentResponse)
        try:
            async with method.open(metadata=self._metadata) as stream:
                await stream.send_message(m.ReadContentRequest(digest=digest), end=True)
                while (answer := await stream.recv_message()) is not None:
                    most -= len(answer.data)
                    if most < 0:
                        raise DataLoss(f"content {digest} of the client is larger than announced")
                    yield answer.data
        except GRPCError as error:
            kind = NotFound if error.status == Status.NOT_FOUND else EngineError
            raise kind(f"content {digest} of the client: {error.message}") from error
        except StreamTerminatedError as error:
            raise EngineError(f"content {digest} of the client: {error}") from error


async def _say(stream: Any, message: Any, *, end: bool = False) -> None:
    """Send one message of a write, and wait for its answer."""
    await stream.send_message(message, end=end)
    if await stream.recv_message() is None:
        raise EngineError("the client ended the transfer of the build's cache")


async def bring_image(
    storage: Storage, lease: Lease, content: ClientContent, digest: Digest, platform: Platform
) -> Image:
    """The image that a manifest or an index of the client's store means, brought here. Raises EngineError."""
    document = manifest.decode(await content.read(digest))
    if isinstance(document.value, Index):
        entry = choose(document.value, platform)
        document = manifest.decode_manifest(await content.read(entry.digest))
    assert not isinstance(document.value, Index)
    parts: Sequence[Descriptor] = (document.value.config, *document.value.layers)
    for part in parts:
        await content.fetch(storage, lease, part)
    lease.hold(await in_thread(storage.content.write, document.raw))
    images = await in_thread(storage.images.register, manifest.describe(document))
    return next(iter(images))
