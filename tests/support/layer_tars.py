"""Layer tars made by hand, and looks at what became of them."""

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.oci import digest as digests
from sampan.oci.digest import ChainID, DiffID
from sampan.storage.store import Storage


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar; a name that ends in a slash is a directory."""
    info = tarfile.TarInfo(name.rstrip("/"))
    info.mtime, info.size, info.mode = 1_000_000_000, len(content), 0o644
    if name.endswith("/"):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic or hard link."""
    return member(name, type=kind, linkname=target)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return link(name, target, tarfile.LNKTYPE)


def tar(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """The members as an archive in PAX format."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def unpack(storage: Storage, *layers: bytes) -> ChainID:
    """Unpack layer tars on top of each other."""
    chain: ChainID | None = None
    for layer in layers:
        chain = storage.snapshots.unpack(chain, DiffID(digests.of(layer)), io.BytesIO(layer))
    assert chain is not None
    return chain


@contextmanager
def viewed(storage: Storage, chain: ChainID | None) -> Iterator[Path]:
    """A path to the read-only view of a stack."""
    fd = storage.snapshots.view(chain)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@contextmanager
def mounted(storage: Storage, key: str) -> Iterator[Path]:
    """A path to a writable layer, mounted."""
    fd = storage.snapshots.mount(key, volatile=True)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def listing(path: Path) -> dict[str, str]:
    """Every path below with the content of files, the target of links, ``/`` for directories."""
    found = {}
    for directory, names, files in os.walk(path):
        for name in names + files:
            at = Path(directory) / name
            key = str(at.relative_to(path))
            if at.is_symlink():
                found[key] = "-> " + str(at.readlink())
            else:
                found[key] = "/" if at.is_dir() else at.read_text() if at.is_file() else "?"
    return found


def names_in(path: Path) -> list[str]:
    """Names in a directory, sorted."""
    return sorted(entry.name for entry in path.iterdir())


def members_of(archive: bytes) -> list[tarfile.TarInfo]:
    """The members of an archive as tarfile reads them."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getmembers()
