"""One member of a tar archive, and the header blocks that say it.

    ustar block of 512 bytes, numbers in octal (or base 256 when they do not fit)
       0 name 100 │ 100 mode 8 │ 108 uid 8 │ 116 gid 8 │ 124 size 12 │ 136 mtime 12 │ 148 checksum 8 │ 156 type 1
     157 linkname 100 │ 257 magic 6 │ 263 version 2 │ 265 uname 32 │ 297 gname 32 │ 329 major 8 │ 337 minor 8
     345 prefix 155                                    (GNU: 386 sparse map, 482 extended, 483 real size)

    x  PAX records for the next member     g  PAX records for all that follow
    L  GNU long name                       K  GNU long link name          S  GNU sparse file

Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format", "Sparse Formats".
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sampan.archive.errors import MalformedArchive

BLOCK = 512
REGULAR, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = "0", "1", "2", "3", "4", "5", "6"
CONTIGUOUS, GNU_SPARSE, GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL = "7", "S", "L", "K", "x", "g"
XATTR = "SCHILY.xattr."

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_USTAR_SIZE_LIMIT = 8**11
_USTAR_ID_LIMIT = 8**7


@dataclass(slots=True)
class Entry:
    """A member. ``name`` and ``linkname`` hold undecodable bytes as surrogates, as Python's file names do.

    ``size`` is the content's logical size, ``stored`` the bytes of it in the archive (less for a sparse file, whose
    pieces ``sparse`` lists as (offset, length)).
    """

    name: str
    type: str = REGULAR
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    linkname: str = ""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    stored: int = 0
    sparse: Sequence[tuple[int, int]] | None = None
    is_gnu: bool = False


def decode(block: bytes) -> Entry:
    """The entry a header block says; raises MalformedArchive for a wrong checksum or number."""
    fields = _HEADER.unpack(block)
    try:
        checksum = int(fields[6].strip(b" \0") or b"0", 8)
    except ValueError:
        raise MalformedArchive("invalid tar header") from None
    if checksum != sum(block) - sum(fields[6]) + 8 * 0x20:
        raise MalformedArchive("invalid tar header")
    kind = fields[7].decode("latin-1")
    size = _number(fields[4])
    if size < 0:
        raise MalformedArchive("invalid tar header: negative size")
    entry = Entry(
        name=_name(fields[0], fields[15] if fields[9] == b"ustar\0" else b""),
        type=REGULAR if kind in ("\0", CONTIGUOUS) else kind,
        mode=_number(fields[1]) & 0o7777,
        uid=_number(fields[2]),
        gid=_number(fields[3]),
        size=size,
        mtime_ns=_number(fields[5]) * 1_000_000_000,
        linkname=text(fields[8]),
        major=_number(fields[13]),
        minor=_number(fields[14]),
        stored=size,
        is_gnu=fields[9] == b"ustar ",
    )
    if entry.type == REGULAR and entry.name.endswith("/"):
        entry.type = DIRECTORY
    if entry.type not in (REGULAR, GNU_SPARSE, GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL):
        entry.size = entry.stored = _data_size(entry)
    return entry


def _data_size(entry: Entry) -> int:
    """Links, directories and devices have no data, whatever their size field says; unknown types may."""
    return 0 if entry.type in (HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO) else entry.stored


def text(raw: bytes) -> str:
    """A NUL-terminated field as a file name."""
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _name(name: bytes, prefix: bytes) -> str:
    head = text(prefix)
    return f"{head}/{text(name)}" if head else text(name)


def _number(raw: bytes) -> int:
    """An octal or base-256 number."""
    try:
        return int(raw.rstrip(b" \0") or b"0", 8)
    except ValueError:
        return _unusual_number(raw)


def _unusual_number(raw: bytes) -> int:
    """A number that is not just octal digits: base-256, or with something after its NUL."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ~(1 << (8 * len(raw) - 1))
        return value - (1 << (8 * len(raw) - 1)) if raw[0] == 0xFF else value
    digits = raw.strip(b" \0").partition(b"\0")[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise MalformedArchive("invalid tar header: not a number") from None


def encode(entry: Entry) -> bytes:
    """Header blocks for ``entry``: one of ustar, with PAX records before it for what does not fit there."""
    records = _pax_records(entry)
    if not records:
        return _ustar(entry, entry.name.encode("utf-8", "surrogateescape"))
    body = b"".join(pax_record(key, value) for key, value in sorted(records.items()))
    stem = entry.name.rstrip("/").rpartition("/")[2].encode("utf-8", "surrogateescape")
    extended = Entry("", PAX, mode=0o644, size=len(body), stored=len(body))
    return (
        _ustar(extended, b"PaxHeaders.0/" + stem[:80])
        + body
        + bytes(-len(body) % BLOCK)
        + _ustar(entry, entry.name.encode("utf-8", "surrogateescape"))
    )


def _pax_records(entry: Entry) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    for key, value in ((b"path", entry.name), (b"linkpath", entry.linkname)):
        raw = value.encode("utf-8", "surrogateescape")
        if len(raw) > 100 or not raw.isascii():
            records[key] = raw
    if entry.size >= _USTAR_SIZE_LIMIT:
        records[b"size"] = b"%d" % entry.size
    for key, number in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if number >= _USTAR_ID_LIMIT:
            records[key] = b"%d" % number
    if entry.mtime_ns % 1_000_000_000 or not 0 <= entry.mtime_ns < _USTAR_SIZE_LIMIT * 1_000_000_000:
        records[b"mtime"] = _decimal(entry.mtime_ns)
    for attribute, content in entry.xattrs.items():
        records[(XATTR + attribute).encode("utf-8", "surrogateescape")] = content
    return records


def _decimal(nanoseconds: int) -> bytes:
    """Seconds with as many decimals as needed."""
    sign, magnitude = (b"-", -nanoseconds) if nanoseconds < 0 else (b"", nanoseconds)
    seconds, rest = divmod(magnitude, 1_000_000_000)
    return (sign + b"%d.%09d" % (seconds, rest)).rstrip(b"0").rstrip(b".")


def pax_record(key: bytes, value: bytes) -> bytes:
    """``LENGTH key=value\\n`` where LENGTH counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _ustar(entry: Entry, name: bytes) -> bytes:
    has_data = entry.type in (REGULAR, PAX)
    block = bytearray(
        _HEADER.pack(
            name[:100],
            b"%07o\0" % (entry.mode & 0o7777),
            _octal(entry.uid, 8),
            _octal(entry.gid, 8),
            _octal(entry.size if has_data else 0, 12),
            _octal(entry.mtime_ns // 1_000_000_000, 12),
            b" " * 8,
            entry.type.encode("latin-1"),
            entry.linkname.encode("utf-8", "surrogateescape")[:100],
            *(b"ustar\0", b"00", b"", b"", _octal(entry.major, 8), _octal(entry.minor, 8), b""),
        )
    )
    block[148:156] = b"%06o\0 " % _sum(block)
    return bytes(block)


def _sum(block: bytes | bytearray) -> int:
    """The sum of a header's bytes, in a tenth of the time that ``sum`` takes.

    Adler-32's lower half is 1 + the sum, modulo 65521: names and links of 100 bytes each and what else a header of
    ours has stay below that.
    """
    return (zlib.adler32(block) & 0xFFFF) - 1


@lru_cache(512)
def _octal(value: int, width: int) -> bytes:
    """``value`` in a field; 0 where it does not fit, since a PAX record says it then."""
    limit = 8 ** (width - 1)
    return b"%0*o\0" % (width - 1, value if 0 <= value < limit else 0)
