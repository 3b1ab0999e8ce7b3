"""gRPC on a connection that exists already: as its server (``/grpc``) or as its client (``/session``)."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from grpclib.client import Channel
from grpclib.encoding.proto import ProtoCodec
from grpclib.protocol import H2Protocol
from grpclib.server import Server

from sampan.api.hijack import Hijacked
from sampan.build.buildkit.failures import Details
from sampan.build.buildkit.frames import Joiner

logging.getLogger("hpack").setLevel(logging.INFO)  # it tells every byte of every header


async def serve(connection: Hijacked, services: Sequence[Any]) -> None:
    """Answer calls to ``services`` until the connection ends; takes the socket."""
    server = Server(services, codec=ProtoCodec(), status_details_codec=Details())
    protocol: H2Protocol = server._protocol_factory()  # grpclib has no public way to adopt a socket
    await _adopt(protocol, connection)
    await _closed(protocol)


async def send_together(stream: Any, messages: Sequence[Any]) -> None:
    """Send messages of a call at once; by grpclib's own way each is a frame and a system call."""
    encoded = (message.SerializeToString() for message in messages)
    framed = b"".join(bytes(1) + len(data).to_bytes(4, "big") + data for data in encoded)
    await stream._stream.send_data(framed)  # grpclib has no public way to send more than one


class SessionChannel(Channel):
    """A gRPC client on one connection, which is never made again."""

    def __init__(self, connection: Hijacked) -> None:
        super().__init__("session", 0, codec=ProtoCodec(), status_details_codec=Details())
        self._connection = connection

    async def adopt(self) -> None:
        """Begin to speak HTTP/2 on the connection; takes the socket."""
        self._protocol = self._protocol_factory()
        joiner = Joiner(self._protocol.data_received)
        self._protocol.data_received = joiner.data_received  # type: ignore[method-assign]
        await _adopt(self._protocol, self._connection)

    async def closed(self) -> None:
        """Wait until the other side has gone."""
        assert self._protocol is not None
        await _closed(self._protocol)

    async def _create_connection(self) -> H2Protocol:
        raise ConnectionError("the session's connection has ended")


async def _adopt(protocol: H2Protocol, connection: Hijacked) -> None:
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: protocol, connection.take())
    if connection.early:
        protocol.data_received(connection.early)


async def _closed(protocol: H2Protocol) -> None:
    """Until the protocol's transport is closed, by either side."""
    ended = asyncio.get_running_loop().create_future()
    lost = protocol.connection_lost

    def connection_lost(error: BaseException | None) -> None:
        lost(error)
        if not ended.done():
            ended.set_result(None)

    protocol.connection_lost = connection_lost  # type: ignore[method-assign,assignment]
    if protocol.connection.is_closing():
        return
    try:
        await ended
    finally:
        protocol.connection.close()
