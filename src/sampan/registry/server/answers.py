"""Answers that several handlers give: JSON, pages, blobs by range.

A blob that is a local file goes out through ``sending``; one with a URL is redirected to; else it passes through.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from sampan.registry.protocol import (
    API_VERSION,
    API_VERSION_2,
    CONTENT_DIGEST,
    PAGE_LIMIT,
    Code,
    Unsatisfiable,
    byte_range,
)
from sampan.registry.server.records import Blob
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.sending import Sender
from sampan.registry.server.store import Store

BASE_HEADERS = {API_VERSION: API_VERSION_2, "X-Content-Type-Options": "nosniff"}


def json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """``value`` as JSON."""
    body = msgspec.json.encode(value)
    return web.Response(
        body=body, status=status, headers={**BASE_HEADERS, **(headers or {})}, content_type="application/json"
    )


def empty(status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """No body."""
    return web.Response(status=status, headers={**BASE_HEADERS, "Content-Length": "0", **(headers or {})})


def page_bounds(request: web.BaseRequest, limit: int) -> tuple[str, int]:
    """``last`` and ``n`` of a paged listing; ``n`` is at most ``limit``. Raises Refusal."""
    text = request.query.get("n", "")
    if text and not (text.isascii() and text.isdigit()):
        raise Refusal(Code.PAGINATION_NUMBER_INVALID, {"n": text})
    return request.query.get("last", ""), min(int(text[:PAGE_LIMIT]), limit) if text else limit


def next_link(request: web.BaseRequest, last: str, limit: int) -> dict[str, str]:
    """The Link header that leads to the page after ``last``."""
    query = urlencode({"last": last, "n": limit})
    return {"Link": f'<{request.path}?{query}>; rel="next"'}


def not_modified(request: web.BaseRequest, digest: str) -> bool:
    """Whether the client has this content already, by its If-None-Match."""
    return f'"{digest}"' in request.headers.get("If-None-Match", "")


async def blob(request: web.BaseRequest, store: Store, sender: Sender, found: Blob) -> web.StreamResponse:
    """The blob, whole or the range asked for."""
    headers = {
        **BASE_HEADERS,
        CONTENT_DIGEST: found.digest,
        "ETag": f'"{found.digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000",
        "Content-Type": "application/octet-stream",
    }
    if not_modified(request, found.digest):
        return web.Response(status=304, headers=headers)
    if request.method == "HEAD":
        return web.Response(headers={**headers, "Content-Length": str(found.size)})
    url = await store.url(found.key)
    if url is not None:
        return web.Response(status=307, headers={**headers, "Location": url})
    status, start, length = _part(request, found, headers)
    response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(length)})
    await _send(request, response, store, sender, found, start, length)
    return response


def _part(request: web.BaseRequest, found: Blob, headers: dict[str, str]) -> tuple[int, int, int]:
    """Status, start and length to send; adds Content-Range."""
    try:
        asked = byte_range(request.headers.get("Range", ""), found.size)
    except Unsatisfiable:
        raise Refusal(Code.RANGE_INVALID, headers={"Content-Range": f"bytes */{found.size}"}) from None
    if asked is None:
        return 200, 0, found.size
    start, length = asked
    headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{found.size}"
    return 206, start, length


async def _send(
    request: web.BaseRequest,
    response: web.StreamResponse,
    store: Store,
    sender: Sender,
    found: Blob,
    start: int,
    length: int,
) -> None:
    path = store.file(found.key)
    if path is None:
        pieces = store.read(found.key, start, length)
        first = await anext(pieces, b"")  # what is not there can still be refused
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
    else:
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise Refusal(Code.BLOB_UNKNOWN, {"digest": found.digest}) from None
        with file:
            await response.prepare(request)
            await sender.send(request, file, start, length)
    await response.write_eof()
