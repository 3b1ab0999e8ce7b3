"""A plan as the C program reads it (native/plan.c).

Little endian, everything aligned to 8:

    "SMPN" u32 version u32 count u32 0     { u16 code, u16 0, u32 size of the arguments, arguments }*
    an int      i64
    str, bytes  u32 length, the bytes, NUL, padding to 8
    strings     as bytes: each string followed by NUL
"""

import struct
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from sampan.errors import InvalidParameter
from sampan.runtime.plan import Execute, Operation

MAGIC = b"SMPN"
VERSION = 1


def encode(operations: Iterable[Operation]) -> bytes:
    """The plan as the C program reads it. Raises InvalidParameter for a string with a NUL inside."""
    bodies = [_body(operation) for operation in operations]
    return struct.pack("<4sIII", MAGIC, VERSION, len(bodies), 0) + b"".join(bodies)


def _body(operation: Operation) -> bytes:
    """One operation encoded. Most are the same for every container; a program and its environment are one's own."""
    return _operation(operation) if isinstance(operation, Execute) else _remembered(operation)


def _operation(operation: Operation) -> bytes:
    arguments = b"".join(map(_argument, msgspec.structs.astuple(operation)))
    return struct.pack("<HHI", operation.CODE, 0, len(arguments)) + arguments


_remembered = lru_cache(1024)(_operation)


def _argument(value: int | str | bytes | tuple[str, ...]) -> bytes:
    if isinstance(value, int):
        return struct.pack("<q", value if value < 1 << 63 else value - (1 << 64))
    if isinstance(value, tuple):
        return _blob(b"".join(_text(item) + b"\0" for item in value))
    return _blob(_text(value) if isinstance(value, str) else value)


def _text(value: str) -> bytes:
    raw = value.encode(errors="surrogateescape")
    if b"\0" in raw:
        raise InvalidParameter(f"NUL byte in {value!r}")
    return raw


def _blob(raw: bytes) -> bytes:
    body = struct.pack("<I", len(raw)) + raw + b"\0"
    return body + bytes(-len(body) % 8)
