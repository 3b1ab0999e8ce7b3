"""The command line of an OCI runtime, read as runc reads it: flags first, the first other word ends them.

``--flag value``, ``--flag=value``, ``-flag value`` are one; booleans take ``=true`` or ``=false``.
"""

from collections.abc import Mapping, Sequence

import msgspec

from sampan.errors import InvalidParameter

_TRUTH = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


class Switch:
    """A flag without a value."""


class Text:
    """A flag with a value; the last one counts."""


class Texts:
    """A flag that may be given several times."""


Kind = type[Switch] | type[Text] | type[Texts]


class Arguments(msgspec.Struct):
    """What was read: switches set, and those given at all, values, and the words after the flags."""

    switches: set[str] = msgspec.field(default_factory=set)
    given: set[str] = msgspec.field(default_factory=set)
    values: dict[str, list[str]] = msgspec.field(default_factory=dict)
    words: list[str] = msgspec.field(default_factory=list)

    def flag(self, name: str, default: bool) -> bool:
        """Whether a switch is set, where it is given at all."""
        return name in self.switches if name in self.given else default

    def on(self, name: str) -> bool:
        """Whether a switch is set."""
        return name in self.switches

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag."""
        return self.values.get(name, [default])[-1]

    def texts(self, name: str) -> list[str]:
        """All values of a flag."""
        return self.values.get(name, [])

    def number(self, name: str) -> int | None:
        """The value of a flag as a number; None where it was not given."""
        if name not in self.values:
            return None
        try:
            return int(self.text(name))
        except ValueError:
            raise InvalidParameter(f'invalid value "{self.text(name)}" for flag -{name}: not a number') from None


def parse(
    words: Sequence[str], table: Mapping[str, Kind], short: Mapping[str, str], *, anywhere: bool = False
) -> Arguments:
    """Read ``words``; ``short`` maps other spellings to names. Raises InvalidParameter for an unknown flag.

    The first word ends the flags, unless they may stand ``anywhere``.
    """
    found = Arguments()
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if word == "--":
            break
        if word.startswith("-") and word != "-":
            _flag(found, word, remaining, table, short)
            continue
        found.words.append(word)
        if not anywhere:
            break
    found.words += remaining
    return found


def _flag(
    found: Arguments, word: str, remaining: list[str], table: Mapping[str, Kind], short: Mapping[str, str]
) -> None:
    name, equals, value = word.lstrip("-").partition("=")
    name = short.get(name, name)
    if name not in table:
        raise InvalidParameter(f"flag provided but not defined: -{name}")
    if table[name] is Switch:
        _switch(found, name, value if equals else "true")
        return
    if not equals:
        if not remaining:
            raise InvalidParameter(f"flag needs an argument: -{name}")
        value = remaining.pop(0)
    found.values.setdefault(name, []).append(value)


def _switch(found: Arguments, name: str, value: str) -> None:
    if value.lower() not in _TRUTH:
        raise InvalidParameter(f'invalid boolean value "{value}" for flag -{name}')
    found.given.add(name)
    (found.switches.add if _TRUTH[value.lower()] else found.switches.discard)(name)
