"""Image archives between a request and the store: ``docker load``, ``save`` and ``import`` as streams."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

import aiohttp

from sampan.api import progress as api
from sampan.api.images import ImportOptions
from sampan.api.progress import Progress
from sampan.archive.stream import Sink
from sampan.engine.blocking import BodySource, apart, stream_of
from sampan.engine.image_making import import_image
from sampan.errors import EngineError, Forbidden, InvalidParameter, NotFound, Unauthorized, Unreachable
from sampan.oci import digest as digests
from sampan.oci.digest import DiffID
from sampan.oci.platform import Platform
from sampan.registry.client.failures import told
from sampan.storage import load, save
from sampan.storage.images import Image
from sampan.storage.load import Loaded
from sampan.storage.store import Storage

_CHUNK = 1 << 18
_REPORT_EVERY = 0.1
_SAID = 4096
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
_REFUSALS = {400: InvalidParameter, 401: Unauthorized, 403: Forbidden, 404: NotFound}


async def load_images(
    storage: Storage,
    body: AsyncIterator[bytes],
    progress: Progress,
    *,
    quiet: bool,
    platforms: Sequence[Platform],
) -> list[Loaded]:
    """Load the archive in ``body`` and tell what came, in Docker's words."""
    source = BodySource(body)
    report = None if quiet else _Reporter(progress)
    try:
        loaded = await apart(load.load, storage, source, platforms=platforms, report=report)
    finally:
        source.close()
    for one in loaded:
        for reference, old in one.displaced:
            await progress.send(
                api.stream(
                    f"The image {reference.familiar} already exists, "
                    f"renaming the old one with ID {old} to empty string\n"
                )
            )
        for reference in one.references:
            await progress.send(api.stream(f"Loaded image: {reference.familiar}\n"))
        if not one.references:
            await progress.send(api.stream(f"Loaded image ID: {one.image.id}\n"))
    return loaded


class _Reporter:
    """Sends the progress of unpacking from its thread, a few times a second for each layer."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._next = 0.0

    def __call__(self, diff_id: DiffID, current: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next and current < total:
            return
        self._next = now + _REPORT_EVERY
        message = api.advance("Loading layer", digests.short(diff_id), current, total)
        asyncio.run_coroutine_threadsafe(self._progress.send(message), self._loop).result()


async def save_images(
    storage: Storage, names: Sequence[str], platforms: Sequence[Platform]
) -> tuple[AsyncIterator[bytes], Sequence[Image]]:
    """The archive as a stream, and the images in it. NoSuchImage is raised before the first byte."""
    plan = await asyncio.to_thread(save.plan, storage, names, platforms)

    def write(sink: Sink) -> None:
        save.save(storage, plan, sink)

    return stream_of(write), [image for image, _ in plan.images.values()]


async def import_archive(
    storage: Storage, options: ImportOptions, platform: Platform | None, body: AsyncIterator[bytes], progress: Progress
) -> Image:
    """Import the request's body, or what a URL gives."""
    if platform is not None and platform.os not in ("", "linux"):
        raise InvalidParameter("operating system is not supported")
    if options.source == "-":
        return await _import(storage, options, platform, body)
    url = options.source if "://" in options.source else f"http://{options.source}"
    async with _fetched(url) as answer:
        await progress.send(api.status(f"Downloading from {url}"))
        return await _import(storage, options, platform, _told(answer, progress))


@contextlib.asynccontextmanager
async def _fetched(url: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a GET. Raises InvalidParameter, Unreachable, or by the status what the server refuses."""
    try:
        async with aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session, session.get(url) as answer:
            if answer.status >= 400:
                said = (await answer.content.read(_SAID)).decode(errors="replace").strip()
                kind = _REFUSALS.get(answer.status, EngineError)
                raise kind(f"failed to GET {url} with status {answer.status} {answer.reason}: {said}")
            yield answer
    except aiohttp.InvalidURL as error:
        raise InvalidParameter(f"invalid import source {url}: {error}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(told("GET", url, error)) from error


async def _told(answer: aiohttp.ClientResponse, progress: Progress) -> AsyncIterator[bytes]:
    """The answer's body, whose progress is shown as it passes."""
    total, current, due = answer.content_length or 0, 0, time.monotonic() + _REPORT_EVERY
    async for piece in answer.content.iter_chunked(_CHUNK):
        yield piece
        current += len(piece)
        if time.monotonic() >= due:
            due = time.monotonic() + _REPORT_EVERY
            await progress.send(api.advance("Importing", "", current, total))
    await progress.send(api.advance("Importing", "", current, total))


async def _import(
    storage: Storage, options: ImportOptions, platform: Platform | None, body: AsyncIterator[bytes]
) -> Image:
    source = BodySource(body)
    try:
        return await apart(import_image, storage, source, options.message, options.changes, platform)
    finally:
        source.close()
