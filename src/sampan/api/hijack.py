"""Connections taken over: after an upgrade the connection is no longer HTTP but the operation's own.

    client ── unix or TCP ──────────────────▶ socket        the connection itself, duplicated out of the server
    client ── TLS or websocket ─▶ pump ─────▶ socket        one end of a socket pair; the server pumps the other

An operation that wants the connection is given ``accept`` and calls it once it knows that it will succeed; only
then does the client get its 101 (or 200). Until ``accept`` an error is an ordinary HTTP answer.
"""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Hijacked:
    """A connection with the bytes that were already read from it.

    ``sock`` is connected, a stream, and non-blocking; it may be passed to another process. ``early`` is what
    the client sent after its request: it comes before anything read from ``sock``.

    Whoever calls ``take`` owns the socket and closes it. A ``Hijacked`` that was not taken is closed by the server,
    which first tells the client the error that the operation raised.
    """

    sock: socket.socket
    early: bytes = b""
    taken: bool = field(default=False, init=False)

    def take(self) -> socket.socket:
        """The socket, now the caller's."""
        self.taken = True
        return self.sock


Accept = Callable[[bool], Awaitable[Hijacked]]
"""``accept(terminal)``: take the connection over; ``terminal`` decides the content type (raw or multiplexed)."""
