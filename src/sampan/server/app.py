"""The application: ``Gateway.handle`` finds each request's operation and turns errors into answers."""

import logging
import re
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from aiohttp import web

from sampan import __version__
from sampan.api import versions
from sampan.api.versions import NEWEST, OLDEST, Version
from sampan.errors import EngineError, Forbidden, InvalidParameter, status_of
from sampan.server import (
    build,
    containers,
    distribution,
    exec,
    images,
    networks,
    plugins,
    session,
    swarm,
    system,
    volumes,
)
from sampan.server.access import Access
from sampan.server.answers import failure, plain_failure, told
from sampan.server.authorization import Authorization
from sampan.server.background import Background
from sampan.server.call import Call
from sampan.server.confine import confine
from sampan.server.connection import Connection
from sampan.server.contract import Engine
from sampan.server.hijack import BACKGROUND
from sampan.server.peer import Peer
from sampan.server.routes import Route, Router, cleaned

if TYPE_CHECKING:
    from sampan.server.metrics import Metrics

log = logging.getLogger(__name__)

ROUTES: tuple[Route, ...] = (
    *containers.ROUTES,
    *exec.ROUTES,
    *images.ROUTES,
    *networks.ROUTES,
    *volumes.ROUTES,
    *system.ROUTES,
    *build.ROUTES,
    *distribution.ROUTES,
    *session.ROUTES,
    *plugins.ROUTES,
    *swarm.ROUTES,
)

OPERATIONS = frozenset(route.operation for route in ROUTES)

ENGINE: web.AppKey[Engine] = web.AppKey("engine", Engine)

VERSIONED = re.compile(r"/v([0-9.]+)(/.*)")
SHUTDOWN_GRACE = 10.0
"""Seconds that running requests get when the server stops."""


class Gateway:
    """Between HTTP and the handlers: version, route, permission, errors, the headers that every answer has."""

    def __init__(
        self,
        engine: Engine,
        oldest: Version,
        access: Access,
        authorization: Authorization,
        metrics: "Metrics | None",
        *,
        experimental: bool,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._oldest = oldest
        self._access = access
        self._authorization = authorization
        self._router = Router(ROUTES)
        self._headers = {
            "Api-Version": str(NEWEST),
            "Docker-Experimental": "true" if experimental else "false",
            "Ostype": "linux",
            "Server": f"Docker/{__version__} (linux)",
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer ``request``."""
        log.debug("%s %s", request.method, request.path_qs)
        try:
            return await self._dispatch(request)
        except EngineError as error:
            return self._failure(request, error)
        except ConnectionError:
            raise  # the client went away
        except web.HTTPException as error:
            return failure(error.status, error.reason.lower())
        except Exception as error:
            log.exception("%s %s", request.method, request.path)
            return failure(500, told(error))
        finally:
            if isinstance(request.protocol, Connection):
                request.protocol.decline()

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if (path := cleaned(request.path)) != request.path:
            return web.Response(status=301, headers={"Location": str(request.rel_url.with_path(path, keep_query=True))})
        versioned = VERSIONED.fullmatch(request.path)
        found = self._router.find(request.method, versioned[2] if versioned else request.path)
        if found is None:
            return failure(404, "page not found")
        route, names = found
        call = Call(self._engine, request, self._version(versioned[1]) if versioned else NEWEST, names)
        route.check(call.version)
        peer = cast(Connection, request.protocol).peer
        await confine(self._access, peer, call, route.operation, route.path)
        if self._authorization:
            return await self._authorization.around(call, peer, route.operation, lambda: self._perform(route, call))
        return await self._perform(route, call)

    async def _perform(self, route: Route, call: Call) -> web.StreamResponse:
        began = time.monotonic()
        work: Awaitable[web.StreamResponse] = route.handler(call)
        if route.finishes:
            work = call.request.app[BACKGROUND].finish(work)  # type: ignore[arg-type]
        response = await work
        if self._metrics is not None:
            self._metrics.observe(route.operation, time.monotonic() - began)
        return response

    def admits_http2(self, peer: Peer) -> bool:
        """Whether a connection may be BuildKit's without a request that asks for it: no plugin could see into it."""
        try:
            self._access.grant(peer, "grpc")
        except Forbidden:
            return False
        return not self._authorization

    def _version(self, text: str) -> Version:
        """The version that a path begins with; raises InvalidParameter unless it is served."""
        version = versions.parse(text)
        versions.check(version, self._oldest)
        return version

    def _failure(self, request: web.Request, error: EngineError) -> web.StreamResponse:
        status = status_of(error)
        if status == 500:
            log.error("%s %s: %s", request.method, request.path, error)
            log.debug("raised here", exc_info=error)
        if _before_json(request.path):
            return plain_failure(status, error.message)
        return failure(status, error.message)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put the common headers on an answer that is about to be sent."""
        response.headers.update(self._headers)


def _before_json(path: str) -> bool:
    """Whether the path names a version of the API whose clients do not read errors as JSON."""
    versioned = VERSIONED.fullmatch(path)
    try:
        return versioned is not None and versions.parse(versioned[1]) < OLDEST
    except InvalidParameter:
        return False


GATEWAY: web.AppKey[Gateway] = web.AppKey("gateway", Gateway)


def make_app(
    engine: Engine,
    oldest: Version = OLDEST,
    *,
    access: Access | None = None,
    authorization: Authorization | None = None,
    metrics: "Metrics | None" = None,
    experimental: bool = False,
) -> web.Application:
    """The application that serves ``engine`` to clients of API ``oldest`` and later, to whom rules and plugins let.

    ``experimental`` lets docker's CLI offer what it calls so (``build --squash``); the engine does the same anyway.
    """
    if not OLDEST <= oldest <= NEWEST:
        raise InvalidParameter(f"invalid minimum API version {oldest}: expected {OLDEST} to {NEWEST}")
    access, authorization = access or Access(), authorization or Authorization()
    gateway = Gateway(engine, oldest, access, authorization, metrics, experimental=experimental)
    app = web.Application()
    app[ENGINE], app[GATEWAY] = engine, gateway
    app[BACKGROUND] = Background()
    app.router.add_route("*", "/{path:.*}", gateway.handle)
    app.on_response_prepare.append(gateway.add_headers)
    app.on_cleanup.append(_close_background)
    return app


async def _close_background(app: web.Application) -> None:
    await app[BACKGROUND].close(SHUTDOWN_GRACE)
