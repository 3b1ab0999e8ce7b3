"""The task that forwards one container's log: from its file, at the place it had reached, into its driver.

    <id>-json.log(.n) ─ Follower ─▶ batch of lines ─▶ Entry ─▶ Forwarder ─▶ receiver
    <id>-forwarded     where the batch begins, and how many of its lines were sent

It begins with the container, or when a daemon that starts finds the container running, and ends after the last line.
What a receiver that was away has not got then is sent before the next run's output.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path

import msgspec

from sampan.api.times import parse_time
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.log_drivers.forward import FIRST_PAUSE, LONGEST_PAUSE, Forwarder, log, make, patience_of, room_of
from sampan.engine.log_drivers.message import Entry
from sampan.engine.log_drivers.options import FORWARDING
from sampan.engine.log_files import source_of
from sampan.engine.logs import Follower, Line, Position


class Mark(msgspec.Struct, frozen=True):
    """Where forwarding stands: the beginning of a batch, and how many of its lines were sent."""

    position: Position = Position()
    sent: int = 0


class Forwarding:
    """Begins the tasks of all containers whose driver sends elsewhere."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def begin(self, container: Container) -> None:
        """The container runs: forward its output from now on, after what an earlier run has left."""
        if container.record.host_config.log_config.type in FORWARDING:
            container.forwarding = self._context.supervisor.spawn(
                self._forward(container, container.forwarding), f"log of {container.id[:12]}"
            )

    async def _forward(self, container: Container, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait([before])
        forwarder = await self._forwarder(container)
        async with aclosing(self._entries(container)) as entries:
            await forwarder.run(entries)

    async def _forwarder(self, container: Container) -> Forwarder:
        """The container's driver; tried again while its receiver's name is not known."""
        wanted = container.record.host_config.log_config
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE
        while True:
            try:
                sink = await loop.run_in_executor(
                    self._context.threads, make, wanted.type, wanted.config, source_of(container)
                )
            except OSError as error:
                log.warning("log receiver of %s: %s; again in %.1f s", container.id[:12], error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                options = wanted.config
                return Forwarder(sink, room=room_of(options), patience=patience_of(wanted.type, options))

    async def _entries(self, container: Container) -> AsyncGenerator[Entry, None]:
        """Entries after the last one sent, until the container has ended; each noted once it is sent."""
        loop, path = asyncio.get_running_loop(), mark_path(container)
        follower, mark = Follower(container), read_mark(path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await loop.run_in_executor(self._context.threads, follower.resume, mark.position)
            while True:
                start = follower.position
                sent = mark.sent if start == mark.position else 0
                batch = await loop.run_in_executor(self._context.threads, follower.more)
                for number, line in enumerate(batch[sent:], sent + 1):
                    yield entry_of(line)
                    write_mark(fd, Mark(start, number))
                if not batch and not await follower.changed():
                    return
        finally:
            os.close(fd)
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


def entry_of(line: Line) -> Entry:
    """A line of the log as drivers take it."""
    text = line.log.removesuffix("\n")
    data = text.encode(errors="surrogatepass")
    return Entry(parse_time(line.time), line.stream, data, partial=not line.log.endswith("\n"))
