"""The build cache as ``buildx du`` and ``buildx prune`` have it: records, and the words of a prune.

filter   ``id~=abc,type!=regular,shared``   conditions that all hold; a bare name is true
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sampan.api.build import BuildPruneOptions
from sampan.api.filters import Filters
from sampan.api.system import BuildCache
from sampan.api.times import parse_time
from sampan.build.buildkit import messages as m
from sampan.build.prune import is_meant, prune
from sampan.build.usage import TYPES, items
from sampan.errors import Unsupported
from sampan.storage.store import Storage

SECOND = 1_000_000_000
_CONDITION = re.compile(r"([a-z-]+)(?:(==|~=|!=)(.*))?")
OPERANDS = {"~=": {"id", "description"}, "!=": {"type"}}
"""What can be compared so: a prune looks at the beginning or a part of the first two; there are few types."""
FIELDS = {"id", "parents", "type", "description", "inuse", "mutable", "immutable", "shared", "private"}


def records(storage: Storage, data_root: Path, conditions: Sequence[str]) -> list[Any]:
    """What is kept and meets the conditions, as ``UsageRecord``. Raises Unsupported. Blocks."""
    if not fields_of(conditions) <= FIELDS:
        return []
    options = BuildPruneOptions(all=True, filters=filters_of(conditions, 0))
    return [_record(item.record) for item in items(storage, data_root) if is_meant(item, options)]


def pruned(storage: Storage, data_root: Path, request: Any) -> list[Any]:
    """Prune as a ``PruneRequest`` asks; returns what went. Raises Unsupported, InvalidParameter. Blocks.

    A condition on a field that no record has holds for none.
    """
    if not fields_of(request.filter) <= FIELDS:
        return []
    known = {item.record.id: item.record for item in items(storage, data_root)}
    options = BuildPruneOptions(
        all=request.all,
        reserved_space=request.reservedSpace,
        max_used_space=request.maxUsedSpace,
        min_free_space=request.minFreeSpace,
        filters=filters_of(request.filter, request.keepDuration),
    )
    report = prune(storage, data_root, options)
    return [_record(known[id]) for id in report.caches_deleted or () if id in known]


def fields_of(conditions: Iterable[str]) -> set[str]:
    """The names that conditions begin with."""
    return set(re.findall(r"(?:^|,)([a-z][\w.-]*)", ",".join(conditions), re.IGNORECASE))


def filters_of(conditions: Iterable[str], keep: int) -> Filters:
    """``keep`` in nanoseconds. Raises Unsupported for an operator that is not understood."""
    terms: dict[str, list[str]] = {"until": [f"{keep // SECOND}s"]} if keep else {}
    for condition in ",".join(conditions).split(","):
        if not condition:
            continue
        match = _CONDITION.fullmatch(condition)
        if match is None or match[1] not in OPERANDS.get(match[2], {match[1]}):
            raise Unsupported(f"prune filter {condition!r} is not supported")
        others = [kind for kind in TYPES if kind != match[3]]
        terms.setdefault(match[1], []).extend(others if match[2] == "!=" else [match[3] or "true"])
    return Filters(terms)


def _record(record: BuildCache) -> Any:
    return m.UsageRecord(
        ID=record.id,
        InUse=record.in_use,
        Size=record.size,
        Description=record.description,
        RecordType=record.type,
        Shared=record.shared,
        UsageCount=record.usage_count,
        CreatedAt=_moment(record.created_at),
        LastUsedAt=_moment(record.last_used_at) if record.last_used_at else None,
        Parents=record.parents,
    )


def _moment(text: str) -> Any:
    seconds, nanos = divmod(parse_time(text), SECOND)
    return m.Timestamp(seconds=seconds, nanos=nanos)
