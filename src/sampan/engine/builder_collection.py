"""``builder.gc`` of daemon.json: what of the build cache goes by itself.

    {"enabled": true, "defaultReservedSpace": "20GB", "policy": [{"filter": ["unused-for=48h"], "keepStorage": "1GB"}]}

Keys are Go's, whatever their case. Each policy is a prune of its own, in their order; without any there are Docker's,
which keep a tenth of the disk and leave a fifth of it free.

Source: moby daemon/config/builder.go, daemon/internal/builder-next/{controller,worker/gc}.go;
https://docs.docker.com/build/cache/garbage-collection/
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sampan.api.build import BuildPruneOptions
from sampan.api.filters import Filters
from sampan.build.prune import check_filters
from sampan.engine.defaults import parse_size
from sampan.errors import InvalidParameter

GC = "builder.gc"
KEYS = frozenset({"enabled", "policy", "defaultreservedspace", "defaultmaxusedspace", "defaultminfreespace",
                  "defaultkeepstorage"})  # fmt: skip
POLICY_KEYS = frozenset({"all", "filter", "reservedspace", "maxusedspace", "minfreespace", "keepstorage",
                         "keepduration"})  # fmt: skip
RESERVED_PERCENT, USED_PERCENT, FREE_PERCENT = 10, 80, 20
SHORT_LIVED = ("source.local", "exec.cachemount", "source.git.checkout")
"""What is easily made again, and goes when it was not used for two days."""
SHORT_LIVED_SHARE, SHORT_LIVED_LEAST = 0.13817, 512_000_000
TWO_DAYS, SIXTY_DAYS = "48h", "1440h"


def policies_of(builder: Mapping[str, Any], data_root: Path) -> tuple[BuildPruneOptions, ...]:
    """The policies that ``builder`` says, none where it wants no collection. Raises InvalidParameter."""
    gc = _keys(_section(builder, "gc"), KEYS, GC)
    if not gc.get("enabled", True):
        return ()
    if gc.get("policy") is not None:
        return tuple(_policy(rule, f"{GC}.policy[{number}]") for number, rule in enumerate(gc["policy"]))
    return tuple(_defaults(_sizes(gc, "default", GC), data_root))


def _section(builder: Mapping[str, Any], name: str) -> Any:
    return next((value for key, value in builder.items() if key.lower() == name), {})


def _keys(given: Any, known: frozenset[str], where: str) -> dict[str, Any]:
    """The object with its keys in small letters. Raises InvalidParameter for a key that is none."""
    if not isinstance(given, dict):
        raise InvalidParameter(f"{where} is not an object")
    for key in given:
        if key.lower() not in known:
            raise InvalidParameter(f"{where}: unknown key {key!r}")
    return {key.lower(): value for key, value in given.items()}


def _sizes(given: Mapping[str, Any], prefix: str, where: str) -> BuildPruneOptions:
    """The three sizes, in bytes. ``keepStorage`` is the old name of the first."""

    def size(*names: str) -> int:
        for name in names:
            if value := given.get(prefix + name):
                try:
                    return parse_size(value)
                except InvalidParameter as error:
                    raise error.within(f"{where}: failed to parse {prefix}{name}") from None
        return 0

    return BuildPruneOptions(
        reserved_space=size("reservedspace", "keepstorage"),
        max_used_space=size("maxusedspace"),
        min_free_space=size("minfreespace"),
    )


def _policy(rule: Any, where: str) -> BuildPruneOptions:
    given = _keys(rule, POLICY_KEYS, where)
    sizes, terms = _sizes(given, "", where), _terms(given.get("filter") or [], where)
    if given.get("keepduration"):
        terms.setdefault("until", []).append(str(given["keepduration"]))
    try:
        check_filters(Filters(terms))
    except InvalidParameter as error:
        raise error.within(where) from None
    return BuildPruneOptions(
        all=bool(given.get("all")),
        reserved_space=sizes.reserved_space,
        max_used_space=sizes.max_used_space,
        min_free_space=sizes.min_free_space,
        filters=Filters(terms),
    )


def _terms(written: Any, where: str) -> dict[str, list[str]]:
    """``["unused-for=48h"]``, or the older ``{"unused-for": ["48h"]}`` and ``{"unused-for": {"48h": true}}``."""
    if isinstance(written, dict):
        return {name: list(values) for name, values in written.items()}
    terms: dict[str, list[str]] = {}
    for term in written:
        if not isinstance(term, str):
            raise InvalidParameter(f"{where}.filter: {term!r} is not of the form name=value")
        name, _, value = term.partition("=")
        terms.setdefault(name.strip().lower(), []).append(value.strip() or "true")
    return terms


def _defaults(given: BuildPruneOptions, data_root: Path) -> Iterator[BuildPruneOptions]:
    """Docker's policies, with the sizes that were given or those of the disk."""
    reserved, used, free = given.reserved_space, given.max_used_space, given.min_free_space
    if not (reserved or used or free):
        total = shutil.disk_usage(data_root).total
        reserved, used, free = (_share(total, percent) for percent in (RESERVED_PERCENT, USED_PERCENT, FREE_PERCENT))
    short_lived = max(SHORT_LIVED_LEAST, round(reserved * SHORT_LIVED_SHARE))
    filters = Filters({"type": list(SHORT_LIVED), "until": [TWO_DAYS]})
    yield BuildPruneOptions(max_used_space=short_lived, filters=filters)
    for all_of_it, terms in ((False, {"until": [SIXTY_DAYS]}), (False, {}), (True, {})):
        yield BuildPruneOptions(
            all=all_of_it,
            reserved_space=reserved,
            max_used_space=used,
            min_free_space=free,
            filters=Filters(terms),
        )


def _share(total: int, percent: int) -> int:
    """That part of a disk, rounded up to whole gigabytes."""
    return (total * percent // 100 // (1 << 30) + 1) * 1_000_000_000
