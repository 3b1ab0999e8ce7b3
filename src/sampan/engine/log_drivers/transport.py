"""Sockets to receivers: connected when first needed, and again after a failure."""

import asyncio
import contextlib
import socket
import ssl

TIMEOUT = 10.0  # seconds a connection or a write may take


class Transport:
    """Somewhere to send messages; ``send`` raises OSError when the receiver cannot be had now."""

    async def send(self, message: bytes) -> None:
        """Deliver one message, or raise OSError: then it was not delivered, or only in part."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the socket."""
        raise NotImplementedError


class Datagrams(Transport):
    """UDP, or a unix datagram socket."""

    def __init__(self, family: socket.AddressFamily, target: tuple[str, int] | str) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self.target = target

    async def send(self, message: bytes) -> None:
        await asyncio.get_running_loop().sock_sendto(self.socket, message, self.target)

    async def close(self) -> None:
        self.socket.close()


class Stream(Transport):
    """TCP, TLS over it, or a unix stream socket."""

    def __init__(
        self,
        target: tuple[str, int] | str,
        context: ssl.SSLContext | None = None,
        *,
        timeout: float = TIMEOUT,
        patience: float = TIMEOUT,
    ) -> None:
        self.target = target
        self.context = context
        self.timeout = timeout
        self.patience = patience
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def connect(self) -> asyncio.StreamWriter:
        """A connection; raises OSError."""
        if isinstance(self.target, str):
            self.reader, writer = await asyncio.open_unix_connection(self.target)
        else:
            self.reader, writer = await asyncio.open_connection(*self.target, ssl=self.context)
        return writer

    async def send(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(self.timeout):
                self.writer = self.writer or await self.connect()
                self.writer.write(message)
                await self.writer.drain()
        except (OSError, TimeoutError) as error:
            await self.close()
            raise OSError(f"cannot send the log to {self.target}: {error}") from error

    async def receive(self, size: int) -> bytes:
        """An answer of ``size`` bytes; raises OSError when it does not come in time."""
        assert self.reader is not None
        try:
            async with asyncio.timeout(self.patience):
                return await self.reader.readexactly(size)
        except (OSError, TimeoutError, EOFError) as error:
            await self.close()
            raise OSError(f"no answer from {self.target}: {error}") from error

    async def close(self) -> None:
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def udp(host: str, port: int) -> Datagrams:
    """A transport of datagrams to the first address of ``host``; raises OSError if it has none."""
    family, *_, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    return Datagrams(family, (str(target[0]), int(target[1])))
