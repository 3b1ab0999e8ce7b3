"""Blobs and their uploads: end-2, end-4 to end-6, end-10, end-11, end-13, end-14 of the distribution specification.

POST uploads/ ──> 202 Location ──> PATCH* (202, Range) ──> PUT ?digest= (201)
     ├── ?digest=   the whole blob at once: 201
     ├── ?mount=    from another repository: 201, else an upload begins: 202
     └── GET 204 where it stands, DELETE 204 cancel
"""

import time

from aiohttp import web

from sampan.errors import DataLoss, InvalidParameter
from sampan.oci import digest as digests
from sampan.oci.digest import Digest
from sampan.registry.protocol import (
    CHUNK_MIN_LENGTH,
    CONTENT_DIGEST,
    UPLOAD_UUID,
    Code,
    parse_content_range,
    upload_range,
)
from sampan.registry.server import answers, records
from sampan.registry.server.config import seconds
from sampan.registry.server.records import Blob
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.registry import Registry
from sampan.registry.server.uploads import Writer
from sampan.registry.streams import awaited


def parse_digest(text: str) -> Digest:
    """A digest out of a URL; raises Refusal DIGEST_INVALID."""
    try:
        return digests.parse(text)
    except InvalidParameter as error:
        raise Refusal(Code.DIGEST_INVALID, {"digest": text}, message=error.message) from None


async def blob_get(registry: Registry, request: web.BaseRequest, name: str, digest: str) -> web.StreamResponse:
    """GET and HEAD of a blob."""
    wanted = parse_digest(digest)
    blob = await _held(registry, name, wanted)
    if blob is None and registry.proxy:
        return await registry.proxy.blob(request, name, wanted)
    if blob is None:
        raise Refusal(Code.BLOB_UNKNOWN, {"digest": digest})
    return await answers.blob(request, registry.store, registry.sender, blob)


async def _held(registry: Registry, name: str, digest: Digest) -> Blob | None:
    """The blob if the repository holds it, its lease long enough for a push that counts on it."""
    blob = await registry.database.read(lambda connection: records.find_blob(connection, name, digest))
    if blob is None or time.time() - blob.held_at < seconds(registry.config.gc.grace) / 2:
        return blob
    alive = await registry.database.write(lambda connection: records.renew_lease(connection, name, digest))
    return blob if alive else None


async def blob_delete(registry: Registry, _request: web.BaseRequest, name: str, digest: str) -> web.Response:
    """Take the blob away from this repository; its bytes go when no repository holds it."""
    if not registry.config.deletion:
        raise Refusal(Code.UNSUPPORTED)
    wanted = parse_digest(digest)
    if not await registry.database.write(lambda connection: records.drop_holding(connection, name, wanted)):
        raise Refusal(Code.BLOB_UNKNOWN, {"digest": digest})
    return answers.empty(202)


# ---------------------------------------------------------------- uploads


async def upload_begin(registry: Registry, request: web.BaseRequest, name: str) -> web.Response:
    """Mount, take a whole blob, or begin an upload."""
    _refuse_pushes_to_cache(registry)
    if "mount" in request.query and await _mount(registry, request, name):
        return _created(name, parse_digest(request.query["mount"]))
    if "digest" in request.query:
        parse_digest(request.query["digest"])
    upload = await registry.uploads.begin(name)
    if "digest" in request.query:
        return await upload_finish(registry, request, name, upload)
    return _progress(registry, name, upload, 0)


async def _mount(registry: Registry, request: web.BaseRequest, name: str) -> bool:
    """Whether the blob could be taken from ``from``, or from any repository the client may read."""
    digest = parse_digest(request.query["mount"])
    identity = await registry.access.identify(request)
    source = request.query.get("from")
    known = [source] if source else await registry.database.read(lambda c: records.holders(c, digest))
    readable = [one for one in known if registry.access.allows(identity, one, "pull")]
    if not readable:
        return False
    return await registry.database.write(lambda c: records.mount_blob(c, readable[0], name, digest))


async def upload_status(registry: Registry, _request: web.BaseRequest, name: str, upload: str) -> web.Response:
    """Where the upload stands."""
    return _progress(registry, name, upload, await registry.uploads.offset(name, upload), status=204)


async def upload_chunk(registry: Registry, request: web.BaseRequest, name: str, upload: str) -> web.Response:
    """Append a chunk, which must start where the last one ended."""
    _refuse_pushes_to_cache(registry)
    async with registry.uploads.writing(name, upload) as writer:
        await _append(registry, request, writer, name, upload)
        return _progress(registry, name, upload, writer.offset)


async def _append(registry: Registry, request: web.BaseRequest, writer: Writer, name: str, upload: str) -> None:
    """Write the request's body if its range, when it gives one, fits the offset and its length."""
    here = {"Location": _location(name, upload), "Range": upload_range(writer.offset)}
    given = request.headers.get("Content-Range")
    limit = None
    if given is not None:
        bounds = parse_content_range(given)
        if bounds is None or bounds[0] != writer.offset:
            raise Refusal(Code.RANGE_INVALID, headers=here)
        limit = bounds[1] - bounds[0] + 1
        if request.content_length not in (None, limit):
            raise Refusal(Code.SIZE_INVALID, headers=here)
    before = writer.offset
    try:
        await writer.append(awaited(request.content, registry.config.limits.patience), limit)
    except DataLoss as error:
        raise Refusal(Code.SIZE_INVALID, message=error.message, headers=here) from error
    if limit is not None and writer.offset - before != limit:
        raise Refusal(Code.SIZE_INVALID, headers=here)


async def upload_finish(registry: Registry, request: web.BaseRequest, name: str, upload: str) -> web.Response:
    """Append what the request carries, check the digest, and make it a blob."""
    _refuse_pushes_to_cache(registry)
    digest = parse_digest(request.query.get("digest", ""))
    async with registry.uploads.writing(name, upload) as writer:
        if request.body_exists:
            await _append(registry, request, writer, name, upload)
        await writer.commit(digest)
    return _created(name, digest)


async def upload_cancel(registry: Registry, _request: web.BaseRequest, name: str, upload: str) -> web.Response:
    """Throw the upload away."""
    await registry.uploads.cancel(name, upload)
    return answers.empty(204)


def _refuse_pushes_to_cache(registry: Registry) -> None:
    if registry.proxy:
        raise Refusal(Code.UNSUPPORTED, message="this registry is a pull-through cache: push to its upstream")


def _location(name: str, upload: str) -> str:
    return f"/v2/{name}/blobs/uploads/{upload}"


def _progress(registry: Registry, name: str, upload: str, offset: int, status: int = 202) -> web.Response:
    headers = {"Location": _location(name, upload), "Range": upload_range(offset), UPLOAD_UUID: upload}
    if registry.config.limits.chunk:
        headers[CHUNK_MIN_LENGTH] = str(registry.config.limits.chunk)
    return answers.empty(status, headers)


def _created(name: str, digest: Digest) -> web.Response:
    return answers.empty(201, {"Location": f"/v2/{name}/blobs/{digest}", CONTENT_DIGEST: digest})
