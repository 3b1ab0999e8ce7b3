"""Points in time and durations as the API writes them; inside, integers of nanoseconds since 1970.

RFC 3339          2026-11-23T20:31:05.123456789Z      what responses carry (trailing zeros left out)
unix              1700000000  1700000000.123456789    since, until
local             2026-11-23T20:31  2026-11-23        taken as UTC
duration          10m  1h30m  1.5s                    before now: since, until and filters
"""

import re
import time
from calendar import timegm
from datetime import datetime

from sampan.errors import InvalidParameter

ZERO = "0001-01-01T00:00:00Z"
SECOND = 1_000_000_000
UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6,
    "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND,
}  # fmt: skip

_UNIX = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9})\d*)?", re.ASCII)
_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?)?"
    r"(Z|z|[+-]\d\d:\d\d)?",
    re.ASCII,
)
_PART = re.compile(r"(\d{1,12})(?:\.(\d{0,9})\d*)?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"([+-]?)((?:{_PART.pattern})+|0)", re.ASCII)


def format_time(nanoseconds: int) -> str:
    """A point in time as RFC 3339 in UTC, as Go's RFC3339Nano writes it; 0 is the zero time."""
    if not nanoseconds:
        return ZERO
    seconds, fraction = divmod(nanoseconds, SECOND)
    tail = f".{fraction:09}".rstrip("0") if fraction else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + tail + "Z"


def format_time_fixed(nanoseconds: int) -> str:
    """A point in time with all nine digits, as log lines begin with."""
    seconds, fraction = divmod(nanoseconds, SECOND)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09}Z"


def parse_time(text: str) -> int:
    """RFC 3339, or a prefix of it down to the day, in nanoseconds; UTC when no zone is given.

    Raises InvalidParameter.
    """
    if text == ZERO:
        return 0
    match = _DATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        datetime(year, month, day, hour, minute, min(second, 59))
    except ValueError:
        raise InvalidParameter(f"invalid time {text!r}: expected RFC 3339") from None
    seconds = timegm((year, month, day, hour, minute, second)) - _offset(match[8])
    return seconds * SECOND + _fraction(match[7])


def _offset(zone: str | None) -> int:
    if zone is None or zone in "Zz":
        return 0
    offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
    return -offset if zone[0] == "-" else offset


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))


def format_duration(nanoseconds: int) -> str:
    """A duration as Go prints it: ``1m30s``, ``1.5s``, ``250ms``, ``0s``."""
    seconds, rest = divmod(nanoseconds, SECOND)
    if not seconds:
        unit = next((unit for unit in ("ms", "µs", "ns") if rest >= UNITS[unit]), "s")
        return f"{decimal(rest, UNITS[unit])}{unit}"
    hours, minutes = seconds // 3600, seconds // 60 % 60
    large = (f"{hours}h" if hours else "") + (f"{minutes}m" if seconds >= 60 else "")
    return f"{large}{decimal(nanoseconds % UNITS['m'], SECOND)}s"


def decimal(value: int, unit: int) -> str:
    """``value`` in units, with no more digits than it needs."""
    whole, rest = divmod(value, unit)
    digits = len(str(unit)) - 1
    return f"{whole}" + (f".{rest:0{digits}}".rstrip("0") if rest else "")


def parse_duration(text: str) -> int:
    """Go's duration, ``1h30m`` or ``-1.5s``, in nanoseconds; raises InvalidParameter."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise InvalidParameter(f"invalid duration {text!r}")
    total = sum(
        int(whole) * UNITS[unit] + _fraction(part) * UNITS[unit] // SECOND
        for whole, part, unit in _PART.findall(match[2])
    )
    return -total if match[1] == "-" else total


def parse_moment(text: str, now: int) -> int:
    """What ``since`` and ``until`` may hold, in nanoseconds: Unix seconds, RFC 3339, or a duration before ``now``.

    Raises InvalidParameter.
    """
    if match := _UNIX.fullmatch(text):
        moment = int(match[2]) * SECOND + _fraction(match[3])
        return -moment if match[1] else moment
    if _DURATION.fullmatch(text):
        return now - parse_duration(text)
    if "-" not in text and not _DATE.fullmatch(text):
        seconds = text.partition(".")[0]
        raise InvalidParameter(
            f'failed to parse value as time or duration: invalid seconds "{seconds}": invalid syntax'
        )
    return parse_time(text)
