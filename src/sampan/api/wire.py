"""What every wire type shares: how attributes are named on the wire, and when an empty field is left out.

A wire type is a ``Wire`` struct. Its attributes are snake case; the wire's names follow by joining the words,
each capitalised or spelled as ``INITIALISMS`` says; the few irregular names are given field by field.

Emptiness follows Go's ``encoding/json``, which Docker's clients were written against:

    plain default          ``omitempty``: a field that still holds its default is not sent
    present(default)       always sent, also when it is empty (``0``, ``""``, ``null``, ``[]``, ``{}``)

So a value is a plain Python value everywhere, and only its declaration knows about the wire.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

INITIALISMS = {
    "api": "API", "cpu": "CPU", "dns": "DNS", "fs": "FS", "id": "ID", "ids": "IDs", "io": "IO", "ip": "IP",
    "ips": "IPs", "ipam": "IPAM", "ipv4": "IPv4", "ipv6": "IPv6", "oom": "OOM", "os": "OS", "uts": "UTS",
}  # fmt: skip


def wire_name(attribute: str) -> str:
    """The wire's name of ``attribute``: ``global_ipv6_address`` → ``GlobalIPv6Address``, ``id`` → ``Id``."""
    if attribute == "id":
        return "Id"
    words = attribute.rstrip("_").split("_")
    return "".join(INITIALISMS.get(word, word[:1].upper() + word[1:]) for word in words)


def present(default: T) -> T:
    """A field that is sent even when it holds ``default``, an immutable value."""
    field: T = msgspec.field(default_factory=lambda: default)
    return field


def _empty_list() -> list[Any]:  # msgspec omits an empty list only where ``list`` itself is the factory
    return []


def _empty_map() -> dict[str, Any]:
    return {}


def present_list(name: str | None = None) -> Any:
    """A list that is sent as ``[]`` when empty."""
    return msgspec.field(default_factory=_empty_list, name=name)


def present_map(name: str | None = None) -> Any:
    """A mapping that is sent as ``{}`` when empty."""
    return msgspec.field(default_factory=_empty_map, name=name)


def present_struct(factory: Callable[[], T]) -> T:
    """A nested struct that is always sent; ``factory`` makes the one that stands for nothing given."""
    field: T = msgspec.field(default_factory=factory)
    return field


def named(name: str, default: T) -> T:
    """An omitempty field with the irregular wire name ``name``."""
    field: T = msgspec.field(default=default, name=name)
    return field


def present_named(name: str, default: T) -> T:
    """A field that is always sent, under the irregular wire name ``name``."""
    field: T = msgspec.field(default_factory=lambda: default, name=name)
    return field


def omitted_list(name: str | None = None) -> Any:
    """A list that is left out when empty."""
    return msgspec.field(default_factory=list, name=name)


def omitted_map(name: str | None = None) -> Any:
    """A mapping that is left out when empty."""
    return msgspec.field(default_factory=dict, name=name)


class Wire(msgspec.Struct, rename=wire_name, omit_defaults=True):
    """Base of all wire types with Docker's PascalCase names."""


class LowerWire(msgspec.Struct, omit_defaults=True):
    """Base of the wire types whose names are lower case as written (statistics, progress, OCI descriptors)."""
