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
from typing import Any, cast

from aiohttp import web

from sampan.api import stdcopy
from sampan.api.hijack import Accept, Hijacked
from sampan.errors import EngineError
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


async def run(call: Call, operation: Operation) -> web.StreamResponse:
    """Run ``operation`` with the connection.

    Its error before accepting is an ordinary answer; after that it is written to the connection.
    """
    hijacked: list[Hijacked] = []

    async def accept(terminal: bool) -> Hijacked:
        framed = not terminal and call.since(1, 42)
        hijacked.append(await take_over(call, "tcp", stdcopy.content_type(not framed)))
        terminals.append(terminal)
        return hijacked[0]

    terminals: list[bool] = []
    try:
        await operation(accept)
    except EngineError as error:
        if not hijacked:
            raise
        await tell(hijacked[0], terminals[0], error)
    finally:
        close_untaken(hijacked)
    return taken()


async def tell(connection: Hijacked, terminal: bool, error: EngineError) -> None:
    """Write an operation's error to the connection that it had accepted, unless it gave that away."""
    if connection.taken:
        return
    text = f"{error.message}\r\n".encode()
    data = text if terminal else stdcopy.frame(stdcopy.Stream.STDERR, text)
    try:
        await asyncio.get_running_loop().sock_sendall(connection.sock, data)
    except ConnectionError:
        return


def close_untaken(connections: list[Hijacked]) -> None:
    """Close the connections that nobody took."""
    for connection in connections:
        if not connection.taken:
            connection.sock.close()


async def run_websocket(call: Call, operation: Operation) -> web.StreamResponse:
    """Run ``operation`` with one end of a socket pair; the other end is pumped to and from a websocket.

    The client gets stdout and stderr as they are, without frames.
    """
    websocket = web.WebSocketResponse()
    hijacked: list[Hijacked] = []
    pumps: list[Awaitable[None]] = []

    async def accept(terminal: bool) -> Hijacked:
        await websocket.prepare(call.request)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        pump = Pump(websocket, ours, framed=not terminal, binary=call.since(1, 28))
        pumps.append(call.request.app[BACKGROUND].spawn(pump.run()))
        hijacked.append(Hijacked(theirs))
        call.request.app[BACKGROUND].expect_no_end()
        return hijacked[0]

    try:
        await operation(accept)
    except EngineError as error:
        if not hijacked:
            raise
        await tell(hijacked[0], False, error)
    finally:
        close_untaken(hijacked)
    await asyncio.gather(*pumps)
    return websocket
