"""One client's connection, which an operation may take over.

Most requests are aiohttp's business. Those that may take the connection over need care: aiohttp drops what the
client sends right behind such a request. So for these the connection itself finds the request's end:

    ┌ head ─────────────┐┌ body ──┐┌ what comes after ───────────────┐
    POST /exec/x/start …\\r\\n\\r\\n{…}stdin, already on its way
    └──────────── to aiohttp ─────┘└── kept back: Hijacked.early ─────┘

and stops reading until the handler takes the connection (``take``) or answers like any other (``decline``).
A head that is too long is answered as Go's server does, and what comes behind it is not looked at. A connection that
begins with HTTP/2's preface goes to the builder whole.
"""

import asyncio
import logging
import re
import select
import socket
from collections.abc import Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sampan.api.hijack import Hijacked
from sampan.server.answers import failure
from sampan.server.peer import Peer, of_socket

log = logging.getLogger(__name__)

MAY_TAKE_OVER = re.compile(rb"POST /(?:v[0-9.]+/)?(?:containers/[^/ ?]+/attach|exec/[^/ ?]+/start|session|grpc)[? ]")
HTTP2_PREFACE = b"PRI * HTTP/2"
LONGEST_HEAD = (1 << 20) + 4096
"""Bytes of a request's head, as net/http's DefaultMaxHeaderBytes and its slop."""
HEAD_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n431 Request Header Fields Too Large"
)
REFUSED = 0.5
"""Seconds that a refused client has to read why; were the connection closed at once, it might not come to that."""
HEAD_LIMIT = 64 << 10
BODY_LIMIT = 64 << 10
HALF_CLOSED = 10.0
"""Seconds that an ordinary request of a client that ended its side may still take."""

FIRST_REQUEST = 300.0
"""Seconds that a new client has to send the head of a request, as with dockerd."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_LONGEST_NUMBER = 12
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_LAST_CHUNK = re.compile(rb"(?:\A|\r\n)0\r\n\r\n")


class Splitter:
    """Finds the end of one request in what a client sends; pure, no input or output of its own."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.early = b""
        self.complete = False
        self.given_up = False

    def feed(self, data: bytes) -> bytes:
        """Take ``data``; returns the request once it is whole, empty before that.

        What is too long to wait for is ``given_up``: all that came is returned, and the end is for others to find.
        """
        self._buffer += data
        end = self._end()
        if end is None or end > len(self._buffer):
            self.given_up = self._too_long(end)
            return bytes(self._buffer) if self.given_up else b""
        request, self.early = bytes(self._buffer[:end]), bytes(self._buffer[end:])
        self._buffer.clear()
        self.complete = True
        return request

    def _end(self) -> int | None:
        """Where the request ends, which may be yet to come; ``None`` when that cannot be told yet."""
        head = self._buffer.find(b"\r\n\r\n") + 4
        if head < 4:
            return None
        if _CHUNKED.search(self._buffer, 0, head):
            last = _LAST_CHUNK.search(bytes(self._buffer[head:]))
            return head + last.end() if last else None
        length = _LENGTH.search(self._buffer, 0, head)
        return head + (int(length[1][: _LONGEST_NUMBER + 1]) if length else 0)

    def _too_long(self, end: int | None) -> bool:
        """Whether more has come, or is announced, than a request that takes over the connection has."""
        return len(self._buffer) > HEAD_LIMIT or (end is not None and end > BODY_LIMIT)


def _hung_up(transport: asyncio.Transport) -> bool:
    """Whether the client closed both sides, as far as the kernel can tell: always on unix sockets."""
    watched = select.poll()
    watched.register(transport.get_extra_info("socket").fileno(), 0)
    return any(events & select.POLLHUP for _, events in watched.poll(0))


