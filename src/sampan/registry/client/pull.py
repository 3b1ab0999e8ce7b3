"""Pull: from what a registry has under a name to an image that is here, unpacked and tagged.

    resolve    tag or digest → manifest, through an index to the platform wanted
    check      media types, sizes, as many layers as the config has diff IDs
    fetch      config and layers, several at a time (``download``)
    unpack     some layers at a time, lower ones first, each reading its blob while that still arrives
    record     image, then the name

Everything is held by a lease until it is recorded. What a broken pull leaves are whole blobs and partial downloads; the
next one goes on with them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from sampan.api.progress import Message, Progress, advance, status
from sampan.archive.errors import DiskFull
from sampan.archive.reader import Source
from sampan.errors import DataLoss, EngineError, InvalidParameter, NotFound
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci import image_config, manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import ChainID, DiffID
from sampan.oci.document import Document
from sampan.oci.image_config import ImageConfig
from sampan.oci.manifest import Index, Manifest
from sampan.oci.platform import Platform, host
from sampan.oci.reference import Reference
from sampan.registry.client.download import Download, Downloads
from sampan.registry.client.failures import NoCredentials, NoPlatform, RegistryFailure, pull_failure
from sampan.registry.client.remote import Fetched, Remote
from sampan.storage.images import Image
from sampan.storage.leases import Lease
from sampan.storage.store import Storage
from sampan.storage.unpack import AT_ONCE, check_depth, unpack_blob

_TICK = 0.1


@dataclass(frozen=True)
class Pulled:
    """An image that was pulled; ``newer`` when the name meant something else, or nothing, before."""

    image: Image
    newer: bool


@dataclass(frozen=True)
class _Resolved:
    """What the name leads to: ``target`` is what it means, ``chosen`` the manifest for the platform."""

    target: Descriptor
    documents: Sequence[bytes]
    chosen: Document[Manifest]


class Puller:
    """Pulls into one storage; downloads are shared between pulls."""

    def __init__(self, storage: Storage, downloads: Downloads) -> None:
        self._storage = storage
        self._downloads = downloads

    async def pull(self, remote: Remote, reference: Reference, platform: Platform | None, progress: Progress) -> Pulled:
        """Pull the image ``reference`` (with tag or digest); raises what a docker user expects to read."""
        name = reference.digest or reference.tag or ""
        try:
            with self._taking() as lease:
                resolved = await self._resolve(remote, name, platform)
                # Not before: an answer that has not begun can still fail with a status of its own.
                await progress.send(Message(status=f"Pulling from {reference.path}", id=name))
                pulled = await self._bring(remote, reference, resolved, lease, progress, platform)
        except RegistryFailure as failure:
            raise pull_failure(failure, reference) from failure
        except NoCredentials as error:
            # Not its own class: on a 401 docker's CLI would ask for a login, also where nobody sits.
            raise EngineError(f'Head "{remote.hosts[-1].url}/{reference.path}/manifests/{name}": {error}') from error
        await progress.send(status(f"Digest: {resolved.target.digest}"))
        return pulled

    @contextlib.contextmanager
    def _taking(self) -> Iterator[Lease]:
        """A lease for one pull. A full disk gets back what the pull has brought; else it is kept for the next try."""
        with self._storage.leases.take() as lease:
            try:
                yield lease
                return
            except DiskFull as error:
                failure = error
        self._storage.discard(lease)
        raise failure

    # Resolve and check.

    async def _resolve(self, remote: Remote, name: str, platform: Platform | None) -> _Resolved:
        top = await remote.manifest(name)
        document = manifest.decode(top.raw, top.media_type)
        if isinstance(document.value, Index):
            entry = choose(document.value, platform)
            member = await remote.manifest(entry.digest)
            if len(member.raw) != entry.size:
                raise DataLoss(f"unexpected size {len(member.raw)}, expected {entry.size} for {entry.digest}")
            return _Resolved(_target(document, top), (top.raw, member.raw), _image(member))
        return _Resolved(_target(document, top), (top.raw,), _image(top))

    # Bring and record.

    async def _bring(
        self,
        remote: Remote,
        reference: Reference,
        resolved: _Resolved,
        lease: Lease,
        progress: Progress,
        platform: Platform | None,
    ) -> Pulled:
        content, images = self._storage.content, self._storage.images
        value = resolved.chosen.value
        lease.hold(resolved.target.digest, resolved.chosen.digest, value.config.digest)
        lease.hold(*(layer.digest for layer in value.layers))
        config = await self._config(remote, value.config)
        _check(value, config.value, platform, reference)
        lease.hold(*_chains(config.value.diff_ids))
        if not self._is_here(value, config):
            await self._layers(remote, value.layers, config.value.diff_ids, progress)
        for raw in resolved.documents:
            await asyncio.to_thread(content.write, raw)
        before = images.target(reference)
        was_here = config.digest in images
        members = images.register(resolved.target)
        for one in {reference, reference.with_digest(resolved.target.digest)}:
            images.tag(one, resolved.target)
        image = next((one for one in members if one.id == config.digest), members[0])
        newer = before is None or before.digest != resolved.target.digest or not was_here
        return Pulled(image, newer)

    def _is_here(self, value: Manifest, config: Document[ImageConfig]) -> bool:
        """Whether the image is here with all its layers, packed and unpacked: then there is nothing to tell of."""
        storage = self._storage
        return (
            config.digest in storage.images
            and all(layer.digest in storage.content for layer in value.layers)
            and all(chain in storage.snapshots for chain in config.value.chain_ids)
        )

    async def _config(self, remote: Remote, descriptor: Descriptor) -> Document[ImageConfig]:
        if descriptor.digest not in self._storage.content:
            async with self._downloads.join(remote, descriptor) as download:
                await download.wait()
        return image_config.decode(await asyncio.to_thread(self._storage.content.read, descriptor.digest))

    async def _layers(
        self, remote: Remote, layers: Sequence[Descriptor], diff_ids: Sequence[DiffID], progress: Progress
    ) -> None:
        """Fetch and unpack several at once; of those under way the lowest waits for none."""
        for layer in layers:
            if layer.digest not in self._storage.content:
                await progress.send(status("Pulling fs layer", digests.short(layer.digest)))
        async with contextlib.AsyncExitStack() as stack:
            arriving: dict[str, _Arriving] = {}
            workers = stack.enter_context(_workers())
            group = await stack.enter_async_context(_first_failure())
            for layer in layers:
                if layer.digest not in self._storage.content and layer.digest not in arriving:
                    download = await stack.enter_async_context(self._downloads.join(remote, layer))
                    arriving[layer.digest] = _Arriving(download, group.create_task(_watch(download, progress)))
            parent: ChainID | None = None
            below: Future[None] = Future()
            below.set_result(None)
            tasks = []
            for layer, diff_id in zip(layers, diff_ids, strict=True):
                place = _Place(parent, diff_id, below, Future())
                task = group.create_task(self._unpack(workers, place, layer, arriving.get(layer.digest), progress))
                task.add_done_callback(place.settle)
                tasks.append(task)
                parent, below = place.chain, place.done
            await asyncio.gather(*tasks)  # before the downloads are left

    async def _unpack(
        self,
        workers: "_Workers",
        place: "_Place",
        layer: Descriptor,
        arriving: "_Arriving | None",
        progress: Progress,
    ) -> None:
        """Unpack one layer, from its download while that runs; a failure then is tried again from the whole blob."""
        short, snapshots = digests.short(layer.digest), self._storage.snapshots
        async with workers.turns:  # kept for the second try: those above may wait for this layer in all other threads
            if arriving is not None:
                if place.chain not in snapshots:
                    with contextlib.suppress(EngineError):
                        await self._unpack_growing(workers, place, arriving.download, progress)
                await arriving.watch
            if place.chain not in snapshots:
                blob = _Counted(self._storage.content.open(layer.digest))
                await self._unpack_from(workers, place, blob, layer, progress)
        if arriving is not None:
            await progress.send(advance("Extracting", short, layer.size, layer.size))
        await progress.send(status("Pull complete" if arriving else "Already exists", short))

    async def _unpack_growing(
        self, workers: "_Workers", place: "_Place", download: Download, progress: Progress
    ) -> None:
        await _either(download.started, download)
        if download.ingest is None or download.done:
            return
        growing = _Counted(download.ingest.follow())
        await self._unpack_from(workers, place, growing, download.descriptor, progress, download)

    async def _unpack_from(
        self,
        workers: "_Workers",
        place: "_Place",
        blob: "_Counted",
        layer: Descriptor,
        progress: Progress,
        download: Download | None = None,
    ) -> None:
        below = place.below.result
        work = asyncio.get_running_loop().run_in_executor(
            workers.threads, unpack_blob, self._storage.snapshots, place.parent, place.diff_id, blob, below
        )
        # The thread may read on for a moment after a cancelled pull: it closes the blob itself, so to speak.
        work.add_done_callback(blob.finish)
        short = digests.short(layer.digest)
        while not (await asyncio.wait([work], timeout=_TICK))[0]:
            if download is None or download.done:
                await progress.send(advance("Extracting", short, blob.position, layer.size))
        work.result()


@dataclass(frozen=True)
class _Workers:
    """Threads that unpack, and turns for as many layers."""

    threads: ThreadPoolExecutor
    turns: asyncio.Semaphore


@dataclass(frozen=True)
class _Place:
    """Where a layer stands: on ``parent``, which is complete once ``below`` is; ``done`` is for the one above."""

    parent: ChainID | None
    diff_id: DiffID
    below: "Future[None]"
    done: "Future[None]"

    @property
    def chain(self) -> ChainID:
        return digests.extend(self.parent, self.diff_id)

    def settle(self, task: "asyncio.Task[None]") -> None:
        """Let threads that wait for this layer go on, or give up with it."""
        if task.cancelled():
            self.done.set_exception(EngineError("the pull was given up"))
        elif error := task.exception():
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


@dataclass(frozen=True)
class _Arriving:
    """A layer's download, and the task that tells of it: done after its last message."""

    download: Download
    watch: asyncio.Task[None]


