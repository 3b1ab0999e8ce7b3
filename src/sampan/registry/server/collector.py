"""Garbage collection, online: it runs beside pushes and pulls and never takes what either counts on.

    1  manifests nothing leads to                   only if ``untagged`` is configured, older than the grace
    2  holdings no manifest needs                   whose lease is over: nobody was told lately that the blob is there
    3  blobs no repository holds                    the row goes in one transaction, then the bytes under its key
    4  copies in the store that no blob's row names a crash between put and record, or between 3's two halves
    5  uploads nobody writes to any more

Safe beside a push because the lease is renewed in the same transaction that finds the blob, a manifest is recorded only
when its blobs are still held, and bytes stored again have a key of their own (see ``store``). Steps 1 to 3 are
transactions; killing the collector anywhere leaves work for step 4 of the next run.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Self

from sampan.errors import EngineError
from sampan.registry.server import records
from sampan.registry.server.config import GC, seconds
from sampan.registry.server.database import Database
from sampan.registry.server.metrics import Metrics
from sampan.registry.server.store import Store, Stored
from sampan.registry.server.uploads import Uploads

_log = logging.getLogger(__name__)
_BATCH = 200
_STALE_UPLOADS = 24
_SET = 60.0
"""Seconds between the time of day and the time that passed, from which on the clock was set."""


@dataclass
class Collected:
    """What one run removed; ``size`` in bytes."""

    manifests: int = 0
    holdings: int = 0
    blobs: int = 0
    strays: int = 0
    uploads: int = 0
    size: int = 0


class Collector:
    """Collects every interval while open; ``collect`` does it now."""

    def __init__(self, config: GC, database: Database, store: Store, uploads: Uploads, metrics: Metrics) -> None:
        self._config = config
        self._database = database
        self._store = store
        self._uploads = uploads
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None
        self._offset, self._steady_from = time.time() - time.monotonic(), 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="registry-gc")
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(seconds(self._config.interval))
            if not self._clock_is_steady():
                _log.warning("the clock was set: nothing is collected until all leases are of the new time")
                continue
            try:
                _log.info("collected %s", await self.collect(time.time() - seconds(self._config.grace)))
            except (EngineError, OSError) as error:
                _log.warning("garbage collection gave up, and will try again: %s", error)

    def _clock_is_steady(self) -> bool:
        """Whether the time of day has gone on evenly for a grace: only then do ages of leases say anything."""
        offset, now = time.time() - time.monotonic(), time.monotonic()
        if abs(offset - self._offset) > _SET:
            self._offset, self._steady_from = offset, now + seconds(self._config.grace)
        return now >= self._steady_from

    async def collect(self, before: float) -> Collected:
        """Remove garbage that nobody touched since ``before`` (seconds since 1970)."""
        done = Collected()
        if self._config.untagged:
            done.manifests = await self._database.write(lambda c: records.drop_untagged(c, before))
        done.holdings = await self._database.write(lambda c: records.drop_idle_holdings(c, before))
        await self._drop_blobs(before, done)
        await self._drop_strays(before, done)
        done.uploads = await self._uploads.drop_stale(before - _STALE_UPLOADS * 3600)
        self._count(done)
        return done

    async def _drop_blobs(self, before: float, done: Collected) -> None:
        while found := await self._database.write(lambda c: records.drop_unheld_blobs(c, before, _BATCH)):
            for key, size in found:
                await self._store.delete(key)
                done.blobs += 1
                done.size += size

    async def _drop_strays(self, before: float, done: Collected) -> None:
        batch: list[Stored] = []
        async for stored in self._store.stored():
            if stored.modified < before:
                batch.append(stored)
            if len(batch) >= _BATCH:
                await self._drop_unknown(batch, done)
                batch = []
        await self._drop_unknown(batch, done)

    async def _drop_unknown(self, batch: list[Stored], done: Collected) -> None:
        known = await self._database.read(lambda c: records.known_keys(c, [one.key for one in batch]))
        for stored in batch:
            if stored.key not in known:
                await self._store.delete(stored.key)
                done.strays += 1
                done.size += stored.size

    def _count(self, done: Collected) -> None:
        for kind in ("manifests", "holdings", "blobs", "strays", "uploads"):
            self._metrics.collected.labels(kind).inc(getattr(done, kind))
        self._metrics.reclaimed.inc(done.size)
