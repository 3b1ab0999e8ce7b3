"""Push: an image that is here, under its name in a registry, blob by blob what that lacks.

    what the name means ──> manifests to send (all of an index that is wholly here, else this machine's image)
                      each: config and layers ──> have it? ──> mount it from a repository known to have it ──> upload
                      then the manifest by digest, at last the top one by tag

Blobs go out as they came in, so that digests do not change.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from sampan.api.progress import Discard, Message, Progress, PushResult, advance, status
from sampan.errors import NotFound
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.document import Document
from sampan.oci.manifest import Index, Manifest, describe
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.registry.client.failures import RegistryFailure, general_failure
from sampan.registry.client.remote import Remote
from sampan.registry.streams import BATCH
from sampan.storage.store import Storage

_TICK = 0.1


@dataclass(frozen=True)
class _Plan:
    """``members`` go by digest before ``top`` goes by tag."""

    top: Document[Manifest] | Document[Index]
    members: tuple[Document[Manifest], ...]
    note: str = ""


class Pusher:
    """Pushes from one storage, ``slots`` uploads at a time."""

    def __init__(self, storage: Storage, slots: int = 5) -> None:
        self._storage = storage
        self._slots = asyncio.Semaphore(slots)

    async def push(self, remote: Remote, reference: Reference, platform: Platform | None, progress: Progress) -> None:
        """Push what ``reference`` (with a tag) means here; raises NotFound, and what the registry says."""
        target = self._storage.images.target(reference)
        if target is None:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        plan = self._plan(reference, target, platform)
        try:
            await self._send(remote, reference, plan, progress)
        except RegistryFailure as failure:
            raise general_failure(failure) from failure
        if plan.top.digest == target.digest:
            self._storage.images.tag(reference.with_digest(target.digest), target)

    async def push_target(self, remote: Remote, reference: Reference, target: Descriptor) -> None:
        """Push ``target``, which is wholly here, under the tag of ``reference`` or by digest. Raises as ``push``."""
        try:
            await self._send(remote, reference, self._plan(reference, target, None), Discard())
        except RegistryFailure as failure:
            raise general_failure(failure) from failure

    async def send(self, remote: Remote, reference: Reference, document: Document[Manifest]) -> None:
        """Push a manifest that no name means here, and the blobs that it points to. Raises as ``push``."""
        try:
            await self._send(remote, reference, _Plan(document, (document,)), Discard())
        except RegistryFailure as failure:
            raise general_failure(failure) from failure

    def _plan(self, reference: Reference, target: Descriptor, platform: Platform | None) -> _Plan:
        images = self._storage.images
        top = images.document(target.digest)
        if isinstance(top.value, Manifest):
            return _Plan(top, (Document(top.raw, top.value),))
        here = [entry for entry in top.value.manifests if self._is_whole(entry)]
        if platform is None and len(here) == len(top.value.manifests):
            return _Plan(top, tuple(images.manifest(entry.digest) for entry in here))
        members = images.members(target.digest)
        fitting = [one for one in members if platform is None or one.platform.matches(platform)]
        if not fitting:
            lacks = f"does not provide the specified platform ({platform})"
            raise NotFound(f"image with reference {reference.familiar} was found but {lacks}")
        note = "" if platform else "Not all multiplatform-content is present: only the image that is here is pushed"
        return _Plan(fitting[0].manifest, (fitting[0].manifest,), note)

    def _is_whole(self, entry: Descriptor) -> bool:
        """Whether a manifest of an index is here with all it points to."""
        content = self._storage.content
        if entry.digest not in content or entry.media_type not in types.MANIFEST_TYPES:
            return False
        value = self._storage.images.manifest(entry.digest).value
        return all(blob.digest in content for blob in _blobs(value))

    async def _send(self, remote: Remote, reference: Reference, plan: _Plan, progress: Progress) -> None:
        if plan.note:
            await progress.send(status(plan.note))
        for member in plan.members:
            await self._send_blobs(remote, member.value, progress)
            if member.digest != plan.top.digest:
                await remote.put_manifest(member.digest, member.raw, describe(member).media_type)
        tag = reference.tag or plan.top.digest
        await remote.put_manifest(tag, plan.top.raw, describe(plan.top).media_type)
        top = plan.top
        await progress.send(status(f"{tag}: digest: {top.digest} size: {top.size}"))
        await progress.send(Message(aux=PushResult(tag=tag, digest=top.digest, size=top.size)))

    async def _send_blobs(self, remote: Remote, value: Manifest, progress: Progress) -> None:
        """Config and layers, several at once."""
        for layer in value.layers:
            await progress.send(status("Preparing", digests.short(layer.digest)))
        unique = {blob.digest: blob for blob in value.layers}
        try:
            async with asyncio.TaskGroup() as group:
                for blob in unique.values():
                    group.create_task(self._layer(remote, blob, progress))
                group.create_task(self._blob(remote, value.config, None))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _layer(self, remote: Remote, layer: Descriptor, progress: Progress) -> None:
        short = digests.short(layer.digest)
        if layer.media_type in types.NONDISTRIBUTABLE_TYPES:
            await progress.send(status("Skipped foreign layer", short))
            return
        if self._slots.locked():
            await progress.send(status("Waiting", short))
        outcome = await self._blob(remote, layer, progress)
        await progress.send(status(outcome, short))

    async def _blob(self, remote: Remote, blob: Descriptor, progress: Progress | None) -> str:
        """Bring one blob there; returns how it got there, in Docker's words."""
        async with self._slots:
            if await remote.has_blob(blob.digest):
                return "Layer already exists"
            if blob.digest not in self._storage.content:
                raise NotFound(f"content {blob.digest} is needed for the push and no longer here: pull the image again")
            origin = self._origin(remote.reference, blob.digest)
            location = await remote.mount_or_begin(blob.digest, origin)
            if location is None:
                return f"Mounted from {origin.path if origin else ''}"
            await self._upload(remote, location, blob, progress)
            return "Pushed"

    def _origin(self, target: Reference, digest: Digest) -> Reference | None:
        """A repository of the same registry that a local image with this blob is named after."""
        images = self._storage.images
        for reference, named in images.references():
            if reference.domain == target.domain and reference.path != target.path:
                members = images.members(named.digest)
                if any(digest in {blob.digest for blob in _blobs(one.manifest.value)} for one in members):
                    return reference
        return None

    async def _upload(self, remote: Remote, location: str, blob: Descriptor, progress: Progress | None) -> None:
        sent = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            sent = 0
            with self._storage.content.open(blob.digest) as file:
                while piece := await asyncio.to_thread(file.read, BATCH):
                    yield piece
                    sent += len(piece)

        work = asyncio.ensure_future(remote.upload(location, body, blob.size, blob.digest))
        try:
            while not (await asyncio.wait([work], timeout=_TICK))[0]:
                if progress is not None:
                    await progress.send(advance("Pushing", digests.short(blob.digest), sent, blob.size))
            work.result()
        finally:
            work.cancel()
            await asyncio.wait([work])


def _blobs(value: Manifest) -> Iterable[Descriptor]:
    """Config and layers that registries keep."""
    kept = (layer for layer in value.layers if layer.media_type not in types.NONDISTRIBUTABLE_TYPES)
    return (value.config, *kept)
