"""Compression: told by its first bytes, read in bounded pieces, damage reported."""

import bz2
import gzip
import io
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.archive.compression import compressor, decompressed, detect
from sampan.archive.errors import MalformedArchive
from sampan.archive.stream import Hashing, ReadAhead
from sampan.oci.digest import of

DATA = b"sampan" * 100_000


def zstd(data: bytes) -> bytes:
    packing = compressor("zstd")
    return packing.compress(data) + packing.flush()


COMPRESS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


class Trickle:
    """A source that gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, 7))


def whole(data: bytes) -> bytes:
    source = decompressed(io.BytesIO(data))
    return b"".join(iter(lambda: source.read(1 << 16), b""))


@pytest.mark.parametrize("kind", COMPRESS)
def test_each_kind_is_told_and_undone(kind: str) -> None:
    packed = COMPRESS[kind](DATA)
    assert detect(packed[:6]) == kind
    assert whole(packed) == DATA


@pytest.mark.parametrize("kind", COMPRESS)
def test_concatenated_members_are_read_through(kind: str) -> None:
    packed = COMPRESS[kind](b"one") + COMPRESS[kind](b"two")
    source = decompressed(Trickle(packed))
    assert b"".join(iter(lambda: source.read(100), b"")) == b"onetwo"


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_truncated_stream_is_an_error(kind: str) -> None:
    packed = COMPRESS[kind](DATA)
    with pytest.raises(MalformedArchive, match="unexpected EOF"):
        whole(packed[: len(packed) // 2])


def test_a_changed_gzip_stream_is_an_error() -> None:
    packed = bytearray(gzip.compress(bytes(range(256)) * 40))
    packed[-6] ^= 0xFF
    with pytest.raises(MalformedArchive):
        whole(bytes(packed))


def test_zeros_after_the_end_are_padding_and_anything_else_is_garbage() -> None:
    assert whole(gzip.compress(b"x") + bytes(600)) == b"x"
    with pytest.raises(MalformedArchive, match="garbage"):
        whole(gzip.compress(b"x") + b"trailing")


def test_a_bomb_comes_in_bounded_pieces() -> None:
    source = decompressed(io.BytesIO(gzip.compress(bytes(50 << 20))))
    assert len(source.read(1 << 16)) <= 1 << 16


def test_the_same_input_compresses_to_the_same_bytes() -> None:
    one, two = compressor("gzip"), compressor("gzip")
    assert one.compress(DATA) + one.flush() == two.compress(DATA) + two.flush()


@given(st.binary(max_size=200))
def test_plain_data_passes_unchanged(data: bytes) -> None:
    if detect(data[:6]) is None:
        assert whole(data) == data


def test_reading_ahead_hashes_all_and_hands_errors_on() -> None:
    hashing = Hashing(io.BytesIO(DATA))
    with ReadAhead(hashing) as ahead:
        assert b"".join(iter(ahead.read, b"")) == DATA
    assert (hashing.digest, hashing.size) == (of(DATA), len(DATA))
    with ReadAhead(decompressed(io.BytesIO(gzip.compress(DATA)[:-9]))) as ahead, pytest.raises(MalformedArchive):
        while ahead.read():
            pass


def test_reading_ahead_can_be_left_early() -> None:
    with ReadAhead(io.BytesIO(bytes(64 << 20))) as ahead:
        assert ahead.read()
