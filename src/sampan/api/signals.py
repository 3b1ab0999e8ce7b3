"""Signals by the names and numbers that users write: ``KILL``, ``SIGKILL``, ``9``, ``RTMIN+3``."""

import signal
from collections.abc import Mapping

from sampan.errors import InvalidParameter

RTMIN, RTMAX = 34, 64
"""The C library keeps 32 and 33 to itself."""


def _table() -> dict[str, int]:
    names = {entry.name.removeprefix("SIG"): int(entry) for entry in signal.Signals}
    names |= {"CLD": int(signal.SIGCHLD), "IOT": int(signal.SIGABRT), "STKFLT": 16, "UNUSED": 31}
    names |= {"RTMIN": RTMIN, "RTMAX": RTMAX}
    names |= {f"RTMIN+{step}": RTMIN + step for step in range(1, 16)}
    names |= {f"RTMAX-{step}": RTMAX - step for step in range(1, 15)}
    return names


BY_NAME: Mapping[str, int] = _table()


def parse_signal(text: str) -> int:
    """The number of a signal given by number or by name, with or without ``SIG``; raises InvalidParameter."""
    if text.isascii() and text.isdecimal() and len(text) < 4:
        number = int(text)
    else:
        number = BY_NAME.get(text.upper().removeprefix("SIG"), 0)
    if number > RTMAX:
        raise InvalidParameter(f"the linux daemon does not support signal {number}")
    if number < 1:
        raise InvalidParameter(f"invalid signal: {text}")
    return number
