"""What of the build cache goes: the longest unused first, until a size is kept, or all that filters name."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sampan.api.build import BuildPruneOptions
from sampan.api.filters import Filters
from sampan.api.system import BuildCache, BuildCachePruneReport
from sampan.api.times import parse_moment
from sampan.build.usage import Item, items
from sampan.errors import InvalidParameter
from sampan.storage.store import Storage

FILTERS = ("until", "unused-for", "id", "type", "description", "inuse", "shared", "private")
SWITCHES: Mapping[str, Callable[[BuildCache], bool]] = {
    "inuse": lambda record: record.in_use,
    "shared": lambda record: record.shared,
    "private": lambda record: not record.shared,
}


def prune(storage: Storage, data_root: Path, options: BuildPruneOptions) -> BuildCachePruneReport:
    """Drop what is meant and not in use, and collect what only it kept. Raises InvalidParameter for unknown filters."""
    _check(options.filters)
    everything = items(storage, data_root)
    kept = sum(item.record.size for item in everything)
    dropped: list[str] = []
    reclaimed = 0
    for item in everything:
        if options.reserved_space and kept <= options.reserved_space:
            break
        if _is_meant(item, options) and item.drop():
            dropped.append(item.record.id)
            kept -= item.record.size
            reclaimed += item.record.size if item.record.type != "regular" else 0
    collected = storage.collect()
    return BuildCachePruneReport(dropped or None, reclaimed + collected.layers_size + collected.blobs_size)


def _check(filters: Filters) -> None:
    try:
        filters.validate(FILTERS)
        for value in filters.get("until"):
            _moment(value)
    except InvalidParameter as error:
        raise error.within("failed to prune build cache") from None


def _moment(text: str) -> int:
    try:
        return parse_moment(text, time.time_ns())
    except InvalidParameter as error:
        expected = "\"until\" filter expects a duration (e.g., '24h') or a timestamp"
        raise error.within(expected) from None


def _is_meant(item: Item, options: BuildPruneOptions) -> bool:
    filters, record = options.filters, item.record
    tests: Mapping[str, Callable[[str], bool]] = {
        "id": lambda value: record.id.startswith(value) or value.startswith(record.id),
        "type": lambda value: record.type == value,
        "description": lambda value: value in record.description,
        "until": lambda value: item.used_at <= parse_moment(value, time.time_ns()),
        "unused-for": lambda value: item.used_at <= parse_moment(value, time.time_ns()),
    }
    if any(name in filters and filters.flag(name) != is_so(record) for name, is_so in SWITCHES.items()):
        return False
    return all(not filters.get(name) or any(test(value) for value in filters.get(name)) for name, test in tests.items())
