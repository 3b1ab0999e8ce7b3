"""The task that forwards one container's log: from its file, at the place it had reached, into its driver.

    <id>-json.log(.n) ─ Follower ─▶ batch of lines ─▶ Entry ─▶ Forwarder ─▶ receiver
    <id>-forwarded     where the batch begins, and how many of its lines were sent

The receiver is connected to before the container's program runs: where that fails, and the driver was not told to do
without, the container is not started. The task begins with the container, or when a daemon that starts finds the
container running, and ends after the last line. What a receiver that was away has not got then is sent before the
next run's output.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing, suppress
from functools import lru_cache, partial
from pathlib import Path

import msgspec

from sampan.api.times import parse_time
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.log_drivers.forward import Forwarder, Sink, make, patience_of, room_of
from sampan.engine.log_drivers.message import Entry, Part
from sampan.engine.log_drivers.options import FORWARDING
from sampan.engine.log_files import source_of
from sampan.engine.logs import Follower, Line, Position
from sampan.engine.start_errors import LOGGER, classified
from sampan.errors import InvalidParameter

log = logging.getLogger("sampan.logs")

SELDOM, SOON = 200, 0.2
"""Entries, and seconds, after which it is noted how far they were sent: what a killed daemon may send twice."""


class Mark(msgspec.Struct, frozen=True):
    """Where forwarding stands: the beginning of a batch, and how many of its lines were sent."""

    position: Position = Position()
    sent: int = 0


class Forwarding:
    """The receivers of all containers whose driver sends elsewhere, and the tasks that feed them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._opened: dict[str, Sink] = {}

    async def open(self, container: Container) -> None:
        """Have the receiver, which a start needs; raises EngineError in dockerd's words.

        ``begin`` takes it over, or ``withdraw`` lets go of it.
        """
        if container.record.host_config.log_config.type not in FORWARDING:
            return
        try:
            sink = self._opened[container.id] = await self._made(container)
            await sink.open()
        except (OSError, InvalidParameter) as error:
            raise classified(f"{LOGGER}{error}") from error

    async def withdraw(self, container: Container) -> None:
        """The start failed: let go of the receiver."""
        if container.id in self._opened:
            await self._opened.pop(container.id).close()

    async def _made(self, container: Container) -> Sink:
        """The container's driver, not connected; raises InvalidParameter for files of TLS that cannot be used."""
        wanted, threads = container.record.host_config.log_config, self._context.threads
        work = partial(make, wanted.type, wanted.config, source_of(container))
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    def begin(self, container: Container) -> None:
        """The container runs: forward its output from now on, after what an earlier run has left."""
        if container.record.host_config.log_config.type in FORWARDING:
            container.forwarding = self._context.supervisor.spawn(
                self._forward(container, container.forwarding), f"log of {container.id[:12]}"
            )

    async def _forward(self, container: Container, before: "asyncio.Task[None] | None") -> None:
        wanted = container.record.host_config.log_config
        sink = self._opened.pop(container.id, None) or await self._made(container)
        with closing(Marker(mark_path(container))) as marker:
            forwarder = Forwarder(
                sink,
                room=room_of(wanted.config),
                patience=patience_of(wanted.type, wanted.config),
                noted=marker.sent,
            )
            async with aclosing(self._entries(container, marker, before)) as entries:
                await forwarder.run(entries)

    async def _entries(
        self, container: Container, marker: "Marker", before: "asyncio.Task[None] | None"
    ) -> AsyncGenerator[Entry, None]:
        """Entries after the last one that ``before`` sent, until the container has ended."""
        if before is not None:
            await asyncio.wait([before])
        loop, follower, lines = asyncio.get_running_loop(), Follower(container), Lines()
        mark = read_mark(marker.path)
        try:
            await loop.run_in_executor(self._context.threads, follower.resume, mark.position)
            while True:
                start = follower.position
                sent = mark.sent if start == mark.position else 0
                batch = await loop.run_in_executor(self._context.threads, follower.more)
                for number, line in enumerate(batch, 1):
                    entry = lines.entry(line, Mark(start, number))
                    if number > sent:
                        yield entry
                marker.note()
                if follower.missed:
                    log.warning("log of %s: rotation dropped what the receiver was too slow for", container.id[:12])
                    follower.missed = False
                if not batch and not await follower.changed():
                    return
        finally:
            follower.close()


def mark_path(container: Container) -> Path:
    """The file that says how far a container's log was forwarded."""
    return container.state_dir / f"{container.id}-forwarded"


def read_mark(path: Path) -> Mark:
    """How far forwarding has come; the beginning if nothing was sent."""
    with suppress(FileNotFoundError, ValueError):
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    return Mark()


def write_mark(fd: int, mark: Mark) -> None:
    """Note how far forwarding has come: one write of one length, so that a later one covers it."""
    os.pwrite(fd, msgspec.json.encode(mark).ljust(128), 0)


class Marker:
    """Notes how far the log was sent: seldom while it goes fast, and when there is no more, or the daemon ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._sent: Mark | None = None
        self._count = 0
        self._at = time.monotonic()

    def sent(self, entry: Entry) -> None:
        """This entry was sent, and all before it."""
        assert isinstance(entry.place, Mark)
        self._sent, self._count = entry.place, self._count + 1
        if self._count >= SELDOM or time.monotonic() - self._at > SOON:
            self.note()

    def note(self) -> None:
        """Note what was sent; on a full disk it may be sent twice."""
        if self._sent is None:
            return
        with suppress(OSError):
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            write_mark(self._fd, self._sent)
        self._sent, self._count, self._at = None, 0, time.monotonic()

    def close(self) -> None:
        """Note what was sent, and let go of the file."""
        self.note()
        if self._fd >= 0:
            os.close(self._fd)


class Lines:
    """Makes entries of lines, and knows which of them are parts of one line of output."""

    def __init__(self) -> None:
        self._open: dict[str, Part] = {}

    def entry(self, line: Line, place: object = None) -> Entry:
        """A line of the log as drivers take it."""
        goes_on = not line.log.endswith("\n")
        data = line.data.removesuffix(b"\n")
        return Entry(stamp(line.time), line.stream, data, self._part(line.stream, goes_on), place)

    def _part(self, stream: str, goes_on: bool) -> Part | None:
        before = self._open.pop(stream, None)
        if before is None and not goes_on:
            return None
        part = Part(before.id if before else os.urandom(32).hex(), before.ordinal + 1 if before else 1, not goes_on)
        if goes_on:
            self._open[stream] = part
        return part


def stamp(text: str) -> int:
    """The time of a line, in nanoseconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return second(whole) + (int(fraction.ljust(9, "0")) if fraction else 0)


@lru_cache(16)
def second(text: str) -> int:
    """A time without its fraction, in nanoseconds: many lines have the same."""
    return parse_time(text + "Z")
