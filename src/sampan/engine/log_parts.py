"""The files of one container's log: the live one, rotated ones, and those compressed meanwhile.

    <log>              live
    <log>.1, .2 …      rotated, newest first; with the option ``compress`` each becomes .1.gz … soon afterwards

A compressed file keeps the inode number of the one it was made from in its gzip header, so that readers who stand in
that file know their place. The number is free from then on: a newer file of the log may have it again. The monitor
renames while it holds a lock on the live file, and so does the compressor.

    1f 8b 08 04  time (4)  00 ff  0c 00  "LI" 08 00 inode (8)  deflated data  crc32 (4)  size (4)      RFC 1952
"""

import fcntl
import gzip
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

HEADER = struct.Struct("<4sIBBH2sHQ")
MAGIC = b"\x1f\x8b\x08\x04"
CHUNK = 1 << 18
LEVEL = 1  # logs come fast, and shrink well even so


def number_of(path: Path) -> int:
    """How many rotations ago a file was the live one; 0 for what is none of the log's files."""
    text = path.name.removesuffix(".gz").rpartition(".")[2]
    return int(text) if text.isdecimal() else 0


def rotated(log: Path) -> list[Path]:
    """Rotated files of a log, oldest first; one form of each."""
    found = {number_of(path): path for path in sorted(log.parent.glob(log.name + ".*"), reverse=True)}
    return [found[number] for number in sorted(found, reverse=True) if number]


class Part(NamedTuple):
    """A file of a log: the inode number it was written under, and its own, which differs once it is compressed."""

    path: Path
    inode: int
    own: int


def stored(log: Path) -> list[Part]:
    """All files of a log, oldest first."""
    files = []
    for path in (*rotated(log), log):
        with suppress(FileNotFoundError), path.open("rb") as file:
            files.append(Part(path, inode_of(file), os.fstat(file.fileno()).st_ino))
    return files


def place_of(file: IO[bytes], parts: Sequence[Part]) -> int:
    """Which of ``parts`` an open file is, by itself or compressed meanwhile; -1 if it is none of them.

    While it is open nobody else gets its number: of files written under that number the newest was made from it.
    """
    own, inode = os.fstat(file.fileno()).st_ino, inode_of(file)
    places = {part.inode: place for place, part in enumerate(parts)}
    itself = {part.own: place for place, part in enumerate(parts)}
    return itself.get(own, places.get(inode, -1))


def inode_of(file: IO[bytes]) -> int:
    """The inode number under which an open file of the log was written."""
    head = os.pread(file.fileno(), HEADER.size, 0)
    if len(head) == HEADER.size and head.startswith(MAGIC):
        return int(HEADER.unpack(head)[-1])
    return os.fstat(file.fileno()).st_ino


def open_part(path: Path) -> IO[bytes]:
    """A file of the log, as it was written."""
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def compress_rotated(log: Path) -> None:
    """Compress the rotated files that are not yet; what a killed daemon left half-made is made again."""
    for path in rotated(log):
        if path.suffix != ".gz":
            with suppress(FileNotFoundError):
                compress(log, path)


def compress(log: Path, path: Path) -> None:
    """Put a compressed file in the place of a rotated one, which may have moved on meanwhile."""
    made = log.with_name(log.name + ".compressing")
    with path.open("rb") as source, made.open("wb") as target:
        inode = inode_of(source)
        write_compressed(source, target, inode)
    with locked(log):
        for place in rotated(log):
            if place.suffix != ".gz" and place.stat().st_ino == inode:
                made.rename(place.with_name(place.name + ".gz"))
                place.unlink()
                return
    made.unlink()


def write_compressed(source: IO[bytes], target: IO[bytes], inode: int) -> None:
    """One gzip member with the inode number in its extra field."""
    target.write(HEADER.pack(MAGIC, 0, 0, 255, 12, b"LI", 8, inode))
    deflate, check, size = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS), 0, 0
    while block := source.read(CHUNK):
        target.write(deflate.compress(block))
        check, size = zlib.crc32(block, check), size + len(block)
    target.write(deflate.flush() + struct.pack("<II", check, size & 0xFFFFFFFF))


@contextmanager
def locked(log: Path) -> Iterator[None]:
    """While this is held the monitor does not rotate."""
    while True:
        with log.open("rb") as live:
            fcntl.flock(live, fcntl.LOCK_EX)
            if os.fstat(live.fileno()).st_ino == log.stat().st_ino:
                yield
                return
