"""Reading a tar archive from a stream, once, from the start, in bounded memory.

    for entry in TarReader(source):          # what is left of an entry's data is skipped by itself
        for offset, chunk in reader.data():  # its content, in pieces; holes of a sparse file are left out

The extensions that precede a member (PAX, GNU long names, sparse maps) are folded into its Entry. An archive that
stops before its end raises MalformedArchive; two zero blocks or the end of the stream after a whole member end it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from sampan.archive import entry as headers
from sampan.archive.entry import BLOCK, GNU_LONG_LINK, GNU_LONG_NAME, GNU_SPARSE, PAX, PAX_GLOBAL, Entry
from sampan.archive.errors import MalformedArchive

CHUNK = 1 << 20
_SPECIAL_LIMIT = 1 << 20
"""Largest extension header, in bytes (as in Go's archive/tar)."""
_SPARSE_LIMIT = 1 << 20
"""Most pieces of a sparse file."""
_ZERO = bytes(BLOCK)


class Source(Protocol):
    """Anything that gives bytes: up to ``size`` of them, none at the end."""

    def read(self, size: int, /) -> bytes: ...


class TarReader:
    """The members of the archive in ``source``."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffer = memoryview(b"")
        self._left = 0
        self._padding = 0
        self._entry: Entry | None = None
        self._global: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next_member()) is not None:
            self._entry = entry
            yield entry

    def data(self) -> Iterator[tuple[int, memoryview]]:
        """The current member's content as (offset, bytes) pieces, in order."""
        entry = self._entry
        if entry is None:
            return
        for start, length in [(0, entry.stored)] if entry.sparse is None else entry.sparse:
            position = start
            end = start + length
            while position < end:
                chunk = self._some(min(end - position, self._left))
                self._left -= len(chunk)
                yield position, chunk
                position += len(chunk)

    def read(self, limit: int = CHUNK) -> bytes:
        """The current member's whole content; raises MalformedArchive when it is larger than ``limit``."""
        if self._entry is not None and self._entry.size > limit:
            raise MalformedArchive(f"{self._entry.name} is larger than {limit} bytes")
        return b"".join(bytes(chunk) for _, chunk in self.data())

    def drain(self) -> None:
        """Read the stream to its end, so that what hashes or inflates it sees all."""
        self._buffer = memoryview(b"")
        while self._source.read(CHUNK):
            pass

    def _next_member(self) -> Entry | None:
        records = dict(self._global)
        while (entry := self._next_header()) is not None:
            if entry.type == PAX_GLOBAL:
                self._global |= _parse_pax(self._special(entry))
                records = self._global | records
            elif entry.type == PAX:
                records |= _parse_pax(self._special(entry))
            elif entry.type == GNU_LONG_NAME:
                records.setdefault("path", self._special(entry).partition(b"\0")[0])
            elif entry.type == GNU_LONG_LINK:
                records.setdefault("linkpath", self._special(entry).partition(b"\0")[0])
            else:
                return self._begin(entry, records)
        return None

    def _begin(self, entry: Entry, records: dict[str, bytes]) -> Entry:
        if records:
            entry = _with_records(entry, records)
        self._left = entry.stored
        self._padding = -entry.stored % BLOCK
        if entry.type == GNU_SPARSE or "GNU.sparse.major" in records or "GNU.sparse.map" in records:
            entry = self._with_sparse_map(entry, records)
        return entry

    def _next_header(self) -> Entry | None:
        self._skip(self._left)
        padded = self._skip_padding(self._padding)
        self._left = self._padding = 0
        block = self._exactly(BLOCK, at_start=True) if padded else b""
        if block in (b"", _ZERO):
            return None
        self._header = block
        return headers.decode(block)

    def _special(self, entry: Entry) -> bytes:
        """The data of an extension header."""
        if entry.size > _SPECIAL_LIMIT:
            raise MalformedArchive("invalid tar header: extension header too large")
        data = self._exactly(entry.size)
        self._skip(-entry.size % BLOCK)
        return data

    def _with_sparse_map(self, entry: Entry, records: dict[str, bytes]) -> Entry:
        if entry.type == GNU_SPARSE:
            pieces, size = self._gnu_sparse_map()
        elif records.get("GNU.sparse.major") == b"1":
            pieces, size = self._pax_sparse_map(), _integer(records.get("GNU.sparse.realsize", b"0"))
        else:
            numbers = [_integer(item) for item in records.get("GNU.sparse.map", b"").split(b",") if item]
            pieces, size = _pairs(numbers), _integer(records.get("GNU.sparse.size", b"0"))
        _check_pieces(pieces, size, self._left)
        return replace(entry, type=headers.REGULAR, size=size, sparse=pieces)

    def _gnu_sparse_map(self) -> tuple[list[tuple[int, int]], int]:
        """The map of an old GNU sparse file: 4 pieces in the header, 21 in each block that follows."""
        block, start, count, extended_at = self._header, 386, 4, 482
        size = headers._number(block[483:495])
        pieces: list[tuple[int, int]] = []
        while True:
            for at in range(start, start + 24 * count, 24):
                if block[at] != 0:
                    offset, length = headers._number(block[at : at + 12]), headers._number(block[at + 12 : at + 24])
                    pieces.append((offset, length))
            if not block[extended_at] or len(pieces) > _SPARSE_LIMIT:
                return pieces, size
            block, start, count, extended_at = self._exactly(BLOCK), 0, 21, 504

    def _pax_sparse_map(self) -> list[tuple[int, int]]:
        """The map of format 1.0: decimal lines at the head of the data, padded to a block."""
        text = b""
        numbers: list[int] = []
        while not numbers or len(numbers) < 1 + 2 * numbers[0]:
            block = self._exactly(BLOCK)
            self._left -= BLOCK
            *lines, text = (text + block).split(b"\n")
            numbers += [_integer(line) for line in lines]
            if self._left < 0 or numbers[:1] > [_SPARSE_LIMIT]:
                raise MalformedArchive("invalid tar header: sparse map too large")
        return _pairs(numbers[1 : 1 + 2 * numbers[0]])

    def _some(self, limit: int) -> memoryview:
        """1 to ``limit`` bytes; raises MalformedArchive at the end of the stream."""
        if not self._buffer:
            self._buffer = memoryview(self._source.read(CHUNK))
            if not self._buffer or limit <= 0:
                raise MalformedArchive("unexpected EOF: the archive is truncated")
        chunk, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return chunk

    def _exactly(self, size: int, *, at_start: bool = False) -> bytes:
        """``size`` bytes; with ``at_start`` none when the stream ends right here."""
        if len(self._buffer) >= size:
            chunk, self._buffer = self._buffer[:size], self._buffer[size:]
            return bytes(chunk)
        if at_start and not self._buffer:
            self._buffer = memoryview(self._source.read(CHUNK))
            if not self._buffer:
                return b""
        parts = bytearray()
        while len(parts) < size:
            parts += self._some(size - len(parts))
        return bytes(parts)

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._some(size))

    def _skip_padding(self, size: int) -> bool:
        """Skip the zeros behind a member; False where the stream ends in them, as some writers leave it."""
        while size:
            if not self._buffer:
                self._buffer = memoryview(self._source.read(CHUNK))
                if not self._buffer:
                    return False
            skipped = min(size, len(self._buffer))
            self._buffer, size = self._buffer[skipped:], size - skipped
        return True


