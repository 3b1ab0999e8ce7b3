"""Go's notation of a duration: ``1h30m``, ``1.5s``, ``-300ms``."""

import re
from fractions import Fraction

from sampan.dockerfile.source import ParseError

NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-zµμ]*)", re.ASCII)
_LARGEST = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """Nanoseconds. Raises ``ParseError`` with Go's sentences (``time: invalid duration "x"``)."""
    sign, rest = (
        (-1 if text.startswith("-") else 1),
        text.removeprefix("-") if text[:1] == "-" else text.removeprefix("+"),
    )
    if rest == "0":
        return 0
    total, position = Fraction(0), 0
    while position < len(rest):
        match = _PART.match(rest, position)
        if match is None or len(match[1]) > 30:
            raise ParseError(f'time: invalid duration "{text}"')
        if not match[2]:
            raise ParseError(f'time: missing unit in duration "{text}"')
        if match[2] not in NANOSECONDS:
            raise ParseError(f'time: unknown unit "{match[2]}" in duration "{text}"')
        total += Fraction(match[1].strip(".") if match[1].endswith(".") else "0" + match[1]) * NANOSECONDS[match[2]]
        position = match.end()
    if not rest or total > _LARGEST:
        raise ParseError(f'time: invalid duration "{text}"')
    return sign * int(total)
