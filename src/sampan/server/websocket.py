"""Attach over a websocket: bytes between the websocket and one end of a socket pair.

websocket message ──▶ socket           the container's stdin; the client's close is its end
websocket message ◀── socket           stdout and stderr, the multiplexed stream's frames taken off
"""

import asyncio
import socket
from contextlib import suppress

from aiohttp import WSMsgType, web

from sampan.api.stdcopy import Demultiplexer

PIECE = 64 << 10


class Pump:
    """Copies both ways until the container's side ends; owns ``connected``."""

    def __init__(
        self, websocket: web.WebSocketResponse, connected: socket.socket, *, framed: bool, binary: bool
    ) -> None:
        self._websocket = websocket
        self._socket = connected
        self._frames = Demultiplexer() if framed else None
        self._binary = binary

    async def run(self) -> None:
        """Copy until the container's output ends, then close both."""
        loop = asyncio.get_running_loop()
        input_task = loop.create_task(self._copy_input())
        try:
            with suppress(ConnectionError):
                await self._copy_output()
            with suppress(ConnectionError):
                await self._websocket.close()
        finally:
            input_task.cancel()
            await asyncio.wait([input_task])
            self._socket.close()

    async def _copy_input(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            async for message in self._websocket:
                if message.type is WSMsgType.BINARY:
                    await loop.sock_sendall(self._socket, message.data)
                elif message.type is WSMsgType.TEXT:
                    await loop.sock_sendall(self._socket, message.data.encode())
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def _copy_output(self) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._socket, PIECE):
            if self._frames is not None:
                data = b"".join(payload for _, payload in self._frames.feed(data))
            if data:
                await self._send(data)

    async def _send(self, data: bytes) -> None:
        if self._binary:
            await self._websocket.send_bytes(data)
        else:
            await self._websocket.send_str(data.decode(errors="replace"))
