"""Go's ``filepath.Match`` and the patterns of ``.dockerignore``, as regular expressions.

*  any run without /     ?  one character but /     [a-z] [^a-z]  a class     \\c  the character c
**  (ignore patterns only) any number of directories, none included
"""

import re
from functools import lru_cache

from sampan.errors import InvalidParameter


class BadPattern(InvalidParameter):
    """A pattern that Go calls malformed."""

    def __init__(self, pattern: str) -> None:
        super().__init__(f"syntax error in pattern: {pattern}")


def has_wildcards(path: str) -> bool:
    """Whether ``path`` is a pattern rather than a name."""
    return any(character in path for character in "*?[\\")


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str, *, deep: bool = False) -> re.Pattern[str]:
    """The expression to ``fullmatch`` with a slash-separated path; ``deep`` gives ``**`` its meaning.

    Raises ``BadPattern``.
    """
    out: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if deep and pattern.startswith("**", position):
            position, piece = _stars(pattern, position)
            out.append(piece)
            continue
        if character == "[":
            position, piece = _bracket(pattern, position)
            out.append(piece)
            continue
        position += 1
        if character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "\\":
            if position == len(pattern):
                raise BadPattern(pattern)
            out.append(re.escape(pattern[position]))
            position += 1
        else:
            out.append(re.escape(character))
    return re.compile("".join(out), re.DOTALL)


def _stars(pattern: str, position: int) -> tuple[int, str]:
    """``**`` with the slash behind it: any directories; at the end: anything."""
    while pattern.startswith("*", position):
        position += 1
    if pattern.startswith("/", position):
        position += 1
    return position, ".*" if position == len(pattern) else "(?:.*/)?"


def _bracket(pattern: str, start: int) -> tuple[int, str]:
    position = start + 1
    negated = pattern.startswith("^", position)
    position += negated
    parts: list[str] = []
    while position < len(pattern) and (pattern[position] != "]" or not parts):
        position, low = _member(pattern, position)
        high = low
        if pattern.startswith("-", position):
            position, high = _member(pattern, position + 1)
        parts.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    if position >= len(pattern) or not parts:
        raise BadPattern(pattern)
    inner = "".join(parts)
    if not inner:
        return position + 1, "[^/]" if negated else "(?!)"
    return position + 1, f"(?!/)[{'^' if negated else ''}{inner}]"


def _member(pattern: str, position: int) -> tuple[int, str]:
    if position >= len(pattern) or pattern[position] in "-]":
        raise BadPattern(pattern)
    if pattern[position] == "\\":
        position += 1
        if position >= len(pattern):
            raise BadPattern(pattern)
    return position + 1, pattern[position]
