"""TLS in front of the server: each connection is decrypted into a socket pair.

    client ══ TLS ══ Bridge ── socket pair ── Connection (plain HTTP)

So the server sees plain sockets only, and an operation that takes a connection over gets one it can give away. And a
client may end its sending (close_notify) and go on reading, which asyncio's own TLS transport does not allow.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from sampan.server.peer import Peer, of_tls

log = logging.getLogger(__name__)

HIGH_WATER = 256 << 10
PLAIN = (b"GET /", b"HEAD ", b"POST ", b"PUT /", b"DELET", b"OPTIO")
NOT_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
"""What Go's server tells who speaks without TLS."""


class Inner(asyncio.Protocol):
    """The bridge's end of the socket pair."""

    def __init__(self, bridge: "Bridge") -> None:
        self._bridge = bridge

    def data_received(self, data: bytes) -> None:
        """The server answered."""
        self._bridge.encrypt(data)

    def eof_received(self) -> bool:
        """The server said all it had to; the other direction stays open."""
        self._bridge.end_output()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The server closed."""
        self._bridge.inner_closed()

    def pause_writing(self) -> None:
        """The server is slow to read."""
        self._bridge.hold_client(True)

    def resume_writing(self) -> None:
        """The server has caught up."""
        self._bridge.hold_client(False)


class Bridge(asyncio.Protocol):
    """One TLS connection; speaks TLS through memory buffers."""

    def __init__(self, context: ssl.SSLContext, make_connection: Callable[[Peer], asyncio.Protocol]) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._make_connection = make_connection
        self._client: asyncio.Transport | None = None
        self._inner: asyncio.Transport | None = None
        self._handshaken = False
        self._first = b""
        self._joining: asyncio.Task[None] | None = None

    # from the client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        if isinstance(transport, asyncio.Transport):
            self._client = transport

    def data_received(self, data: bytes) -> None:
        """Bytes from the client, still encrypted; or plain, from one who does not know better."""
        self._first = self._first or data[: len(PLAIN[0])]
        if self._first in PLAIN:
            self._send_away(NOT_TLS)
            return
        self._incoming.write(data)
        self._advance()

    def eof_received(self) -> bool:
        """The client's TCP ended; what it still may read is sent."""
        self._incoming.write_eof()
        self._advance()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._client = None
        if self._joining is not None:
            self._joining.cancel()
        if self._inner is not None:
            self._inner.abort()

    def pause_writing(self) -> None:
        """The client is slow to read."""
        if self._inner is not None:
            self._inner.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._inner is not None:
            self._inner.resume_reading()

    def hold_client(self, held: bool) -> None:
        """Stop or go on reading from the client."""
        if self._client is None or self._client.is_closing():
            return
        if held:
            self._client.pause_reading()
        else:
            self._client.resume_reading()

    def _advance(self) -> None:
        try:
            if not self._handshaken:
                self._tls.do_handshake()
                self._handshaken = True
                self._join()
            if self._inner is not None:
                self._decrypt(self._inner)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            log.debug("TLS connection failed: %s", error)
            self._flush()
            self._abort()
        self._flush()

    def _join(self) -> None:
        """Connect the plain side; the client waits meanwhile."""
        self.hold_client(True)
        self._joining = asyncio.get_running_loop().create_task(self._connect_inner())

    async def _connect_inner(self) -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        peer = of_tls(self._tls)
        await loop.connect_accepted_socket(lambda: self._make_connection(peer), theirs)
        transport, _ = await loop.connect_accepted_socket(lambda: Inner(self), ours)
        self._inner = transport
        transport.set_write_buffer_limits(HIGH_WATER)
        self.hold_client(False)
        self._advance()

    def _decrypt(self, inner: asyncio.Transport) -> None:
        try:
            while data := self._tls.read(HIGH_WATER):
                inner.write(data)
        except ssl.SSLZeroReturnError:
            data = b""
        if not data and inner.can_write_eof() and not inner.is_closing():
            inner.write_eof()

    # from the server

    def encrypt(self, data: bytes) -> None:
        """Send ``data`` to the client."""
        if self._client is not None:
            self._tls.write(data)
            self._flush()

    def end_output(self) -> None:
        """Say close_notify and end the sending direction."""
        if self._client is None:
            return
        with suppress(ssl.SSLError):  # the client's own close_notify has not come yet, or never will
            self._tls.unwrap()
        self._flush()
        self._client.write_eof()

    def inner_closed(self) -> None:
        """The server is done with the connection."""
        self._inner = None
        if self._client is not None:
            self._client.close()

    def _flush(self) -> None:
        if self._client is not None and (data := self._outgoing.read()):
            self._client.write(data)

    def _send_away(self, answer: bytes) -> None:
        """Say in plain text why nothing more is heard."""
        if self._client is not None and not self._client.is_closing():
            self._client.write(answer)
            self._client.close()

    def _abort(self) -> None:
        if self._client is not None:
            self._client.close()