def _parse_pax(body: bytes) -> dict[str, bytes]:
    """Records ``LENGTH key=value\\n``; an empty value takes an earlier one back."""
    records = {}
    position = 0
    while position < len(body):
        space = body.find(b" ", position, position + 20)
        if space < 0:
            raise MalformedArchive("invalid PAX header")
        end = position + _integer(body[position:space])
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or end > len(body) or not equals or body[end - 1] != 0x0A:
            raise MalformedArchive("invalid PAX header")
        records[key.decode("utf-8", "surrogateescape")] = value
        position = end
    return records


def _with_records(entry: Entry, records: dict[str, bytes]) -> Entry:
    """``entry`` with what PAX (or GNU long names) say instead."""
    for key, value in records.items():
        if key == "path" and value:
            entry.name = headers.text(value)
        elif key == "linkpath" and value:
            entry.linkname = headers.text(value)
        elif key == "size" and value and entry.type in (headers.REGULAR, GNU_SPARSE):
            entry.size = entry.stored = _integer(value)
        elif key in ("uid", "gid") and value:
            setattr(entry, key, _integer(value))
        elif key == "mtime" and value:
            entry.mtime_ns = _nanoseconds(value)
        elif key == "GNU.sparse.name" and value:
            entry.name = headers.text(value)
    if "GNU.sparse.name" in records:
        entry.name = headers.text(records["GNU.sparse.name"])
    entry.xattrs = {
        key.removeprefix(headers.XATTR): value for key, value in records.items() if key.startswith(headers.XATTR)
    }
    return entry


def _integer(value: bytes) -> int:
    """A decimal number that is not negative."""
    if not value.isdigit() or len(value) > 19:
        raise MalformedArchive("invalid PAX header: not a number")
    return int(value)


def _nanoseconds(value: bytes) -> int:
    """Decimal seconds as nanoseconds, exactly."""
    seconds, _, fraction = value.partition(b".")
    sign = -1 if seconds.startswith(b"-") else 1
    whole = _integer(seconds.lstrip(b"+-") or b"0")
    return sign * (whole * 1_000_000_000 + _integer((fraction + b"0" * 9)[:9]))


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    return list(zip(numbers[::2], numbers[1::2], strict=False))


def _check_pieces(pieces: list[tuple[int, int]], size: int, stored: int) -> None:
    """Pieces must be in order, within the file, and as long together as the data."""
    position = 0
    for offset, length in pieces:
        if offset < position or offset + length > size:
            raise MalformedArchive("invalid tar header: sparse map out of order")
        position = offset + length
    if sum(length for _, length in pieces) != stored:
        raise MalformedArchive("invalid tar header: sparse map does not match the data")
