"""Compression of layers and archives: told by the first bytes, undone in bounded pieces.

    gzip  1f 8b 08      bzip2  "BZh"      xz  fd "7zXZ" 00      zstd  28 b5 2f fd (and skippable frames)

All decompressors share one shape (``decompress(data, max_length)``, ``needs_input``, ``eof``, ``unused_data``), so
one loop serves all; concatenated members are read through. gzip is done by ISA-L, two to three times zlib's speed.
"""

import bz2
import lzma
import sys
from collections.abc import Callable
from typing import Protocol

from isal import igzip_lib, isal_zlib

from sampan.archive.errors import MalformedArchive
from sampan.archive.reader import CHUNK, Source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_XZ_MEMORY_LIMIT = 256 << 20
_GZIP_WBITS = 31
_MAGIC_LENGTH = 6


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Compressor(Protocol):
    """``compress`` pieces, then ``flush`` once."""

    def compress(self, data: bytes | memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_LIMIT),
    "zstd": zstd.ZstdDecompressor,
}
_COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "gzip": lambda: isal_zlib.compressobj(2, isal_zlib.DEFLATED, _GZIP_WBITS),
    "zstd": lambda: zstd.ZstdCompressor(level=3),
}
_ISAL_ERRORS: tuple[type[Exception], ...] = (isal_zlib.error, igzip_lib.error)  # type: ignore[assignment]
"""The stubs take these classes for instances."""
_ERRORS: tuple[type[Exception], ...] = (
    *_ISAL_ERRORS,
    *(lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError),
)


def detect(head: bytes) -> str | None:
    """The compression whose data begins with ``head`` (6 bytes are enough), None for anything else."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"BZh"):
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    is_skippable = len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") or is_skippable else None


def compressor(kind: str) -> Compressor:
    """A compressor for ``gzip`` or ``zstd``; the same input gives the same bytes."""
    return _COMPRESSORS[kind]()


def decompressed(source: Source) -> Source:
    """``source`` without its compression, whichever it is."""
    head = b""
    while len(head) < _MAGIC_LENGTH and (more := source.read(CHUNK)):
        head += more
    kind = detect(head)
    rest = _Prefixed(head, source)
    return rest if kind is None else _Inflating(rest, kind)


class _Prefixed:
    """A source with bytes put back in front."""

    def __init__(self, head: bytes, source: Source) -> None:
        self._head = head
        self._source = source

    def read(self, size: int, /) -> bytes:
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        return self._source.read(size)


class _Inflating:
    """Reads compressed members one after the other."""

    def __init__(self, source: Source, kind: str) -> None:
        self._source = source
        self._kind = kind
        self._member = _DECOMPRESSORS[kind]()

    def read(self, size: int, /) -> bytes:
        while True:
            if self._member.eof and not self._next_member():
                return b""
            fed = self._feed()
            try:
                data = self._member.decompress(fed, size)
            except _ERRORS as error:
                raise MalformedArchive(f"invalid {self._kind} data: {error}") from error
            if data:
                return data

    def _feed(self) -> bytes:
        if not self._member.needs_input:
            return b""
        fed = self._source.read(CHUNK)
        if not fed:
            raise MalformedArchive(f"unexpected EOF: the {self._kind} data is truncated")
        return fed

    def _next_member(self) -> bool:
        """Begin the member that follows, if one does; zeros that pad the end are ignored as gzip(1) does."""
        rest: bytes = self._member.unused_data or self._source.read(CHUNK)
        while rest and not rest.strip(b"\0"):
            rest = self._source.read(CHUNK)
        if not rest:
            return False
        if detect(rest + self._source_head(rest)) != self._kind:
            raise MalformedArchive(f"invalid {self._kind} data: garbage after its end")
        self._member = _DECOMPRESSORS[self._kind]()
        return True

    def _source_head(self, rest: bytes) -> bytes:
        """Put ``rest`` back, lengthened until a magic number can be told; returns what was added."""
        added = b""
        while len(rest) + len(added) < _MAGIC_LENGTH and (more := self._source.read(CHUNK)):
            added += more
        self._source = _Prefixed(rest + added, self._source)
        return added
