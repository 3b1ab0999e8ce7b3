"""The proxy behind a held port: what address translation does not catch is carried by the daemon.

TCP: each accepted connection is joined to one to the container, half-closes included.
UDP: each client gets a socket of its own towards the container, dropped after a minute without traffic.
"""

import asyncio
import socket
from contextlib import suppress

from sampan.linux import socket_filter
from sampan.linux.rtnetlink import Address

CHUNK = 1 << 16
IDLE = 60.0
CONNECT = 10.0
MAXIMUM_CLIENTS = 4096

Client = tuple[str, int]


class TcpProxy:
    """Serves one listening socket, which stays its owner's to close."""

    def __init__(self, listener: socket.socket, address: Address, port: int) -> None:
        self._listener = listener
        self._target = (str(address), port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self._listener)
        for task in self._tasks:
            task.cancel()

    def _accept(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            task = self._loop.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        client.setblocking(False)
        family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
        with client, socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as server, suppress(OSError):
            await asyncio.wait_for(self._loop.sock_connect(server, self._target), CONNECT)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(client, server))
                group.create_task(self._copy(server, client))

    async def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := await self._loop.sock_recv(source, CHUNK):
                await self._loop.sock_sendall(sink, data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


class UdpProxy:
    """Serves one bound datagram socket, which stays its owner's to close."""

    def __init__(self, bound: socket.socket, address: Address, port: int) -> None:
        self._bound = bound
        self._target = (str(address), port)
        self._family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self._clients: dict[Client, socket.socket] = {}
        self._idle: dict[Client, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(bound, self._forward)

    def close(self) -> None:
        self._loop.remove_reader(self._bound)
        for client in list(self._clients):
            self._drop(client)

    def _forward(self) -> None:
        with suppress(OSError):
            data, client = self._bound.recvfrom(CHUNK)
            if client not in self._clients and len(self._clients) < MAXIMUM_CLIENTS:
                self._open(client)
            if client in self._clients:
                self._touch(client)
                self._clients[client].send(data)

    def _open(self, client: Client) -> None:
        server = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        server.connect(self._target)
        self._clients[client] = server
        self._loop.add_reader(server, self._answer, client, server)

    def _answer(self, client: Client, server: socket.socket) -> None:
        with suppress(OSError):
            self._bound.sendto(server.recv(CHUNK), client)
            self._touch(client)

    def _touch(self, client: Client) -> None:
        if handle := self._idle.pop(client, None):
            handle.cancel()
        self._idle[client] = self._loop.call_later(IDLE, self._drop, client)

    def _drop(self, client: Client) -> None:
        if handle := self._idle.pop(client, None):
            handle.cancel()
        if server := self._clients.pop(client, None):
            self._loop.remove_reader(server)
            server.close()


Proxy = TcpProxy | UdpProxy


def serve(held: socket.socket, protocol: str, address: Address, port: int) -> Proxy:
    """The proxy for a held socket of ``protocol``, which was shut until now."""
    socket_filter.open_up(held)
    return (TcpProxy if protocol == "tcp" else UdpProxy)(held, address, port)
