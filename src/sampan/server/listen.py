"""The running server: the application on its sockets, over TLS or plainly."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from sampan.api import versions
from sampan.api.hijack import Hijacked
from sampan.config import Config
from sampan.errors import EngineError
from sampan.server.access import Access
from sampan.server.app import ENGINE, GATEWAY, OPERATIONS, make_app
from sampan.server.authorization import Authorization
from sampan.server.connection import Connection
from sampan.server.contract import Engine
from sampan.server.hijack import BACKGROUND
from sampan.server.peer import Peer
from sampan.server.sockets import Address, open_sockets, parse_address
from sampan.server.tls import Bridge

if TYPE_CHECKING:
    from sampan.server.metrics import Metrics

log = logging.getLogger(__name__)

BACKLOG = 4096
ACCEPTED = 1
"""Connections accepted in one turn of the loop. asyncio takes this from the backlog, and without descriptors it
fails, logs and schedules another try that often, each of which does the same; the kernel's backlog is set apart."""
SHUTDOWN = 0.5
"""Seconds that answers may still take when the server stops; what changes something goes on behind them."""


@asynccontextmanager
async def serve(
    engine: Engine, settings: Config, authorization: Authorization, metrics: "Metrics | None" = None
) -> AsyncIterator["Server"]:
    """Serve ``engine`` where ``settings`` say, until the block ends; ``metrics`` hear of it. Raises EngineError."""
    context = None
    if settings.tls or settings.tlsverify:
        authority = settings.tlscacert if settings.tlsverify else ""
        context = tls_context(settings.tlscert, settings.tlskey, authority)
    addresses = [parse_address(host, tls=context is not None) for host in settings.listen_hosts]
    await authorization.check_plugins()
    access = Access(settings.access, OPERATIONS)
    oldest = versions.parse(settings.min_api_version)
    app = make_app(
        engine,
        oldest,
        access=access,
        authorization=authorization,
        metrics=metrics,
        experimental=settings.experimental,
    )
    server = Server(app)
    try:
        await server.start(addresses, group=settings.group, tls=context)
        yield server
    finally:
        await server.close()


def tls_context(certificate: str, key: str, authority: str = "") -> ssl.SSLContext:
    """The server's TLS; with an ``authority`` clients must show a certificate of it. Raises EngineError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if authority:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise EngineError(f"could not load TLS certificate {certificate}: {error}") from error
    return context


class Server:
    """The application on its sockets."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN)
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []

    async def start(self, addresses: Sequence[Address], *, group: str = "", tls: ssl.SSLContext | None = None) -> None:
        """Listen on all ``addresses``; TLS is for TCP alone. Raises EngineError."""
        await self._runner.setup()
        for address in addresses:
            for listening in open_sockets(address, group):
                await self._serve(listening, tls if listening.family != socket.AF_UNIX else None)
            if address.scheme == "unix":
                self._paths.append(Path(address.path))
            log.info("API listen on %s", address)

    @property
    def ports(self) -> list[int]:
        """The TCP ports that are listened on."""
        return [
            listening.getsockname()[1]
            for server in self._servers
            for listening in server.sockets
            if listening.family != socket.AF_UNIX
        ]

    async def _serve(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()

        def accept() -> asyncio.Protocol:
            return self._connection() if tls is None else Bridge(tls, self._connection)

        if listening.family == socket.AF_UNIX:
            server = await loop.create_unix_server(accept, sock=listening, backlog=ACCEPTED)
        else:
            server = await loop.create_server(accept, sock=listening, backlog=ACCEPTED)
        listening.listen(BACKLOG)
        self._servers.append(server)

    def _connection(self, peer: Peer | None = None) -> Connection:
        """A connection of ``peer``; without one it is asked of the kernel."""
        if self._runner.server is None:
            raise EngineError("the server is not running")
        return Connection(self._runner.server, self._http2, asyncio.get_running_loop(), peer)

    def _http2(self, connection: Hijacked, peer: Peer) -> None:
        if not self._app[GATEWAY].admits_http2(peer):
            log.info("HTTP/2 of %s refused", peer)
            connection.sock.close()
            return
        self._app[BACKGROUND].spawn(self._app[ENGINE].builder.serve_grpc(connection))

    async def close(self) -> None:
        """Stop listening, let running requests end, remove the sockets' files."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()
        for path in self._paths:
            path.unlink(missing_ok=True)
