"""The keys that let a client go: ``ctrl-p,ctrl-q``, ``a``, ``ctrl-@`` as the bytes a terminal sends for them."""

import re

from sampan.errors import EngineError

_CONTROL = re.compile(r"ctrl-([a-z@\[\\\]^_])")


def parse_detach_keys(text: str) -> bytes:
    """Bytes of a comma-separated list of keys; raises EngineError, which dockerd calls its own."""
    keys = bytearray()
    for key in text.split(","):
        if match := _CONTROL.fullmatch(key):
            keys.append(ord(match[1].upper()) & 0x1F)
        elif len(key) == 1 and key.isascii():
            keys += key.encode()
        else:
            raise EngineError(f"Invalid escape keys ({text}) provided")
    return bytes(keys)
