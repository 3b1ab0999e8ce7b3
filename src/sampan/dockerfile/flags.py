"""``--flag=value`` words of an instruction against the flags it knows."""

from collections.abc import Mapping
from enum import Enum

from sampan.dockerfile.source import ParseError
from sampan.dockerfile.suggest import suggestion


class Kind(Enum):
    BOOL = "bool"
    STRING = "string"
    STRINGS = "strings"  # may be repeated


class Flags:
    """The flags given to one instruction; a flag not given answers empty, ``False`` or ``None``."""

    def __init__(self, words: tuple[str, ...], known: Mapping[str, Kind]) -> None:
        """Raises ``ParseError`` for an unknown, repeated or ill-valued flag."""
        self._values: dict[str, list[str]] = {}
        for word in words:
            name, equals, value = word.partition("=")
            kind = known.get(name[2:])
            if kind is None:
                raise ParseError(f"unknown flag: {name}{suggestion(name[2:], known)}")
            if name[2:] in self._values and kind is not Kind.STRINGS:
                raise ParseError(f"duplicate flag specified: {name}")
            if (equals and not value and kind is Kind.BOOL) or (not equals and kind is not Kind.BOOL):
                raise ParseError(f"missing a value on flag: {name}")
            if kind is Kind.BOOL and value.lower() not in ("", "true", "false"):
                raise ParseError(f"expecting boolean value for flag {name}, not: {value}")
            self._values.setdefault(name[2:], []).append(value)

    def string(self, name: str) -> str:
        return self._values.get(name, [""])[0]

    def strings(self, name: str) -> tuple[str, ...]:
        return tuple(self._values.get(name, ()))

    def given(self, name: str) -> bool | None:
        """True or false as written, None if not written."""
        return self.string(name).lower() != "false" if name in self._values else None

    def true(self, name: str) -> bool:
        return self.given(name) is True
