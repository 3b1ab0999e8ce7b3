"""The tar reader and writer, against Python's tarfile and against damage."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.archive import entry as kinds
from sampan.archive.entry import Entry
from sampan.archive.errors import MalformedArchive
from sampan.archive.reader import TarReader
from sampan.archive.writer import TarWriter

NAMES = st.text(
    st.characters(blacklist_characters="\0/", blacklist_categories=("Cs",)), min_size=1, max_size=200
).filter(lambda name: name not in (".", ".."))


def written(*members: tuple[Entry, bytes]) -> bytes:
    sink = io.BytesIO()
    writer = TarWriter(sink)
    for entry, content in members:
        writer.add(entry, content)
    writer.finish()
    return sink.getvalue()


def read(archive: bytes) -> list[tuple[Entry, bytes]]:
    reader = TarReader(io.BytesIO(archive))
    return [(entry, reader.read(1 << 24)) for entry in reader]


def by_tarfile(format: int, *members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=format) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


@given(
    NAMES,
    st.binary(max_size=2000),
    st.integers(0, 2**33),
    st.integers(0, 2**31),
    st.integers(-(2**40), 2**62),
    st.dictionaries(st.sampled_from(["user.a", "security.capability"]), st.binary(max_size=40)),
)
def test_what_is_written_is_read_back(
    name: str, content: bytes, uid: int, gid: int, mtime_ns: int, xattrs: dict[str, bytes]
) -> None:
    entry = Entry(name, mode=0o4755, uid=uid, gid=gid, mtime_ns=mtime_ns, xattrs=xattrs)
    [(found, data)] = read(written((entry, content)))
    assert data == content
    assert (found.name, found.mode, found.uid, found.gid, found.mtime_ns) == (name, 0o4755, uid, gid, mtime_ns)
    assert found.xattrs == xattrs


@given(NAMES, st.binary(max_size=600))
def test_tarfile_reads_what_is_written(name: str, content: bytes) -> None:
    archive = written((Entry(name, mtime_ns=1_500_000_000), content))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        [info] = tar.getmembers()
        extracted = tar.extractfile(info)
        assert extracted is not None
        assert (info.name, info.mtime, extracted.read()) == (name, 1.5, content)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tarfile_is_read(format: int) -> None:
    name = "d/" * 40 + "f"
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "e/" * 30 + "t"
    device = tarfile.TarInfo("null")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    members = read(by_tarfile(format, (tarfile.TarInfo(name), b"abc"), (link, b""), (device, b"")))
    assert [(entry.name, entry.type) for entry, _ in members] == [
        (name, kinds.REGULAR),
        ("link", kinds.SYMLINK),
        ("null", kinds.CHARACTER),
    ]
    assert members[0][1] == b"abc"
    assert members[1][0].linkname == link.linkname
    assert (members[2][0].major, members[2][0].minor) == (1, 3)


def test_gnu_long_names_and_large_numbers_are_read() -> None:
    info = tarfile.TarInfo("n" * 300)
    info.uid, info.mtime = 2**40, -5
    [(entry, _)] = read(by_tarfile(tarfile.GNU_FORMAT, (info, b"")))
    assert (entry.name, entry.uid, entry.mtime_ns) == ("n" * 300, 2**40, -5_000_000_000)


def test_a_global_pax_header_holds_for_all_that_follow() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "7.5"}) as tar:
        tar.addfile(tarfile.TarInfo("a"))
        tar.addfile(tarfile.TarInfo("b"))
    assert [entry.mtime_ns for entry, _ in read(sink.getvalue())] == [7_500_000_000] * 2


def test_a_sparse_file_is_read_in_pieces() -> None:
    body = b"2\n0\n3\n10\n2\n".ljust(512, b"\0") + b"abcxy"
    info = tarfile.TarInfo("GNUSparseFile.0/s")
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "s",
        "GNU.sparse.realsize": "20",
    }
    reader = TarReader(io.BytesIO(by_tarfile(tarfile.PAX_FORMAT, (info, body))))
    [(name, size, pieces)] = [
        (entry.name, entry.size, [(at, bytes(chunk)) for at, chunk in reader.data()]) for entry in reader
    ]
    assert (name, size, pieces) == ("s", 20, [(0, b"abc"), (10, b"xy")])


@pytest.mark.parametrize("map_", [b"1\n5\n100\n", b"2\n9\n2\n0\n3\n", b"99999999\n", b"x\n"])
def test_a_wrong_sparse_map_is_refused(map_: bytes) -> None:
    info = tarfile.TarInfo("s")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "s", "GNU.sparse.realsize": "20"}
    archive = by_tarfile(tarfile.PAX_FORMAT, (info, map_.ljust(512, b"\0") + b"abcde"))
    with pytest.raises(MalformedArchive):
        read(archive)


@pytest.mark.parametrize("length", [1, 511, 513, 700, 1500])
def test_a_truncated_archive_is_an_error(length: int) -> None:
    archive = written((Entry("a"), b"x" * 1000), (Entry("b"), b"y"))
    with pytest.raises(MalformedArchive):
        read(archive[:length])


def test_an_archive_may_end_without_zero_blocks() -> None:
    assert len(read(written((Entry("a"), b"x"))[:1024])) == 1


def test_an_archive_may_end_within_the_padding_of_its_last_file() -> None:
    archive = written((Entry("a"), b"x"), (Entry("b"), b"yz"))
    assert [data for _, data in read(archive[: 512 * 3 + 2])] == [b"x", b"yz"]


def test_a_wrong_checksum_is_an_error() -> None:
    archive = bytearray(written((Entry("a"), b"x")))
    archive[0] ^= 1
    with pytest.raises(MalformedArchive, match="invalid tar header"):
        read(bytes(archive))


@given(st.binary(max_size=3000))
def test_garbage_is_refused_or_read_but_never_crashes(garbage: bytes) -> None:
    archive = written((Entry("a" * 150, xattrs={"user.x": b"1"}), b"x" * 700))
    for candidate in (garbage, archive[:512] + garbage, archive[:1024] + garbage):
        try:
            read(candidate)
        except MalformedArchive:
            continue
