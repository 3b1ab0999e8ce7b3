"""Operations that take the connection over: attach, exec start, BuildKit's upgrades.

    HTTP/1.1 101 UPGRADED                                        when the request asked for an upgrade
    Content-Type: application/vnd.docker.multiplexed-stream      raw-stream for a terminal and before API 1.42
    Connection: Upgrade
    Upgrade: tcp

    HTTP/1.1 200 OK                                              otherwise
    Content-Type: application/vnd.docker.raw-stream

The operation runs in the background: as far as HTTP goes the connection ends when it is taken over.
"""

import asyncio
import fcntl
import socket
import termios
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

from aiohttp import web

from sampan.api import stdcopy
from sampan.api.hijack import Accept, Hijacked
from sampan.errors import EngineError, InvalidParameter
from sampan.server.background import Background
from sampan.server.call import Call
from sampan.server.connection import Connection
from sampan.server.websocket import Pump

BACKGROUND: web.AppKey[Background] = web.AppKey("background", Background)

LOSES_OUTPUT = "docker-sdk-python/"
"""The user agent that needs ``head_read``."""

Operation = Callable[[Accept], Coroutine[Any, Any, None]]


def taken() -> web.Response:
    """What a handler returns for a connection that is no longer its own; it goes nowhere."""
    return web.Response()


def refused(status: int, message: str) -> web.Response:
    """The error of an attach: text and the connection's end, for dockerd has taken the connection over by then."""
    response = web.Response(status=status, body=f"{message}\r\n".encode(), headers={"Content-Type": stdcopy.RAW})
    response.force_close()
    return response


async def take_over(call: Call, protocol: str, content_type: str) -> Hijacked:
    """Switch the connection to ``protocol`` and take it; raises ConnectionError when the client is gone."""
    upgrading = "Upgrade" in call.request.headers
    lines = ["HTTP/1.1 101 UPGRADED" if upgrading else "HTTP/1.1 200 OK"]
    if content_type:
        lines.append(f"Content-Type: {content_type if upgrading else stdcopy.RAW}")
    if upgrading:
        lines += ["Connection: Upgrade", f"Upgrade: {protocol}"]
    head = "\r\n".join([*lines, "", ""]).encode()
    connection = await cast(Connection, call.request.protocol).take(head)
    call.request.app[BACKGROUND].expect_no_end()
    if call.request.headers.get("User-Agent", "").startswith(LOSES_OUTPUT):
        await head_read(connection.sock)
    return connection


async def head_read(connected: socket.socket) -> None:
    """Wait until the client has read the head of the answer, a tenth of a second at the most.

    docker-py reads the head through a buffer and the output past it: what arrives together with the head is lost.
    Other engines are slow enough not to meet that. The kernel tells what is unread on unix sockets (SIOCOUTQ).
    """
    if connected.family != socket.AF_UNIX:
        return
    unread = bytearray(4)
    for _ in range(100):
        fcntl.ioctl(connected, termios.TIOCOUTQ, unread)
        if not any(unread):
            return
        await asyncio.sleep(0.001)


class Accepted:
    """The connection that an operation accepted, if it has."""

    def __init__(self) -> None:
        self.connection: Hijacked | None = None
        self.framed = False

    def keep(self, connection: Hijacked, *, framed: bool) -> Hijacked:
        """Remember ``connection``; ``framed`` says how text is written to it."""
        self.connection, self.framed = connection, framed
        return connection

    async def conclude(self, operation: Coroutine[Any, Any, None]) -> None:
        """Await ``operation``.

        Its error before accepting is an ordinary answer's; after that it is written to the connection, which is closed
        if the operation did not take it.
        """
        try:
            await operation
        except EngineError as error:
            if self.connection is None:
                raise
            if not self.connection.taken:
                await self._tell(self.connection.sock, error)
        finally:
            if self.connection is not None and not self.connection.taken:
                self.connection.sock.close()

    async def _tell(self, connected: socket.socket, error: EngineError) -> None:
        text = f"{error.message}\r\n".encode()
        data = stdcopy.frame(stdcopy.Stream.STDOUT, text) if self.framed else text
        with suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(connected, data)


async def run(call: Call, operation: Operation) -> web.StreamResponse:
    """Run ``operation`` with the connection."""
    accepted = Accepted()

    async def accept(terminal: bool) -> Hijacked:
        content_type = stdcopy.content_type(terminal or not call.since(1, 42))
        return accepted.keep(await take_over(call, "tcp", content_type), framed=not terminal)

    await accepted.conclude(operation(accept))
    return taken()


async def run_websocket(call: Call, operation: Operation) -> web.StreamResponse:
    """Run ``operation`` with one end of a socket pair; the other end is pumped to and from a websocket.

    The client gets stdout and stderr as they are, without frames.
    """
    websocket, accepted, pumps = web.WebSocketResponse(), Accepted(), list[Awaitable[None]]()

    async def accept(terminal: bool) -> Hijacked:
        try:
            await websocket.prepare(call.request)
        except web.HTTPException as error:
            raise InvalidParameter(f"bad handshake: {(error.text or error.reason).lower()}") from error
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        background = call.request.app[BACKGROUND]
        background.expect_no_end()
        pump = Pump(websocket, ours, framed=not terminal, binary=call.since(1, 28))
        pumps.append(background.spawn(pump.run()))
        return accepted.keep(Hijacked(theirs), framed=not terminal)

    await accepted.conclude(operation(accept))
    await asyncio.gather(*pumps)
    return websocket
