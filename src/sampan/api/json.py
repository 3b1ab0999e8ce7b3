"""JSON bodies as Docker reads and writes them.

Go's ``encoding/json`` reads requests more freely than msgspec: a member's name matches whatever its case, ``null``
stands for the zero value, unknown members are passed over. ``decode`` brings a body into msgspec's form by walking
it beside a plan made once per type:

    Plan(members={"hostconfig": ("HostConfig", Plan(…)), …})      a struct
    Plan(each=Plan(…))                                            a list or mapping of what needs a plan
    Plan(words=True)                                              strings that may be one string (Cmd)
"""

import re
import types
import typing
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec

from sampan.api.malformed import explain
from sampan.errors import InvalidParameter

T = TypeVar("T")

LIMIT = 4 << 20
"""Bytes of the largest JSON body that is read."""

WORDS = frozenset({"Cmd", "Entrypoint", "Shell"})
"""Lists of strings that may also be given as one string (Docker's StrSlice)."""

_encoder = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """``value`` as JSON with a line end, as Docker writes response bodies."""
    return _encoder.encode(value) + b"\n"


def quote(text: str) -> str:
    """``text`` in double quotes, as Go's ``%q`` shows it."""
    return msgspec.json.encode(text).decode()


@dataclass(frozen=True)
class Plan:
    """How to bring a decoded value into the form that msgspec converts; see the module's docstring."""

    members: dict[str, tuple[str, "Plan | None"]] = field(default_factory=dict)
    each: "Plan | None" = None
    words: bool = False


def decode(body: bytes, type_: type[T]) -> T:
    """``body`` as a ``type_``; raises InvalidParameter with a sentence that names the field."""
    return convert(decode_value(body), type_)


def decode_parameter(text: str) -> Any:
    """A parameter's JSON as plain values; raises InvalidParameter with what is wrong with it and no more."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidParameter(explain(text.encode())) from error


def decode_value(body: bytes) -> Any:
    """``body`` as plain values; raises InvalidParameter."""
    if not body.strip():
        raise InvalidParameter("invalid JSON: EOF")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if "trailing characters" in str(error):
            raise InvalidParameter("unexpected content after JSON") from error
        raise InvalidParameter(f"invalid JSON: {explain(body)}") from error


def convert(value: Any, type_: type[T]) -> T:
    """A decoded ``value`` as a ``type_`` by Go's rules; raises InvalidParameter."""
    try:
        return msgspec.convert(normalise(value, plan_of(cast(Hashable, type_))), type_)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"invalid JSON: {_where(str(error))}") from error


_MISMATCH = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$\.?([^`]*)`)?")
GO_TYPES = {"str": "string", "int": "int64", "float": "float64", "array": "slice", "object": "struct"}
"""msgspec's name of a type that is expected, and Go's."""
GO_VALUES = {"str": "string", "int": "number", "float": "number"}
"""msgspec's name of what was found, and Go's."""


def _where(error: str) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.HostConfig.Memory`" as Go says it."""
    match = _MISMATCH.fullmatch(error)
    if match is None:
        return error
    expected, found = match[1].split(" | ")[0], GO_VALUES.get(match[2], match[2])
    place = f"struct field .{match[3]}" if match[3] else "value"
    return f"json: cannot unmarshal {found} into Go {place} of type {GO_TYPES.get(expected, expected)}"


def normalise(value: Any, plan: Plan | None) -> Any:
    """``value`` with members by their proper names, without ``null`` and without what nobody reads."""
    if plan is None:
        return value
    if isinstance(value, str) and plan.words:
        return [value]
    if isinstance(value, list):
        return [{} if item is None and plan.each else normalise(item, plan.each) for item in value]
    if not isinstance(value, dict):
        return {} if value is None and plan.members else value
    if plan.members:
        return _members(value, plan.members)
    return {key: normalise(item, plan.each) for key, item in value.items()}


def _members(value: dict[str, Any], members: dict[str, tuple[str, Plan | None]]) -> dict[str, Any]:
    known = {}
    for key, item in value.items():
        entry = members.get(key.lower())
        if entry is not None and item is not None:
            known[entry[0]] = normalise(item, entry[1])
    return known


@cache
def plan_of(type_: Hashable) -> Plan | None:
    """The plan for ``type_``; ``None`` when msgspec can take the value as it is."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return Plan(members=_members_of(type_))
    if get_origin(type_) in (Union, types.UnionType):
        plans = [plan for plan in map(plan_of, get_args(type_)) if plan]
        return plans[0] if plans else None
    if get_origin(type_) in (list, dict):
        each = plan_of(get_args(type_)[-1])
        return Plan(each=each) if each else None
    return None


def _members_of(struct: type[msgspec.Struct]) -> dict[str, tuple[str, Plan | None]]:
    hints = typing.get_type_hints(struct)
    names = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    return {
        name.lower(): (name, Plan(words=True) if name in WORDS else plan_of(hints[attribute]))
        for attribute, name in names
    }
