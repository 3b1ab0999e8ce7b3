"""``RUN --mount=type=cache,target=/root/.cache,…``: comma-separated keys, one value.

    type    keys beside target (dst, destination)
    bind    source (src), from, ro/rw                          the default type
    cache   id, source, from, sharing, ro, mode, uid, gid
    tmpfs   size
    secret  id, source, env, required, mode, uid, gid
    ssh     id, required, mode, uid, gid

Checked twice: when the Dockerfile is read (``check_mount``: only that ``from`` has no variable, since it decides
which stages are built), and when the step runs, with variables expanded (``parse_mount``).
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sampan.dockerfile.source import ParseError
from sampan.dockerfile.suggest import suggestion

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
OWNED = ("cache", "secret", "ssh")  # the types that take mode, uid, gid
ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
KEYS = (
    "type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "size", "mode", "uid",
    "gid", "env", *ALIASES,
)  # fmt: skip
BOOLEAN = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


@dataclass(frozen=True, slots=True)
class RunMount:
    """One mount of a RUN step; ``size`` in bytes (0: no limit), ``mode`` None means the type's default."""

    type: str = "bind"
    from_: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = True
    id: str = ""
    sharing: str = ""
    required: bool = False
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    env: str | None = None


@dataclass(slots=True)
class _Draft:
    type: str = "bind"
    values: dict[str, str] = field(default_factory=dict)
    read_only: bool | None = None
    required: bool = False
    size: int = 0
    numbers: dict[str, int] = field(default_factory=dict)


def _fields(text: str) -> Iterator[tuple[str, str, bool, str]]:
    """Key, value, whether there is a value, and the field as written."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ParseError(f"failed to parse csv mounts: {error}") from None
    for word in rows[0] if rows else ():
        key, equals, value = word.partition("=")
        yield key.lower(), value, bool(equals), word


def check_mount(text: str) -> str:
    """The ``from`` of a mount, which may not depend on variables. Raises ``ParseError``."""
    source = ""
    for key, value, _, _ in _fields(text):
        if key == "from":
            if "$" in value[:-1]:
                raise ParseError("'from' doesn't support variable expansion, define alias stage instead")
            source = value
    return source


def parse_mount(text: str, expand: Callable[[str], str]) -> RunMount:
    """The mount that ``text`` describes; ``expand`` replaces variables in values. Raises ``ParseError``."""
    draft = _Draft()
    for key, value, has_value, word in _fields(text):
        _set(draft, key, expand(value) if has_value and key != "from" else value, has_value, word)
    _consistent(draft)
    read_only = draft.read_only if draft.read_only is not None else draft.type not in ("cache", "tmpfs")
    values = draft.values
    return RunMount(
        type=draft.type,
        from_=values.get("from", ""),
        source=values.get("source", ""),
        target=values.get("target", ""),
        read_only=read_only,
        id=values.get("id", ""),
        sharing=values.get("sharing", ""),
        required=draft.required,
        size=draft.size,
        mode=draft.numbers.get("mode"),
        uid=draft.numbers.get("uid"),
        gid=draft.numbers.get("gid"),
        env=values.get("env"),
    )


def _set(draft: _Draft, key: str, value: str, has_value: bool, word: str) -> None:
    name = ALIASES.get(key, key)
    if key not in KEYS and has_value:
        raise ParseError(f"unexpected key '{key}' in '{word}'{suggestion(key, KEYS)}")
    if not has_value and name not in ("readonly", "readwrite", "required"):
        raise ParseError(f"invalid field '{word}' must be a key=value pair")
    if (name == "required" and draft.type not in ("secret", "ssh")) or (name == "size" and draft.type != "tmpfs"):
        raise ParseError(f"unexpected key '{key}' for mount type '{draft.type}'")
    if name in ("readonly", "readwrite", "required"):
        _set_switch(draft, name, _boolean(key, value) if has_value else True)
    elif name == "type":
        draft.type = _known("mount type", value, TYPES)
    elif name == "sharing":
        draft.values["sharing"] = _known("sharing value", value, SHARING)
    elif name == "size":
        draft.size = _size(key, value)
    elif name in ("mode", "uid", "gid"):
        draft.numbers[name] = _number(name, value)
    else:
        draft.values[name] = value


def _set_switch(draft: _Draft, name: str, value: bool) -> None:
    if name == "required":
        draft.required = value
    else:
        draft.read_only = value if name == "readonly" else not value


def _boolean(key: str, value: str) -> bool:
    if value not in BOOLEAN:
        raise ParseError(f"invalid value for {key}: {value}")
    return BOOLEAN[value]


def _known(what: str, value: str, known: tuple[str, ...]) -> str:
    if value.lower() not in known:
        raise ParseError(f'unsupported {what} "{value}"{suggestion(value, known)}')
    return value.lower()


def _number(name: str, value: str) -> int:
    pattern, base = (r"[0-7]{1,11}", 8) if name == "mode" else (r"[0-9]{1,10}", 10)
    if not re.fullmatch(pattern, value) or int(value, base) >= 1 << 32:
        raise ParseError(f"invalid value {value} for {name}")
    return int(value, base)


def _size(key: str, value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s?([kmgtp]?)(?:i?b)?", value, re.IGNORECASE | re.ASCII)
    if match is None:
        raise ParseError(f"invalid value for {key}: {value}")
    return int(float(match[1]) * (1 << UNITS[match[2].lower()]))


def _consistent(draft: _Draft) -> None:
    if draft.type not in OWNED:
        for name in ("mode", "uid", "gid"):
            if name in draft.numbers:
                raise ParseError(f'{name} not allowed for "{draft.type}" type mounts')
    given = draft.values
    if draft.type == "secret":
        if given.get("from"):
            raise ParseError("secret mount should not have a from")
        if given.get("sharing"):
            raise ParseError("secret mount should not define sharing")
        if not (given.get("source") or given.get("target") or given.get("id")):
            raise ParseError("invalid secret mount. one of source, target required")
        if given.get("source") and given.get("id"):
            raise ParseError("both source and id can't be set")
    if given.get("sharing") and draft.type != "cache":
        raise ParseError(f"invalid cache sharing set for {draft.type} mount")
