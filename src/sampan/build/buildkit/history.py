"""Builds that were: what ``buildx history`` shows of them.

    records (kind "build-history")    id: the build's reference    value: Record
    <root>/<sha256 of it>.log         its progress: StatusResponses, each after its length in four bytes
    pins                              owner: "build-history/" + reference; what it says of its results (provenance)

The last ``KEPT`` builds stay, for ``AGE`` seconds, longer if they are pinned. A build under way is known too.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from sampan.build.buildkit import messages as m
from sampan.build.buildkit.solves import Solve
from sampan.build.leftovers import HISTORY, log_name
from sampan.errors import NotFound
from sampan.oci.descriptor import Descriptor
from sampan.storage.records import Records
from sampan.storage.store import Storage

KEPT = 50
AGE = 48 * 3600
SECOND = 1_000_000_000
STARTED, COMPLETE, DELETED = range(3)


class Done(msgspec.Struct, frozen=True):
    """An exporter of the build, as it was asked for."""

    type: str
    attributes: dict[str, str]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A build. Times in nanoseconds since 1970; ``completed`` is 0 while it is under way.

    ``error`` is a gRPC status and its words; ``results`` are descriptors of what is said of each platform's image.
    """

    ref: str
    options: dict[str, str]
    exporters: list[Done]
    created: int
    completed: int = 0
    error: tuple[int, str] | None = None
    response: dict[str, str] = {}
    results: dict[str, list[Descriptor]] = {}
    total: int = 0
    cached: int = 0
    ended: int = 0
    warnings: int = 0
    pinned: bool = False


class History:
    """The builds of one data root; ``root`` is the directory of their progress."""

    def __init__(self, storage: Storage, root: Path) -> None:
        self._storage = storage
        self._records = Records(storage.database, HISTORY, Record)
        self._root = root
        self._active: dict[str, Solve] = {}
        self._events: list[asyncio.Queue[Any]] = []

    def begin(self, solve: Solve) -> None:
        """A build is under way."""
        self._active[solve.ref] = solve
        self._tell(STARTED, record_of(solve))

    def end(self, solve: Solve, error: tuple[int, str] | None, response: dict[str, str]) -> None:
        """It is over; keeps it. Blocks."""
        del self._active[solve.ref]
        record = msgspec.structs.replace(
            record_of(solve), completed=time.time_ns(), error=error, response=response, results=solve.results
        )
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._path(solve.ref)
        temporary = path.with_suffix(".new")
        with temporary.open("wb") as file:
            for message in solve.log.responses:
                data = message.SerializeToString()
                file.write(len(data).to_bytes(4) + data)
        temporary.rename(path)
        said = [entry.digest for entries in solve.results.values() for entry in entries]
        self._storage.pins.hold(_owner(solve.ref), said)
        self._records.put(solve.ref, record)
        self._prune()

    def tell_end(self, ref: str) -> None:
        """Tell those that listen that a build is over."""
        record = self._records.get(ref)
        if record is not None:
            self._tell(COMPLETE, record)

    def delete(self, ref: str) -> None:
        """Forget a build. Raises NotFound."""
        record = self._records.get(ref)
        if record is None:
            raise NotFound(f"no such build record: {ref}")
        self._forget(ref)
        self._tell(DELETED, record)

    def pin(self, ref: str, *, pinned: bool) -> None:
        """Keep a build for longer, or not. Raises NotFound."""
        record = self._records.get(ref)
        if record is None:
            raise NotFound(f"no such build record: {ref}")
        self._records.put(ref, msgspec.structs.replace(record, pinned=pinned))

    def has(self, ref: str) -> bool:
        """Whether the build is over and kept."""
        return self._records.get(ref) is not None

    def progress(self, ref: str) -> Iterator[Any]:
        """What ``Control.Status`` told of the build. Raises NotFound. Blocks."""
        try:
            file = self._path(ref).open("rb")
        except FileNotFoundError:
            raise NotFound(f"the progress of build {ref} is not kept") from None
        with file:
            while head := file.read(4):
                yield m.StatusResponse.FromString(file.read(int.from_bytes(head)))

    def known(self, ref: str, *, active_only: bool) -> list[tuple[int, Record]]:
        """Builds under way and, unless only those are wanted, those that are over; ``ref`` empty means all."""
        found = [(STARTED, record_of(solve)) for solve in self._active.values()]
        if not active_only:
            found += [(COMPLETE, record) for _, record in self._records.all()]
        return [(kind, record) for kind, record in found if ref in ("", record.ref)]

    async def follow(self, ref: str) -> AsyncIterator[tuple[int, Record]]:
        """What happens to builds from now on."""
        events: asyncio.Queue[tuple[int, Record]] = asyncio.Queue()
        self._events.append(events)
        try:
            while True:
                kind, record = await events.get()
                if ref in ("", record.ref):
                    yield kind, record
        finally:
            self._events.remove(events)

    def _tell(self, kind: int, record: Record) -> None:
        for events in self._events:
            events.put_nowait((kind, record))

    def _prune(self) -> None:
        over = sorted((record.completed, ref) for ref, record in self._records.all() if not record.pinned)
        oldest = time.time_ns() - AGE * SECOND
        for number, (completed, ref) in enumerate(over):
            if completed < oldest or number < len(over) - KEPT:
                self._forget(ref)

    def _forget(self, ref: str) -> None:
        self._records.delete(ref)
        self._storage.pins.release(_owner(ref))
        self._path(ref).unlink(missing_ok=True)

    def _path(self, ref: str) -> Path:
        return self._root / log_name(ref)


