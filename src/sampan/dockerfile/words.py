"""How the rest of an instruction's line falls into flags, words, pairs or a JSON array."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sampan.dockerfile.source import ParseError

BLANKS = re.compile(r"[\t\v\f\r ]+")
NOT_STRINGS = "when using JSON array syntax, arrays must be comprised of strings only"


@dataclass(frozen=True, slots=True)
class Pair:
    """``key=value`` of ENV or LABEL; ``legacy`` if it was written with a space."""

    key: str
    value: str
    legacy: bool = False


def split_blanks(rest: str) -> list[str]:
    """Words between blanks, quotes not regarded."""
    return BLANKS.split(rest) if rest else []


def split_quoted(rest: str, escape: str) -> list[str]:
    """Words between white space; quotes and escapes are honoured and kept for expansion later."""
    return [word for word, _ in _scan(rest, escape, keep=True)]


def split_flags(rest: str, escape: str) -> tuple[list[str], str]:
    """The leading ``--flags`` with quotes removed, and what follows them; a bare ``--`` ends them."""
    flags: list[str] = []
    position = len(rest) - len(rest.lstrip())
    while rest.startswith("--", position):
        word, length = next(_scan(rest[position:], escape, keep=False), ("", 2))
        position += length
        if word == "--":
            break
        if word:
            flags.append(word)
        position += len(rest[position:]) - len(rest[position:].lstrip())
    return flags, rest[position:].strip()


def _scan(rest: str, escape: str, *, keep: bool) -> Iterator[tuple[str, int]]:
    """Each word and the offset behind it; ``keep`` leaves quotes and escapes in the word."""
    word: list[str] = []
    quote, started, position = "", False, 0
    while position < len(rest):
        character = rest[position]
        position += 1
        if character.isspace() and not quote:
            if started:
                yield "".join(word), position - 1
            word, started = [], False
            continue
        if character == escape and (quote != "'" or not keep):
            if position < len(rest):
                word += [character, rest[position]] if keep else [rest[position]]
                started = True
            position += 1
            continue
        marks = character == quote if quote else character in "'\""
        if marks:
            quote = "" if quote else character
        started = True
        if keep or not marks:
            word.append(character)
    if started:
        yield "".join(word), len(rest)


def json_array(rest: str) -> tuple[str, ...] | None:
    """The strings of a JSON array, or None if ``rest`` is not one. Raises ``ParseError`` for other items."""
    if not rest.lstrip().startswith("["):
        return None
    try:
        items = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in items):
        raise ParseError(NOT_STRINGS)
    return tuple(items)


def pairs(rest: str, instruction: str, escape: str) -> tuple[Pair, ...]:
    """``k=v k=v…``, or the legacy ``k v``, of ENV and LABEL. Raises ``ParseError``."""
    words = split_quoted(rest, escape)
    if not words:
        return ()
    if "=" not in words[0]:
        halves = BLANKS.split(rest, maxsplit=1)
        if len(halves) < 2:
            raise ParseError(f"{instruction} must have two arguments")
        return (Pair(halves[0], halves[1], legacy=True),)
    for word in words:
        if "=" not in word:
            raise ParseError(
                f"Syntax error - can't find = in {json.dumps(word, ensure_ascii=False)}. "
                "Must be of the form: name=value"
            )
    return tuple(Pair(key, value) for key, _, value in (word.partition("=") for word in words))
