"""From a request to its handler and back: the table of routes, access, errors, the access log.

A request is matched against ``ROUTES`` in order, must be allowed the route's action on the repository its path names,
and is answered by the handler. What a handler raises becomes a refusal here and nowhere else.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from sampan.archive.errors import FULL
from sampan.errors import EngineError, InvalidParameter, NotFound, Unavailable
from sampan.registry.protocol import NAME, NAME_LIMIT, Code, Scope
from sampan.registry.server import answers, blobs, listings, manifests, token_service
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.registry import Registry

_log = logging.getLogger(__name__)
_access_log = logging.getLogger("sampan.registry.access")

Handler = Callable[..., Awaitable[web.StreamResponse]]

_ACTIONS = {"GET": "pull", "HEAD": "pull", "POST": "push", "PUT": "push", "PATCH": "push", "DELETE": "delete"}
_CATALOG = Scope("registry", "catalog", frozenset({"*"}))


@dataclass(frozen=True)
class Route:
    """One kind of path. ``handlers`` by method; ``actions`` overrides what a method needs to be allowed."""

    operation: str
    path: re.Pattern[str]
    handlers: dict[str, Handler]
    actions: dict[str, str]


def _route(operation: str, path: str, actions: dict[str, str] | None = None, **handlers: Handler) -> Route:
    if "GET" in handlers:
        handlers.setdefault("HEAD", handlers["GET"])
    return Route(operation, re.compile(path), handlers, _ACTIONS | (actions or {}))


_UPLOAD = {"GET": "push", "HEAD": "push", "DELETE": "push"}
ROUTES = (
    _route("manifest", r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)",
           GET=manifests.manifest_get, PUT=manifests.manifest_put, DELETE=manifests.manifest_delete),
    _route("upload_begin", r"/v2/(?P<name>.+)/blobs/uploads/?", POST=blobs.upload_begin),
    _route("upload", r"/v2/(?P<name>.+)/blobs/uploads/(?P<upload>[^/]+)", _UPLOAD,
           GET=blobs.upload_status, PATCH=blobs.upload_chunk, PUT=blobs.upload_finish, DELETE=blobs.upload_cancel),
    _route("blob", r"/v2/(?P<name>.+)/blobs/(?P<digest>[^/]+)", GET=blobs.blob_get, DELETE=blobs.blob_delete),
    _route("tags", r"/v2/(?P<name>.+)/tags/list", GET=listings.tags_list),
    _route("referrers", r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)", GET=manifests.referrers),
)  # fmt: skip
"""Paths that name a repository."""

OTHERS: dict[str, tuple[str, dict[str, Handler]]] = {
    "/v2/": ("ping", {"GET": listings.ping, "HEAD": listings.ping}),
    "/v2": ("ping", {"GET": listings.ping, "HEAD": listings.ping}),
    "/v2/_catalog": ("catalog", {"GET": listings.catalog}),
    "/v1/search": ("search", {"GET": listings.search}),
    "/v1/_ping": ("ping_v1", {"GET": listings.ping_v1, "HEAD": listings.ping_v1}),
    "/token": ("token", {"GET": token_service.token_get, "POST": token_service.token_post}),
    "/healthz": ("health", {"GET": listings.health, "HEAD": listings.health}),
}
"""Paths that do not."""


class Dispatcher:
    """The handler ``aiohttp.web.Server`` calls for every request."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._metrics = registry.metrics

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer the request, count it, log it."""
        started = time.perf_counter()
        operation, answer = self._find(request)
        with self._metrics.in_flight.track_inprogress():
            response = await self._guard(request, answer)
        took = time.perf_counter() - started
        self._metrics.answered(operation, request, response, took)
        if self._registry.config.log.access:
            _access_log.info(
                '%s "%s %s" %d %s %.1fms "%s"',
                *(request.remote or "-", request.method, request.raw_path, response.status),
                *(response.content_length or 0, took * 1000, request.headers.get("User-Agent", "-")),
            )
        return response

    def _find(self, request: web.BaseRequest) -> tuple[str, Callable[[], Awaitable[web.StreamResponse]]]:
        """The operation's name for the metrics, and what answers."""
        path = request.path
        for route in ROUTES:
            if match := route.path.fullmatch(path):
                return route.operation, partial(self._repository, route, request, **match.groupdict())
        if path == "/metrics" and self._registry.config.metrics:
            return "metrics", lambda: _page(self._registry)
        operation, handlers = OTHERS.get(path, ("unknown", {}))
        return operation, lambda: self._other(operation, handlers, request)

    async def _guard(
        self, request: web.BaseRequest, answer: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            if request.headers.get("Expect", "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0
            return await answer()
        except Refusal as refusal:
            response = refusal.response()
        except TimeoutError:
            response = Refusal(Code.BLOB_UPLOAD_INVALID, message="the body stopped coming", status=408).response()
            response.force_close()
        except (EngineError, OSError, SQLAlchemyError) as error:
            if isinstance(error, ConnectionError) or request.writer.output_size:
                # The client is gone, or has the beginning of another answer: breaking off is all there is to say.
                raise ConnectionResetError(str(error)) from error
            response = refusal_of(error).response()
        response.headers.update(answers.BASE_HEADERS)
        return response

    async def _repository(self, route: Route, request: web.BaseRequest, name: str, **parts: str) -> web.StreamResponse:
        """Check the name and the client's right, then handle."""
        if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
            raise Refusal(Code.NAME_INVALID, {"name": name})
        handler = route.handlers.get(request.method)
        if handler is None:
            raise Refusal(Code.UNSUPPORTED, headers={"Allow": ", ".join(route.handlers)})
        await self._registry.access.require(request, name, route.actions[request.method])
        return await handler(self._registry, request, name, **parts)

    async def _other(
        self, operation: str, handlers: dict[str, Handler], request: web.BaseRequest
    ) -> web.StreamResponse:
        if not handlers:
            raise Refusal(Code.UNSUPPORTED, status=404, message="there is nothing at this path")
        handler = handlers.get(request.method)
        if handler is None:
            raise Refusal(Code.UNSUPPORTED, headers={"Allow": ", ".join(handlers)})
        if operation == "ping":
            await self._registry.access.require_user(request)
        if operation == "catalog":
            await self._registry.access.require_user(request, _CATALOG)
        return await handler(self._registry, request)


async def _page(registry: Registry) -> web.StreamResponse:
    return registry.metrics.page()


_CODES: dict[type[Exception], Code] = {
    NotFound: Code.BLOB_UNKNOWN,
    InvalidParameter: Code.MANIFEST_INVALID,
    Unavailable: Code.UNAVAILABLE,
}


def refusal_of(error: Exception) -> Refusal:
    """A refusal for what is not one yet; what nobody foresaw is logged, and told without its inside."""
    if isinstance(error, OSError) and error.errno in FULL:
        _log.error("a request failed: %s", error)
        return Refusal(Code.UNAVAILABLE, message="no space left on the registry's disk", status=507)
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return Refusal(code, message=str(error))
    _log.error("a request failed", exc_info=error)
    return Refusal(Code.UNKNOWN)
