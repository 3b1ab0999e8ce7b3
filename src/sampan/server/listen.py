"""Where the API is served: ``-H`` addresses, their sockets, and the running server.

unix:///run/sampan/sampan.sock      mode 0660, the group of the configuration
tcp://127.0.0.1:2375                plain; 2376 with TLS
fd://                               sockets that systemd passed (LISTEN_FDS), all or by name
"""

import asyncio
import errno
import grp
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from sampan.api.hijack import Hijacked
from sampan.errors import EngineError, InvalidParameter
from sampan.server.app import ENGINE
from sampan.server.connection import Connection
from sampan.server.hijack import BACKGROUND
from sampan.server.tls import Bridge

log = logging.getLogger(__name__)

BACKLOG = 4096
PLAIN_PORT, TLS_PORT = 2375, 2376
FIRST_PASSED = 3


class Address(NamedTuple):
    """One ``-H``: scheme unix (``path``), tcp (``host``, ``port``) or fd (``path``: the name, empty for all)."""

    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"tcp://{self.host}:{self.port}" if self.scheme == "tcp" else f"{self.scheme}://{self.path}"


def parse_address(text: str, *, tls: bool = False) -> Address:
    """An address as ``-H`` takes it; raises InvalidParameter."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("unix", text) if text.startswith("/") else ("tcp", text)
    if scheme == "unix":
        if not rest.startswith("/"):
            raise InvalidParameter(f"invalid address {text}: expected unix:///path")
        return Address("unix", path=rest)
    if scheme == "fd":
        return Address("fd", path="" if rest == "*" else rest)
    if scheme != "tcp":
        raise InvalidParameter(f"invalid address {text}: expected unix://, tcp:// or fd://")
    host, _, port = rest.rstrip("/").rpartition(":") if ":" in rest.rpartition("]")[2] else (rest.rstrip("/"), "", "")
    number = port or str(TLS_PORT if tls else PLAIN_PORT)
    if not (number.isascii() and number.isdecimal() and int(number) < 1 << 16):
        raise InvalidParameter(f"invalid address {text}: the port must be a number up to 65535")
    return Address("tcp", host=host.strip("[]") or "127.0.0.1", port=int(number))


def open_sockets(address: Address, group: str = "") -> list[socket.socket]:
    """Listening sockets for ``address``; raises EngineError."""
    try:
        if address.scheme == "unix":
            return [_unix(Path(address.path), group)]
        return _passed(address.path) if address.scheme == "fd" else _tcp(address)
    except OSError as error:
        raise EngineError(f"failed to listen on {address}: {error.strerror or error}") from error


def _unix(path: Path, group: str) -> socket.socket:
    """A socket at ``path``; one that nobody listens on any more is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        if _answers(path):
            raise OSError(errno.EADDRINUSE, "another process listens there")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    old_mask = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(old_mask)
    _give_to_group(path, group)
    path.chmod(0o660)
    return listening


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _give_to_group(path: Path, group: str) -> None:
    """Docker's rule: a group that does not exist leaves the socket to root, unless it was asked for by number."""
    if not group:
        return
    try:
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        log.debug("group %s does not exist: %s belongs to root alone", group, path)
        return
    os.chown(path, -1, gid)


def _tcp(address: Address) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address.host, address.port))
    return [listening]


def _passed(name: str) -> list[socket.socket]:
    """Sockets that systemd passed to this process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise EngineError("no sockets found via socket activation: make sure the service was started by systemd")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    chosen = [at for at in range(count) if not name or (at < len(names) and names[at] == name)]
    if not chosen:
        raise EngineError(f"no sockets found via socket activation named {name!r}")
    return [socket.socket(fileno=FIRST_PASSED + at) for at in chosen]


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
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
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
            server = await loop.create_unix_server(accept, sock=listening, backlog=BACKLOG)
        else:
            server = await loop.create_server(accept, sock=listening, backlog=BACKLOG)
        self._servers.append(server)

    def _connection(self) -> Connection:
        if self._runner.server is None:
            raise EngineError("the server is not running")
        return Connection(self._runner.server, self._http2, asyncio.get_running_loop())

    def _http2(self, connection: Hijacked) -> None:
        self._app[BACKGROUND].spawn(self._app[ENGINE].builder.serve_grpc(connection))

    async def close(self) -> None:
        """Stop listening, let running requests end, remove the sockets' files."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()
        for path in self._paths:
            path.unlink(missing_ok=True)
