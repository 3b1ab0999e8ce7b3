"""Values of options: sizes, numbers and truth as Go and Docker's go-units read them.

Each raises InvalidParameter with the sentence it is given, in which ``{}`` stands for the text.
"""

import re
from collections.abc import Mapping

from sampan.errors import InvalidParameter

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.ASCII | re.IGNORECASE)
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
TRUTH: Mapping[str, bool] = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)


def boolean(text: str, told: str = "") -> bool:
    """Go's strconv.ParseBool."""
    if text not in TRUTH:
        raise InvalidParameter(told)
    return TRUTH[text]


def number(text: str, told: str = "") -> int:
    """Go's strconv.Atoi."""
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise InvalidParameter(told.format(text))
    return int(text)


def size(text: str, told: str = "", base: int = 1024) -> int:
    """Bytes of ``64m``: units of 1024 (go-units RAMInBytes)."""
    found = SIZE.fullmatch(text)
    if found is None:
        raise InvalidParameter(told.format(text))
    return int(float(found[1]) * base ** POWERS[found[2].lower()])


def decimal_size(text: str, told: str = "") -> int:
    """Bytes of ``64m``: units of 1000 (go-units FromHumanSize), in which logs are measured."""
    return size(text, told, 1000)
