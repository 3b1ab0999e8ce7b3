"""The task that follows one container's log file and feeds a driver.

``blocking`` (the default): a receiver that is away is tried again with growing pauses while the file buffers; what
rotation drops before it could be sent is lost. ``non-blocking``: what cannot be sent at once is dropped and counted.
Where the task stands is the time of the last entry sent, so that a restarted daemon goes on from there.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from sampan.engine.log_drivers.fluentd import Fluentd, refuse_acknowledgement
from sampan.engine.log_drivers.gelf import Gelf, level
from sampan.engine.log_drivers.journald import Journald
from sampan.engine.log_drivers.message import Entry, Source, tag
from sampan.engine.log_drivers.options import check
from sampan.engine.log_drivers.syslog import Syslog, facility

log = logging.getLogger("sampan.logs")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between attempts


class Sink(Protocol):
    """A driver that is ready to send."""

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


NOBODY = Source("", "", "", "", "", 0, "")


def check_driver(driver: str, options: Mapping[str, str]) -> None:
    """Raise InvalidParameter or Unsupported for a driver or options with which no container could log."""
    check(driver, options)
    if "tag" in options:
        tag(options["tag"], NOBODY)
    for further in CHECKS.get(driver, ()):
        further(options)


def make(driver: str, options: Mapping[str, str], source: Source) -> Sink:
    """The driver for one container; raises InvalidParameter for options it does not understand."""
    check(driver, options)
    return SINKS[driver](options, source)


CHECKS: Mapping[str, tuple[Callable[[Mapping[str, str]], object], ...]] = {
    "syslog": (facility,),
    "gelf": (level,),
    "fluentd": (refuse_acknowledgement,),
}


class Forwarder:
    """Feeds ``sink`` from an iterator of entries until it ends."""

    def __init__(self, sink: Sink, *, blocking: bool = True) -> None:
        self.sink = sink
        self.blocking = blocking
        self.sent = 0
        self.dropped = 0
        self.position = 0  # time of the last entry that was sent

    async def run(self, entries: AsyncIterator[Entry]) -> None:
        """Send all entries; returns after the last."""
        try:
            async for entry in entries:
                await self.deliver(entry)
        finally:
            await self.sink.close()
            if self.dropped:
                log.warning("%d log entries were dropped: the receiver was away", self.dropped)

    async def deliver(self, entry: Entry) -> None:
        """Send one entry, again and again when blocking."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self.sink.send(entry)
            except OSError as error:
                if not self.blocking:
                    self.dropped += 1
                    return
                log.warning("log receiver: %s; again in %.1f s", error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                self.sent += 1
                self.position = entry.time
                return
