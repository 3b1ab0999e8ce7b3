"""``--chmod``: an octal mode, or chmod(1)'s words (``u=rwX,go=rX``, ``+x``, ``g-w``) applied to a file's own mode.

    who   u g o a, none is a          operator   + - =
    what  r w x s t, X (x where it is a directory or anyone may execute), or one of u g o (that one's bits)

Source: POSIX.1-2017 chmod, "symbolic_mode"; BuildKit applies no umask.
"""

import re
import stat
from dataclasses import dataclass

from sampan.dockerfile.source import ParseError

_CLAUSE = re.compile(r"(?P<who>[ugoa]*)(?P<actions>(?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


@dataclass(frozen=True, slots=True)
class Mode:
    """What ``--chmod`` says: ``octal`` for every file, or ``clauses`` of (who, operator, what)."""

    text: str
    octal: int | None = None
    clauses: tuple[tuple[str, str, str], ...] = ()

    def of(self, mode: int) -> int:
        """The permission bits for a file whose ``st_mode`` is ``mode``."""
        if self.octal is not None:
            return self.octal
        bits = stat.S_IMODE(mode)
        for who, operator, what in self.clauses:
            bits = _applied(bits, who, operator, what, stat.S_ISDIR(mode))
        return bits


def parse_mode(text: str) -> Mode:
    """Raises ``ParseError`` for what is neither."""
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= 0o7777:
        return Mode(text, octal=int(text, 8))
    clauses: list[tuple[str, str, str]] = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ParseError(f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
        who = "ugo" if "a" in match["who"] or not match["who"] else match["who"]
        clauses += [(who, operator, what) for operator, what in _ACTION.findall(match["actions"])]
    return Mode(text, clauses=tuple(clauses))


def _applied(bits: int, who: str, operator: str, what: str, is_directory: bool) -> int:
    given = kept = 0
    for name in set(who):
        given |= _bits_for(bits, name, what, is_directory)
        kept |= 7 << _SHIFTS[name] | {"u": stat.S_ISUID, "g": stat.S_ISGID, "o": 0}[name]
    if "t" in what:
        given |= stat.S_ISVTX
    if operator == "+":
        return bits | given
    return bits & ~given if operator == "-" else bits & ~kept | given


def _bits_for(bits: int, name: str, what: str, is_directory: bool) -> int:
    """The bits that ``what`` means for u, g or o."""
    shift = _SHIFTS[name]
    if what in ("u", "g", "o"):
        return (bits >> _SHIFTS[what] & 7) << shift
    found = 0
    for letter in what:
        if letter == "X":
            found |= int(is_directory or bool(bits & 0o111)) << shift
        elif letter == "s":
            found |= {"u": stat.S_ISUID, "g": stat.S_ISGID, "o": 0}[name]
        else:
            found |= _BITS.get(letter, 0) << shift
    return found