class Connection(RequestHandler):
    """aiohttp's connection, able to be taken over."""

    __slots__ = ("_head", "_on_http2", "_peer", "_refused", "_splitter")

    def __init__(
        self,
        server: web.Server,
        on_http2: Callable[[Hijacked, Peer], None],
        loop: asyncio.AbstractEventLoop,
        peer: Peer | None = None,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            max_line_size=2 * LONGEST_HEAD,
            max_field_size=2 * LONGEST_HEAD,
            max_headers=LONGEST_HEAD,
        )
        self._head = 0  # bytes of a head that has not ended yet
        self._refused = False
        self._on_http2 = on_http2
        self._peer = peer
        self._splitter: Splitter | None = None

    @property
    def peer(self) -> Peer:
        """Who connected; nobody once the connection is gone."""
        if self._peer is None:
            self._peer = of_socket(self.transport.get_extra_info("socket")) if self.transport else Peer()
        return self._peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client that never gets its first request together does not stay for as long as an idle one."""
        super().connection_made(transport)
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
        self._next_keepalive_close_time = self._loop.time() + FIRST_REQUEST
        self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def data_received(self, data: bytes) -> None:
        """Sort what arrives: ordinary requests, those that may take over, HTTP/2."""
        if not data:  # aiohttp itself, going on with what it has
            super().data_received(data)
        elif self._refused:
            return
        elif self._splitter is not None:
            self._split(data)
        elif data.startswith(b"P") and self._current_request is None and MAY_TAKE_OVER.match(data):
            self._splitter = Splitter()
            self._split(data)
        elif data.startswith(HTTP2_PREFACE):
            peer = self.peer
            self._on_http2(Hijacked(self._detach(), data), peer)
        else:
            self._ordinary(data)

    def _ordinary(self, data: bytes) -> None:
        """Give ``data`` to aiohttp, unless it makes the head that is waited for too long."""
        if self._waiter is None or self._messages:  # a body, or requests behind the one at hand
            self._head = 0
        else:
            end = data.find(b"\r\n\r\n")
            if self._head + (len(data) if end < 0 else end) > LONGEST_HEAD:
                self._refuse()
                return
            self._head = self._head + len(data) if end < 0 else 0
        super().data_received(data)

    def _refuse(self) -> None:
        """Answer a head that is too long, and hang up once the client can have read that."""
        if self.transport is None:
            return
        self._refused = True
        self.transport.write(HEAD_TOO_LONG)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._loop.call_later(REFUSED, self.transport.close)

    def _split(self, data: bytes) -> None:
        splitter = self._splitter
        if splitter is None or self.transport is None:
            return
        if splitter.complete:
            splitter.early += data
            return
        request = splitter.feed(data)
        if splitter.given_up:
            self._splitter = None
            self._ordinary(request)
        elif splitter.complete:
            self.transport.pause_reading()
            super().data_received(request)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client may end its side and still expect its answer: for long if it attached, otherwise soon."""
        if self._refused:
            return False
        if self._splitter is not None:
            return True if self._splitter.complete else super().eof_received()
        idle = self._waiter is not None and not self._messages
        if self.transport is None or idle or _hung_up(self.transport):
            return super().eof_received()
        self._loop.call_later(HALF_CLOSED, self.transport.close)
        at_hand = 1 if self._waiter is not None else 0
        if len(self._messages) == at_hand:
            self._close = True  # after the answer
        return True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP, and what no handler foresaw; nobody hears the answer when the client is gone."""
        gone = self.transport is None or self.transport.is_closing()
        if status >= 500 and not gone:
            log.error("%s %s failed", request.method, request.path, exc_info=exc)
        if gone or request.writer.output_size:
            raise ConnectionResetError("the client is gone, or has half of an answer")
        response = failure(status, message or f"internal error: {type(exc).__name__}")
        response.force_close()
        return response

    def _resume_transport_reading(self) -> None:
        """aiohttp reads on when it has a request's body; what follows one that may take over is not its own."""
        if self._splitter is None or not self._splitter.complete:
            super()._resume_transport_reading()

    def decline(self) -> None:
        """The request at hand is answered like any other; what came after it is the next request."""
        splitter, self._splitter = self._splitter, None
        if splitter is None or self.transport is None or self.transport.is_closing():
            return
        self.transport.resume_reading()
        if splitter.early:
            self.data_received(splitter.early)

    async def take(self, head: bytes) -> Hijacked:
        """Send ``head`` and give the connection away; aiohttp sees it end. Raises ConnectionError if it is gone."""
        early = self._splitter.early if self._splitter else b""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the client went away")
        self.transport.pause_reading()
        self.transport.write(head)
        await self._drained()
        return Hijacked(self._detach(), early)

    async def _drained(self) -> None:
        """Wait until everything written is in the kernel's hands."""
        transport = self.transport
        if transport is None or not transport.get_write_buffer_size():
            return
        transport.set_write_buffer_limits(high=0)
        await self._drain_helper()

    def _detach(self) -> socket.socket:
        """A duplicate of the connection's socket; the transport is given up without shutting the connection."""
        if self.transport is None:
            raise ConnectionResetError("the client went away")
        self.transport.pause_reading()
        connected: socket.socket = self.transport.get_extra_info("socket").dup()
        connected.setblocking(False)
        self.transport.abort()
        return connected
