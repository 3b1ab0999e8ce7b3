"""What builds keep on disk, as ``docker system df`` and ``docker builder prune`` have it.

regular           a step's result, by the beginning of its key
exec.cachemount   a directory of RUN --mount=type=cache
source.local      what a client sent of its context
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sampan.api.system import BuildCache, BuildCacheUsage
from sampan.api.times import format_time
from sampan.build.cache import Cache
from sampan.build.kept import Kept, drop, kept_in
from sampan.storage.store import Storage

SHOWN = 25
TYPES = ("regular", "exec.cachemount", "source.local")


@dataclass(frozen=True, slots=True)
class Item:
    """Something kept: as the API has it, when it was last used, and how it goes (False: it is in use)."""

    record: BuildCache
    used_at: int
    drop: Callable[[], bool]


def items(storage: Storage, data_root: Path) -> list[Item]:
    """Everything kept, the longest unused first."""
    found = [*_steps(storage)]
    for name, kind, what in (
        ("mounts", "exec.cachemount", "cached mount {} from exec"),
        ("contexts", "source.local", "local source for {}"),
    ):
        found += [_directory(kept, kind, what) for kept in kept_in(data_root / "build" / name)]
    return sorted(found, key=lambda item: item.used_at)


def usage(storage: Storage, data_root: Path) -> BuildCacheUsage:
    """The build cache's part of ``GET /system/df``."""
    records = [item.record for item in items(storage, data_root)]
    return BuildCacheUsage(
        active_count=sum(record.in_use for record in records),
        items=records,
        reclaimable=sum(record.size for record in records if not record.in_use and not record.shared),
        total_count=len(records),
        total_size=sum(record.size for record in records if not record.shared),
    )


def _steps(storage: Storage) -> Iterator[Item]:
    """Steps' results; one whose layer an image has too is shared, and costs nothing of its own."""
    cache, needed = Cache(storage), storage.images.needed_blobs()
    for key, entry in cache.entries():
        record = BuildCache(
            id=key[:SHOWN],
            type="regular",
            description=entry.description,
            shared=entry.layer is not None and entry.layer.digest in needed,
            size=entry.size,
            created_at=format_time(entry.stored_at),
            last_used_at=format_time(entry.used_at),
            usage_count=entry.uses,
        )
        yield Item(record, entry.used_at, _dropper(cache, key))


def _dropper(cache: Cache, key: str) -> Callable[[], bool]:
    def forget() -> bool:
        cache.drop(key)
        return True

    return forget


def _directory(kept: Kept, kind: str, what: str) -> Item:
    record = BuildCache(
        id=kept.path.name[-SHOWN:],
        type=kind,
        description=what.format(kept.description),
        in_use=kept.in_use,
        size=kept.size,
        created_at=format_time(kept.stored_at),
        last_used_at=format_time(kept.used_at),
    )
    return Item(record, kept.used_at, lambda: drop(kept.path))
