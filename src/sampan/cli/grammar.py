"""Docker's command-line grammar (that of Go's pflag) as a table of flags and one short parser.

    --name value   --name=value   --bool   --bool=false   -n value   -nvalue   -it (joined booleans)   --

A command says whether flags may follow the first argument (``docker ps x --all``) or not (``docker run image --flag``).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sampan.errors import EngineError

TRUE = {"1", "t", "true"}
FALSE = {"0", "f", "false"}


class UsageError(EngineError):
    """The command line is wrong; docker exits with 125 (run) or 1."""


class Flag(NamedTuple):
    """One flag: long name, one-letter name, what it takes, and one line of help."""

    name: str
    short: str = ""
    kind: str = "bool"  # bool, string, int, list
    help: str = ""

    @property
    def initial(self) -> Any:
        """Value when the flag is not given."""
        return {"bool": False, "string": "", "int": None, "list": []}[self.kind]


class Command(NamedTuple):
    """One command: its words, arguments, flags and the function that does it."""

    name: str
    usage: str
    help: str
    run: Callable[["Call"], int]
    flags: tuple[Flag, ...] = ()
    interspersed: bool = True
    minimum: int = 0
    maximum: int | None = None


class Call:
    """A parsed command line; ``host`` is what ``-H`` named."""

    def __init__(self, flags: dict[str, Any]) -> None:
        self.flags = flags
        self.arguments: list[str] = []
        self.given: set[str] = set()
        self.host = ""

    def __getitem__(self, name: str) -> Any:
        return self.flags[name]


def boolean(name: str, text: str) -> bool:
    """Go's ParseBool for a flag's value."""
    if text.lower() not in TRUE | FALSE:
        raise UsageError(f'invalid argument "{text}" for "--{name}" flag: parse error')
    return text.lower() in TRUE


def convert(flag: Flag, text: str) -> Any:
    """``text`` as the flag's kind; raises UsageError naming the flag."""
    if flag.kind == "bool":
        return boolean(flag.name, text)
    if flag.kind == "int":
        try:
            return int(text)
        except ValueError:
            raise UsageError(f'invalid argument "{text}" for "--{flag.name}" flag: expected a number') from None
    return text


class Parser:
    """Walks the words of one command line once."""

    def __init__(self, flags: Sequence[Flag], interspersed: bool) -> None:
        self.long = {flag.name: flag for flag in flags}
        self.short = {flag.short: flag for flag in flags if flag.short}
        self.interspersed = interspersed
        self.call = Call({flag.name: flag.initial for flag in flags})

    def parse(self, words: Sequence[str]) -> Call:
        """Flags and arguments of ``words``; raises UsageError for an unknown flag or a missing value."""
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                self.call.arguments += rest
                break
            if word.startswith("--"):
                self.long_flag(word[2:], rest)
            elif word.startswith("-") and word != "-":
                self.short_flags(word[1:], rest)
            else:
                self.call.arguments.append(word)
                if not self.interspersed:
                    self.call.arguments += rest
                    break
        return self.call

    def long_flag(self, word: str, rest: list[str]) -> None:
        """``name``, ``name=value`` or ``name`` followed by its value."""
        name, equals, value = word.partition("=")
        flag = self.long.get(name)
        if flag is None:
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            value = "true" if flag.kind == "bool" else self.next_word(f"--{name}", rest)
        self.store(flag, value)

    def short_flags(self, letters: str, rest: list[str]) -> None:
        """``it``, ``p80:80`` or ``p`` followed by its value."""
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self.short.get(letter)
            if flag is None:
                raise UsageError(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
            if flag.kind != "bool":
                self.store(flag, letters.removeprefix("=") or self.next_word(f"-{letter}", rest))
                return
            if letters.startswith("="):
                self.store(flag, letters[1:])
                return
            self.store(flag, "true")

    def next_word(self, flag: str, rest: list[str]) -> str:
        """The word after a flag that needs a value."""
        if not rest:
            raise UsageError(f"flag needs an argument: {flag}")
        return rest.pop(0)

    def store(self, flag: Flag, text: str) -> None:
        """Record a value; a list collects."""
        value = convert(flag, text)
        self.call.flags[flag.name] = [*self.call.flags[flag.name], value] if flag.kind == "list" else value
        self.call.given.add(flag.name)


def parse(command: Command, words: Sequence[str]) -> Call:
    """Parse the words behind a command's name and check how many arguments there are."""
    call = Parser(command.flags, command.interspersed).parse(words)
    count = len(call.arguments)
    if count < command.minimum or (command.maximum is not None and count > command.maximum):
        raise UsageError(
            f'"sampan {command.name}" does not accept {count} arguments.\n\nUsage:  sampan {command.usage}'
        )
    return call