def _owner(ref: str) -> str:
    return f"build-history/{ref}"


def record_of(solve: Solve) -> Record:
    """What is known of a build so far."""
    vertices = solve.log.vertices
    return Record(
        ref=solve.ref,
        options=dict(solve.options or solve.request.FrontendAttrs),
        exporters=[Done(exporter.Type, dict(exporter.Attrs)) for exporter in solve.request.Exporters],
        created=solve.began,
        total=len(vertices),
        cached=sum(vertex.cached for vertex in vertices),
        ended=sum(vertex.HasField("completed") for vertex in vertices),
        warnings=sum(len(message.warnings) for message in solve.log.responses),
    )


def event_of(kind: int, record: Record) -> Any:
    """A ``BuildHistoryEvent``."""
    results = {platform: _said(entries) for platform, entries in record.results.items()}
    message = m.BuildHistoryRecord(
        Ref=record.ref,
        Frontend="dockerfile.v0",
        FrontendAttrs=record.options,
        Exporters=[m.Exporter(Type=done.type, Attrs=done.attributes) for done in record.exporters],
        CreatedAt=_moment(record.created),
        ExporterResponse=record.response,
        pinned=record.pinned,
        numCachedSteps=record.cached,
        numTotalSteps=record.total,
        numCompletedSteps=record.ended,
        numWarnings=record.warnings,
    )
    if record.completed:
        message.CompletedAt.CopyFrom(_moment(record.completed))
    if record.error is not None:
        code, words = record.error
        message.error.CopyFrom(m.Status(code=code, message=words))
    if len(results) == 1:
        message.Result.CopyFrom(next(iter(results.values())))
    for platform, result in results.items() if len(results) > 1 else ():
        message.Results[platform].CopyFrom(result)
    return m.BuildHistoryEvent(type=kind, record=message)


def _said(entries: list[Descriptor]) -> Any:
    return m.BuildResultInfo(
        Attestations=[
            m.Descriptor(
                media_type=entry.media_type, digest=entry.digest, size=entry.size, annotations=entry.annotations or {}
            )
            for entry in entries
        ]
    )


def _moment(time: int) -> Any:
    seconds, nanos = divmod(time, SECOND)
    return m.Timestamp(seconds=seconds, nanos=nanos)
