"""Identifiers and names of objects: 64 hexadecimal digits, twelve of them when short, and what a name may be."""

import re
import secrets

from sampan.errors import InvalidParameter

LENGTH, SHORT = 64, 12
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{1,64}", re.ASCII)


def generate() -> str:
    """A new identifier; never one whose short form is a decimal number, which would not do as a host name."""
    while True:
        identifier = secrets.token_hex(LENGTH // 2)
        if not identifier[:SHORT].isdecimal():
            return identifier


def short(identifier: str) -> str:
    """The first twelve digits of an identifier or digest, its algorithm left out."""
    return identifier.rpartition(":")[2][:SHORT]


def is_prefix(text: str) -> bool:
    """Whether ``text`` can be the beginning of an identifier."""
    return _HEX.fullmatch(text) is not None


def check_container_name(name: str) -> str:
    """``name`` without its leading slash; raises InvalidParameter for what cannot be a name."""
    bare = name.removeprefix("/")
    if not NAME.fullmatch(bare):
        raise InvalidParameter(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return bare
