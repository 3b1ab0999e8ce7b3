"""A socket of packets on the event loop: requests with replies, and everything else to one receiver."""

import asyncio
import itertools
import logging
import os
import socket
import struct
from collections.abc import Callable, Sequence

from sampan.linux.unix_socket import receive_packet, send_packet
from sampan.runtime.launch import MonitorGone
from sampan.runtime.protocol import LONGEST, Message, MessageKind

log = logging.getLogger("sampan.runtime")

Receiver = Callable[[Message, list[int]], None]


class Channel:
    """One connection to a monitor.

    ``received`` gets every message but replies, with descriptors it must close; ``closed`` is called once at the end.
    """

    def __init__(self, connection: socket.socket, received: Receiver, closed: Callable[[], None]) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._received, self._closed = received, closed
        self._serials = itertools.count(1)
        self._replies: dict[int, asyncio.Future[int]] = {}
        self._sending = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self._readable)

    async def request(self, message: Message, fds: Sequence[int] = ()) -> int:
        """Send and wait for the reply: 0 or an errno. Raises MonitorGone."""
        serial = next(self._serials)
        reply: asyncio.Future[int] = self._loop.create_future()
        self._replies[serial] = reply
        try:
            numbered = Message(message.kind, message.process, message.v, message.text, message.flags, serial)
            await self.send(numbered, fds)
            return await reply
        finally:
            del self._replies[serial]

    async def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send without waiting for an answer. Raises MonitorGone."""
        packet = message.encode()
        async with self._sending:
            while self._socket.fileno() >= 0:
                try:
                    return send_packet(self._socket, [packet], fds)
                except BlockingIOError:
                    await self._writable()
                except (BrokenPipeError, ConnectionResetError):
                    break
        raise MonitorGone("the container's monitor is gone")

    def close(self) -> None:
        """Close without telling the receiver; waiting requests raise MonitorGone."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(MonitorGone("the container's monitor is gone"))

    async def _writable(self) -> None:
        ready = asyncio.Event()
        self._loop.add_writer(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_writer(self._socket)

    def catch_up(self) -> None:
        """Hear all that was said until now, without waiting for the loop's turn."""
        while self._readable():
            continue

    def _readable(self) -> bool:
        """Hear one message; whether there was any."""
        if self._socket.fileno() < 0:
            return False
        try:
            packet, fds = receive_packet(self._socket, LONGEST)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True  # told once, before what the monitor said last: that is still to be read, then the end
        if not packet:
            self.close()
            self._closed()
            return False
        message = decoded(packet)
        if message is not None and message.kind is not MessageKind.REPLY:
            self._received(message, fds)
            return True
        for fd in fds:
            os.close(fd)
        if message is None:
            return True
        reply = self._replies.get(message.serial)
        if reply is not None and not reply.done():
            reply.set_result(message.v[0])
        return True


def decoded(packet: bytes) -> Message | None:
    """The message; None for one of a newer monitor that this daemon does not know."""
    try:
        return Message.decode(packet)
    except (ValueError, struct.error) as error:
        log.warning("a monitor sent an unknown message, which is ignored: %s", error)
        return None
