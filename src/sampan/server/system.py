"""The system operations: ping, version, information, events, disk usage, authentication."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

from aiohttp import web

from sampan.api import json, media_types
from sampan.api.events import EventMessage, EventsOptions
from sampan.api.images import AuthConfig
from sampan.errors import InvalidParameter
from sampan.server import answers
from sampan.server.answers import JSON, answer, done
from sampan.server.call import Call
from sampan.server.compat import events as compat_events
from sampan.server.compat import system as compat
from sampan.server.compat.change import for_client
from sampan.server.routes import changes, reads

PING_HEADERS = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Builder-Version": "2",
    "Swarm": "inactive",
    "Content-Type": "text/plain; charset=utf-8",
}

DISK_USAGE_TYPES = frozenset({"container", "image", "volume", "build-cache"})


async def system_ping(call: Call) -> web.StreamResponse:
    return web.Response(body=b"OK", headers=PING_HEADERS)


async def system_ping_head(call: Call) -> web.StreamResponse:
    return web.Response(headers={**PING_HEADERS, "Content-Length": "0"})


async def system_options(call: Call) -> web.StreamResponse:
    return done(200)


async def system_version(call: Call) -> web.StreamResponse:
    return answer(await call.engine.system.version())


async def system_info(call: Call) -> web.StreamResponse:
    return answer(for_client(compat.INFO, await call.engine.system.info(), call.version))


async def system_auth(call: Call) -> web.StreamResponse:
    auth = await call.body(AuthConfig, required=True)
    return answer(await call.engine.system.authenticate(auth))


async def system_data_usage(call: Call) -> web.StreamResponse:
    asked = frozenset(call.texts("type")) if call.since(1, 42) else frozenset[str]()
    for unknown in asked - DISK_USAGE_TYPES:
        raise InvalidParameter(f"unknown object type: {unknown}")
    usage = await call.engine.system.disk_usage(asked or DISK_USAGE_TYPES)
    return answer(compat.disk_usage(usage, call.version, verbose=call.flag("verbose")))


async def system_events(call: Call) -> web.StreamResponse:
    options = EventsOptions(since=call.moment("since"), until=call.moment("until"), filters=call.container_filters())
    if options.since is not None and options.until is not None and options.until < options.since:
        raise InvalidParameter(
            f"`since` time ({call.text('since')}) cannot be after `until` time ({call.text('until')})"
        )
    default = media_types.JSON_LINES if call.since(1, 52) else JSON
    content_type = media_types.strict(call.request.headers.get("Accept", "")) or default
    messages = await call.engine.events.subscribe(options)
    return await answers.values(call, _known(call, messages), content_type, _event_encoder(call, content_type))


async def _known(call: Call, messages: AsyncIterator[EventMessage]) -> AsyncIterator[EventMessage]:
    """The events that existed in the client's version."""
    async with aclosing(cast("Any", messages)):
        async for message in messages:
            if call.since(1, 46) or (message.type, message.action) != ("image", "create"):
                yield message


def _event_encoder(call: Call, content_type: str) -> Callable[[EventMessage], bytes]:
    separator = media_types.separator(content_type)

    def encode(message: EventMessage) -> bytes:
        return separator + json.encode(for_client(compat_events.MESSAGE, message, call.version))

    return encode


ROUTES = (
    reads("GET", "/_ping", system_ping),
    reads("HEAD", "/_ping", system_ping_head),
    reads("OPTIONS", "/{path}", system_options),
    reads("GET", "/version", system_version),
    reads("GET", "/info", system_info),
    reads("GET", "/events", system_events),
    reads("GET", "/system/df", system_data_usage),
    changes("POST", "/auth", system_auth),
)
