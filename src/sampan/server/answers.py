"""Answers: JSON, nothing, text, a body that streams, progress."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

from aiohttp import web

from sampan.api import json, progress
from sampan.api.output import Bytes
from sampan.api.progress import Message
from sampan.errors import EngineError
from sampan.server.call import Call

log = logging.getLogger(__name__)

JSON = "application/json"
TAR = "application/x-tar"


def answer(value: Any, status: int = 200) -> web.Response:
    """``value`` as JSON."""
    return web.Response(body=json.encode(value), status=status, headers={"Content-Type": JSON})


def done(status: int = 204) -> web.Response:
    """Done, and nothing to tell."""
    return web.Response(status=status)


def changed(anything: bool) -> web.Response:
    """204, or 304 when nothing had to be done."""
    return done(204 if anything else 304)


def failure(status: int, message: str) -> web.Response:
    """An error, as Docker's clients read it."""
    return answer({"message": message}, status)


def plain_failure(status: int, message: str) -> web.Response:
    """An error for clients that are too old to read JSON, as Go's ``http.Error`` writes it."""
    return web.Response(text=message + "\n", status=status, headers={"X-Content-Type-Options": "nosniff"})


async def begin(call: Call, content_type: str, **headers: str) -> web.StreamResponse:
    """Send the head of a streamed answer at once."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = web.StreamResponse(headers={"Content-Type": content_type, **named})
    await response.prepare(call.request)
    return response


async def stream(call: Call, chunks: Bytes, content_type: str, **headers: str) -> web.StreamResponse:
    """Send ``chunks`` as they come.

    An error on the way cuts the connection: the client must not take it for the end.
    """
    response = await begin(call, content_type, **headers)
    try:
        async with aclosing(cast("Any", chunks)):
            async for chunk in chunks:
                await response.write(chunk)
    except ConnectionError:
        raise  # the client went away
    except (EngineError, OSError) as error:
        log.error("%s %s ended early: %s", call.request.method, call.request.path, error)
        if call.request.transport is not None:
            call.request.transport.abort()
        return response
    await response.write_eof()
    return response


class ProgressStream:
    """A ``Progress`` that writes to the client; the answer's head goes out with the first message."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.response: web.StreamResponse | None = None

    async def send(self, message: Message) -> None:
        """Write ``message``; raises ConnectionError when the client is gone."""
        response = self.response or await self.begin()
        await response.write(progress.encode(message))

    async def begin(self) -> web.StreamResponse:
        """Send the head, once."""
        if self.response is None:
            self.response = await begin(self._call, JSON)
        return self.response


def told(error: Exception) -> str:
    """A sentence for an error that nobody expected: the system's own words, or the kind of error.

    What else it says may be anything, a password included, and is for the daemon's log alone.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
    return f"internal error: {type(error).__name__}: the daemon's log tells where"


async def follow(
    call: Call, operation: Callable[[ProgressStream], Awaitable[None]], *, failures_inside: bool = False
) -> web.StreamResponse:
    """Run ``operation`` and send its progress.

    Its error is the answer's status while nothing was sent; afterwards, and with ``failures_inside`` always, it is
    the last message.
    """
    sink = ProgressStream(call)
    try:
        await operation(sink)
    except EngineError as error:
        if sink.response is None and not failures_inside:
            raise
        await sink.send(progress.failure(error.message, error.code))
    except ConnectionError:
        raise  # the client went away
    except Exception as error:
        if sink.response is None:
            raise
        log.exception("%s %s", call.request.method, call.request.path)
        await sink.send(progress.failure(told(error)))
    response = await sink.begin()
    await response.write_eof()
    return response


async def values(
    call: Call, items: AsyncIterator[Any], content_type: str, encode: Callable[[Any], bytes]
) -> web.StreamResponse:
    """Send ``items`` one by one, each as ``encode`` writes it."""

    async def encoded() -> AsyncIterator[bytes]:
        async with aclosing(cast("Any", items)):
            async for item in items:
                yield encode(item)

    return await stream(call, encoded(), content_type)