class _Closable(Source, Protocol):
    def close(self) -> None: ...


class _Counted:
    """A source that counts what was read of it, closed when the work that reads it is done."""

    def __init__(self, source: _Closable) -> None:
        self._source = source
        self.position = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self.position += len(data)
        return data

    def finish(self, work: "asyncio.Future[ChainID]") -> None:
        """Close; the outcome may have nobody left who asks for it."""
        self._source.close()
        if not work.cancelled():
            work.exception()


async def _watch(download: Download, progress: Progress) -> None:
    """Tell how far the download is, until it is done; raises what went wrong with it."""
    short, total = digests.short(download.descriptor.digest), download.descriptor.size
    told_waiting = False
    waiting = asyncio.ensure_future(download.wait())
    try:
        while not (await asyncio.wait([waiting], timeout=_TICK))[0]:
            if download.started.is_set():
                await progress.send(advance("Downloading", short, download.received, total))
            elif not told_waiting:
                told_waiting = True
                await progress.send(status("Waiting", short))
    finally:
        waiting.cancel()
    await download.wait()
    await progress.send(status("Verifying Checksum", short))
    await progress.send(status("Download complete", short))


# ---------------------------------------------------------------- decisions


def choose(index: Index, platform: Platform | None) -> Descriptor:
    """The entry for ``platform``, or the one that runs best here; raises NoPlatform."""
    images = [entry for entry in index.manifests if not entry.is_attestation]
    if platform is not None:
        fitting = [entry for entry in images if entry.platform and entry.platform.matches(platform)]
    else:
        ranked = [
            (rank, position, entry)
            for position, entry in enumerate(images)
            if entry.platform and (rank := entry.platform.rank_on(host())) is not None
        ]
        fitting = [min(ranked)[2]] if ranked else [entry for entry in images if entry.platform is None]
    if not fitting:
        raise NoPlatform(platform or host())
    return fitting[0]


