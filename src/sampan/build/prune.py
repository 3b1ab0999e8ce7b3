"""What of the build cache goes: the longest unused first, until a size is kept, or all that filters name."""

import time

from sampan.api.build import BuildPruneOptions
from sampan.api.system import BuildCachePruneReport
from sampan.api.times import parse_moment
from sampan.build.cache import Cache, Entry
from sampan.storage.store import Storage

FILTERS = ("until", "unused-for", "id", "type", "description", "inuse", "shared", "private")


def prune(storage: Storage, cache: Cache, options: BuildPruneOptions) -> BuildCachePruneReport:
    """Drop entries and collect what only they kept. Raises InvalidParameter for unknown filters."""
    options.filters.validate(FILTERS)
    entries = [(key, entry) for key, entry in cache.entries() if _is_meant(key, entry, options)]
    kept = sum(entry.size for _, entry in cache.entries())
    dropped: list[str] = []
    for key, entry in entries:
        if options.reserved_space and kept <= options.reserved_space:
            break
        cache.drop(key)
        dropped.append(key)
        kept -= entry.size
    collected = storage.collect()
    return BuildCachePruneReport(dropped or None, collected.layers_size + collected.blobs_size)


def _is_meant(key: str, entry: Entry, options: BuildPruneOptions) -> bool:
    identifiers = options.filters.get("id")
    if identifiers and not any(key.startswith(wanted) for wanted in identifiers):
        return False
    return all(
        entry.used_at <= parse_moment(moment, time.time_ns())
        for name in ("until", "unused-for")
        for moment in options.filters.get(name)
    )
