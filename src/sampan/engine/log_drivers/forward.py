"""The task that follows one container's log file and feeds a driver.

``blocking`` (the default): a receiver that is away is tried again with growing pauses while the file buffers; what
rotation drops before it could be sent is lost. ``non-blocking``: entries wait in a buffer of ``max-buffer-size``;
what does not fit is dropped and counted (the log file has it still).
What was sent is told to whoever gives the entries, so that a restarted daemon goes on from there.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, nullcontext
from typing import Protocol

import msgspec

from sampan.engine.log_drivers.fluentd import Fluentd
from sampan.engine.log_drivers.gelf import Gelf
from sampan.engine.log_drivers.journald import Journald
from sampan.engine.log_drivers.message import Entry, Source, check_tag
from sampan.engine.log_drivers.options import buffer_of, check, duration
from sampan.engine.log_drivers.syslog import Syslog
from sampan.engine.log_drivers.values import boolean, size

log = logging.getLogger("sampan.logs")


Noted = Callable[[Entry], None]


class Sink(Protocol):
    """A driver that is ready to send."""

    async def open(self) -> None:
        """Have the receiver, as a container's start wants it; raises OSError with the reason for who starts it."""

    async def send(self, entry: Entry) -> None:
        """Deliver one entry; raises OSError when the receiver cannot be had now."""

    async def close(self) -> None:
        """Let go of the receiver."""


SINKS: Mapping[str, Callable[[Mapping[str, str], Source], Sink]] = {
    "syslog": Syslog,
    "gelf": Gelf,
    "fluentd": Fluentd,
    "journald": Journald,
}


TAGGED = frozenset(SINKS) | {"json-file", "local"}


def check_driver(driver: str, options: Mapping[str, str]) -> None:
    """Raise InvalidParameter for a driver or options with which no container could log."""
    check(driver, options)
    if driver in TAGGED:
        check_tag(options)


def make(driver: str, options: Mapping[str, str], source: Source) -> Sink:
    """The driver for one container, not connected; raises InvalidParameter for options it does not understand."""
    check(driver, options)
    return SINKS[driver](options, source)


class Patience(msgspec.Struct, frozen=True):
    """How long a receiver that is away is waited for: pauses between attempts, and how many (0: without end)."""

    first: float = 0.5
    growth: float = 2.0
    longest: float = 30.0
    attempts: int = 0


FLUENTD = Patience(first=1.0, growth=1.5, longest=60.0)
"""fluent-logger-golang's."""


class Room(msgspec.Struct, frozen=True):
    """What may wait in memory for a receiver before entries are dropped: bytes, or entries; 0 where none is dropped."""

    limit: int = 0
    entries: bool = False

    def taken_by(self, entry: Entry) -> int:
        """How much of the room an entry takes."""
        return 1 if self.entries else len(entry.line)


def patience_of(driver: str, options: Mapping[str, str]) -> Patience:
    """What the options say of it: gelf's pauses stay as they are, fluentd's grow."""
    if driver == "gelf" and "gelf-tcp-max-reconnect" in options:
        pause = float(options.get("gelf-tcp-reconnect-delay", "1"))
        return Patience(pause, 1.0, pause, int(options["gelf-tcp-max-reconnect"]) + 1)
    if driver == "fluentd":
        first = duration(options.get("fluentd-retry-wait", ""), "") or FLUENTD.first
        attempts = int(options.get("fluentd-max-retries") or 0)
        return msgspec.structs.replace(FLUENTD, first=first, attempts=attempts)
    return Patience()


def room_of(options: Mapping[str, str]) -> Room:
    """What may wait; fluentd bounds it by an option of its own, in entries, once it is asynchronous."""
    if boolean(options.get("fluentd-async") or "false") and options.get("fluentd-buffer-limit"):
        return Room(max(1, size(options["fluentd-buffer-limit"])), entries=True)
    return Room(buffer_of(options))


class Forwarder:
    """Feeds ``sink`` from an iterator of entries until it ends."""

    def __init__(
        self, sink: Sink, *, room: Room | None = None, patience: Patience | None = None, noted: Noted | None = None
    ) -> None:
        """``noted`` is told of each entry that was sent, or given up after all attempts."""
        self.sink = sink
        self.noted = noted or (lambda entry: None)
        self.room = room or Room()
        self.patience = patience or Patience()
        self.sent = 0
        self.dropped = 0
        self.position = 0  # time of the last entry that was sent

    async def run(self, entries: AsyncIterator[Entry]) -> None:
        """Send all entries; returns after the last."""
        try:
            async with aclosing(self._buffered(entries)) if self.room.limit else nullcontext(entries) as source:
                async for entry in source:
                    await self.deliver(entry)
                    self.noted(entry)
        finally:
            await self.sink.close()
            if self.dropped:
                log.warning("%d log entries were dropped: the receiver was away or they were too long", self.dropped)

    async def _buffered(self, entries: AsyncIterator[Entry]) -> AsyncGenerator[Entry, None]:
        """The entries through a bounded buffer: what does not fit any more is dropped."""
        buffer: asyncio.Queue[Entry | None] = asyncio.Queue()
        waiting = 0

        def is_full(entry: Entry) -> bool:
            return bool(waiting) and waiting + self.room.taken_by(entry) > self.room.limit

        async def fill() -> None:
            nonlocal waiting
            async for entry in entries:
                if is_full(entry):
                    await asyncio.sleep(0)  # what can be sent now makes room
                if is_full(entry):
                    self.dropped += 1
                    continue
                waiting += self.room.taken_by(entry)
                buffer.put_nowait(entry)
            buffer.put_nowait(None)

        async with asyncio.TaskGroup() as group:
            filling = group.create_task(fill())
            try:
                while (entry := await buffer.get()) is not None:
                    yield entry
                    waiting -= self.room.taken_by(entry)
            finally:
                filling.cancel()

    async def deliver(self, entry: Entry) -> None:
        """Send one entry, again and again; dropped when the attempts are used up, or no datagram can hold it."""
        pause, attempts = self.patience.first, 0
        while True:
            try:
                await self.sink.send(entry)
            except OSError as error:
                attempts += 1
                if attempts == self.patience.attempts or error.errno == errno.EMSGSIZE:
                    self.dropped += 1
                    return
                log.warning("log receiver: %s; again in %.1f s", error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * self.patience.growth, self.patience.longest)
            else:
                self.sent += 1
                self.position = entry.time
                return
