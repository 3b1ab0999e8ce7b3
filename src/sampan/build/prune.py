"""What of the build cache goes: the longest unused first, until a size is kept, or all that filters name.

    reserved space   so much is kept in any case
    max used space   no more than that is kept
    min free space   so much of the disk is to be free

Source: moby/buildkit cache/manager.go, calculateKeepBytes.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sampan.api.build import BuildPruneOptions
from sampan.api.filters import Filters
from sampan.api.system import BuildCache, BuildCachePruneReport
from sampan.api.times import parse_moment
from sampan.build.usage import Item, items
from sampan.errors import InvalidParameter
from sampan.storage.store import Storage

FILTERS = ("until", "unused-for", "id", "type", "description", "inuse", "shared", "private", "label", "label!")
"""The last two are taken, as a prune of the whole system hands them on, and select nothing: records have no labels."""
SWITCHES: Mapping[str, Callable[[BuildCache], bool]] = {
    "inuse": lambda record: record.in_use,
    "shared": lambda record: record.shared,
    "private": lambda record: not record.shared,
}


def prune(storage: Storage, data_root: Path, options: BuildPruneOptions) -> BuildCachePruneReport:
    """Drop what is meant and not in use, and collect what only it kept. Raises InvalidParameter for unknown filters."""
    check_filters(options.filters)
    dropped = _drop(items(storage, data_root), shutil.disk_usage(data_root).free, options)
    reclaimed = sum(item.record.size for item in dropped if item.record.type != "regular")
    collected = storage.collect()
    names = [item.record.id for item in dropped]
    return BuildCachePruneReport(names or None, reclaimed + collected.layers_size + collected.blobs_size)


def collect(storage: Storage, data_root: Path, policies: Sequence[BuildPruneOptions]) -> int:
    """Drop what each of ``policies`` means, one after the other; returns how many went. Blocks."""
    left, dropped = items(storage, data_root), 0
    for policy in policies:
        gone = _drop(left, shutil.disk_usage(data_root).free, policy)
        left = [item for item in left if item not in gone]
        dropped += len(gone)
    if dropped:
        storage.collect()
    return dropped


def _drop(everything: Sequence[Item], free: int, options: BuildPruneOptions) -> list[Item]:
    """Drop what is meant, the longest unused first, until no more need go."""
    total = sum(_own_size(item) for item in everything)
    keep = kept_bytes(total, free, options)
    dropped: list[Item] = []
    for item in everything:
        if keep is not None and total <= keep:
            break
        if is_meant(item, options) and item.drop():
            dropped.append(item)
            total -= _own_size(item)
    return dropped


def _own_size(item: Item) -> int:
    """What an image has too costs nothing here."""
    return 0 if item.record.shared else item.record.size


def kept_bytes(total: int, free: int, options: BuildPruneOptions) -> int | None:
    """How much of a cache of ``total`` bytes, on a disk with ``free`` ones, may stay; None: all that is meant goes."""
    most, least_free = options.max_used_space, options.min_free_space
    if not (most or least_free or options.reserved_space):
        return None
    kept = most
    if least_free > free:
        kept = min(most or total, total - (least_free - free))
    elif least_free and not most:
        kept = total
    return max(kept, options.reserved_space)


def check_filters(filters: Filters) -> None:
    """Raise InvalidParameter for a filter that is not known."""
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


def is_meant(item: Item, options: BuildPruneOptions) -> bool:
    """Whether the filters select the item."""
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