def _target(document: Document[Manifest] | Document[Index], top: Fetched) -> Descriptor:
    kind = document.value.media_type or manifest.media_type(document.raw)
    return Descriptor(media_type=kind, digest=top.digest, size=len(top.raw))


def _image(fetched: Fetched) -> Document[Manifest]:
    """The manifest, if it is one of an image made of layers known here; raises InvalidParameter by name."""
    document = manifest.decode_manifest(fetched.raw)
    value = document.value
    if not value.is_image:
        raise InvalidParameter(
            f"invalid image: unsupported config media type {value.artifact_type or value.config.media_type}"
        )
    for layer in value.layers:
        if layer.media_type not in types.LAYER_TYPES:
            raise InvalidParameter(f"invalid image: unsupported layer media type {layer.media_type}")
    return document


def _check(value: Manifest, config: ImageConfig, platform: Platform | None, reference: Reference) -> None:
    check_depth(config.diff_ids)
    if len(value.layers) != len(config.diff_ids):
        raise InvalidParameter(
            f"invalid manifest, layers length mismatch: expected {len(value.layers)}, got {len(config.diff_ids)}"
        )
    if config.os and config.os != "linux":
        raise InvalidParameter(f'image operating system "{config.os}" cannot be used on this platform')
    if platform is not None and not config.platform.matches(platform):
        raise NotFound(
            f"image with reference {reference.familiar} was found but its platform ({config.platform}) does not "
            f"match the specified platform ({platform})"
        )


def _chains(diff_ids: Sequence[DiffID]) -> list[ChainID]:
    chains: list[ChainID] = []
    for diff_id in diff_ids:
        chains.append(digests.extend(chains[-1] if chains else None, diff_id))
    return chains


# ---------------------------------------------------------------- waiting


async def _either(event: asyncio.Event, download: Download) -> None:
    """Until the download has begun to arrive or has ended."""
    begun = asyncio.ensure_future(event.wait())
    ended = asyncio.ensure_future(download.wait())
    try:
        await asyncio.wait([begun, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        begun.cancel()
        ended.cancel()


@contextlib.asynccontextmanager
async def _first_failure() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose first failure is raised as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


@contextlib.contextmanager
def _workers() -> Iterator[_Workers]:
    """Threads for unpacking, not waited for when the pull is cancelled: their sources then end."""
    threads = ThreadPoolExecutor(AT_ONCE, "sampan-unpack")
    try:
        yield _Workers(threads, asyncio.Semaphore(AT_ONCE))
    finally:
        threads.shutdown(wait=False)
