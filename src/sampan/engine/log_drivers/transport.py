"""Sockets to receivers: connected when first needed or before, and again after a failure.

Why a receiver cannot be had is told as Go's net package tells it, which is what dockerd's clients know:

    dial tcp 127.0.0.1:24224: connect: connection refused
    dial unix /run/receiver: connect: no such file or directory
    dial tcp: lookup nowhere: no such host
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

TIMEOUT = 10.0  # seconds a connection or a write may take
NO_HOST = (socket.EAI_NONAME, socket.EAI_NODATA)


class Transport:
    """Somewhere to send messages; ``connect`` and ``send`` raise OSError when the receiver cannot be had now."""

    async def connect(self) -> None:
        """Have a way to the receiver, as far as its protocol can tell."""
        raise NotImplementedError

    async def send(self, message: bytes) -> None:
        """Deliver one message, or raise OSError: then it was not delivered, or only in part."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the socket."""
        raise NotImplementedError


class Datagrams(Transport):
    """UDP, to the first address of a host, or a unix datagram socket."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self.target = target
        self.socket: socket.socket | None = None
        self.address: Any = target

    async def connect(self) -> None:
        family = socket.AF_UNIX
        if isinstance(self.target, str):
            with told("unixgram", self.target), socket.socket(family, socket.SOCK_DGRAM) as trial:
                trial.connect(self.target)
        else:
            family, *_, self.address = (await resolved("udp", *self.target))[0]
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    async def send(self, message: bytes) -> None:
        if self.socket is None:
            await self.connect()
        assert self.socket is not None
        try:
            self.socket.sendto(message, self.address)
        except BlockingIOError:
            await asyncio.get_running_loop().sock_sendto(self.socket, message, self.address)

    async def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Stream(Transport):
    """TCP, TLS over it, or a unix stream socket.

    What was sent is the kernel's: nothing waits in this process, so that only what the kernel holds is lost with a
    connection.
    """

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
        self.connected_at = 0.0

    async def connect(self) -> None:
        loop, connection = asyncio.get_running_loop(), await self._dial()
        name = self.target[0] if self.context else None
        try:
            with told("tcp", self.target):
                async with asyncio.timeout(self.timeout):
                    self.reader, self.writer = await asyncio.open_connection(
                        sock=connection, ssl=self.context, server_hostname=name
                    )
        except BaseException:
            connection.close()
            raise
        self.writer.transport.set_write_buffer_limits(high=0)
        self.connected_at = loop.time()

    async def _dial(self) -> socket.socket:
        """A socket that is connected to the first of the target's addresses that takes it; the first one's error."""
        if isinstance(self.target, str):
            return await self._dialled(socket.AF_UNIX, "unix", self.target)
        failures: list[OSError] = []
        for family, *_, address in await resolved("tcp", *self.target):
            try:
                return await self._dialled(family, "tcp", address)
            except OSError as error:
                failures.append(error)
        raise failures[0]

    async def _dialled(
        self, family: socket.AddressFamily, network: str, address: tuple[str, int] | str
    ) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            with told(network, address):
                async with asyncio.timeout(self.timeout):
                    await asyncio.get_running_loop().sock_connect(made, address)
        except BaseException:
            made.close()
            raise
        return made

    async def send(self, message: bytes) -> None:
        if self._hung_up():
            await self.close()
        if self.writer is None:
            await self.connect()
        assert self.writer is not None
        self.writer.write(message)
        if not self.writer.transport.is_closing() and not self.writer.transport.get_write_buffer_size():
            return
        try:
            async with asyncio.timeout(self.timeout):
                await self.writer.drain()
        except (OSError, TimeoutError) as error:
            self._abort()
            raise OSError(f"cannot send the log to {self.target}: {error}") from error

    @property
    def age(self) -> float:
        """Seconds since the last connection was made."""
        return asyncio.get_running_loop().time() - self.connected_at

    def _hung_up(self) -> bool:
        """Whether the receiver has ended the connection meanwhile: what is written now would be lost."""
        return self.reader is not None and self.reader.at_eof()

    async def receive(self, size: int) -> bytes:
        """An answer of ``size`` bytes; raises OSError when it does not come in time."""
        assert self.reader is not None
        try:
            async with asyncio.timeout(self.patience):
                return await self.reader.readexactly(size)
        except (OSError, TimeoutError, EOFError) as error:
            self._abort()
            raise OSError(f"no answer from {self.target}: {error}") from error

    def _abort(self) -> None:
        """Let go of a connection that failed, and of what it has not taken: that is sent again."""
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def close(self) -> None:
        writer, self.reader, self.writer = self.writer, None, None
        if writer is None:
            return
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()  # a receiver that takes nothing would never let go
        writer.close()
        try:
            async with asyncio.timeout(self.timeout):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()


class FirstOf(Transport):
    """The first of several that can be had; looked for again after a failure."""

    def __init__(self, choices: Sequence[Transport], failure: str) -> None:
        self.choices = choices
        self.failure = failure
        self.chosen: Transport | None = None

    async def connect(self) -> None:
        for choice in self.choices:
            with contextlib.suppress(OSError):
                await choice.connect()
                self.chosen = choice
                return
        raise OSError(self.failure)

    async def send(self, message: bytes) -> None:
        if self.chosen is None:
            await self.connect()
        assert self.chosen is not None
        try:
            await self.chosen.send(message)
        except OSError:
            self.chosen = None
            raise

    async def close(self) -> None:
        for choice in self.choices:
            await choice.close()


@contextlib.contextmanager
def told(network: str, target: Sequence[object] | str) -> Iterator[None]:
    """Errors of the block as OSError in Go's words."""
    try:
        yield
    except TimeoutError as error:
        raise OSError(f"{dial_of(network, target)}: i/o timeout") from error
    except ssl.SSLCertVerificationError as error:
        raise OSError(f"tls: failed to verify certificate: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise OSError(f"tls: {error.reason or error}") from error
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        raise OSError(f"{dial_of(network, target)}: connect: {why}") from error


def dial_of(network: str, target: Sequence[object] | str) -> str:
    """What was tried: the network, and a path or an address with its port."""
    if isinstance(target, str):
        return f"dial {network} {target}"
    host = f"[{target[0]}]" if ":" in str(target[0]) else target[0]
    return f"dial {network} {host}:{target[1]}"


async def resolved(network: str, host: str, port: int) -> list[tuple[Any, ...]]:
    """Addresses of a host, as getaddrinfo lists them; raises OSError."""
    kind = socket.SOCK_DGRAM if network == "udp" else socket.SOCK_STREAM
    try:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    except socket.gaierror as error:
        why = "no such host" if error.errno in NO_HOST else error.strerror
        raise OSError(f"dial {network}: lookup {host}: {why}") from error
    except UnicodeError as error:  # an empty label, or one too long
        raise OSError(f"dial {network}: lookup {host}: no such host") from error
