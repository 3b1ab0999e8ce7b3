"""Versions of the API: which are served, how they compare, what is said about the others."""

import re
from typing import NamedTuple

from sampan.errors import InvalidParameter


class Version(NamedTuple):
    """A version of the API; compares by number."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


OLDEST = Version(1, 24)
NEWEST = Version(1, 55)

_VERSION = re.compile(r"(\d{1,4})(?:\.(\d{0,4}))?(?:\.\d{0,9})?", re.ASCII)


def parse(text: str) -> Version:
    """``"1.44"`` as a version, a number that is missing is 0; raises InvalidParameter."""
    match = _VERSION.fullmatch(text)
    if not match:
        raise InvalidParameter(f"invalid API version: {text}")
    return Version(int(match[1]), int(match[2] or 0))


def check(version: Version, oldest: Version = OLDEST, newest: Version = NEWEST) -> None:
    """Raises InvalidParameter for a client's version that is not served."""
    if version < oldest:
        raise InvalidParameter(
            f"client version {version} is too old. Minimum supported API version is {oldest}, "
            "please upgrade your client to a newer version"
        )
    if version > newest:
        raise InvalidParameter(f"client version {version} is too new. Maximum supported API version is {newest}")
