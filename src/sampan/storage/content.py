"""The content store: blobs by digest, exactly as they were received.

    content/blobs/sha256/<hex>     a blob; its name is the digest of its bytes
    content/ingest/<key>/data      bytes arrived so far, kept when a download is cut or the daemon killed
    content/ingest/<key>/ref       what they belong to; key is derived from it

A blob appears by rename after fsync, so it is whole or not there. An ``Ingest`` is the one writer of a ref; others may
read along while it grows (``Ingest.follow``): that is how a layer is unpacked while it downloads.
"""

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sampan.archive.errors import FULL, DiskFull
from sampan.errors import Conflict, DataLoss, EngineError, NotFound
from sampan.oci import digest as digests
from sampan.oci.digest import AnyDigest, Digest

_CHUNK = 1 << 20
_OWN = "own-"


class ContentStore:
    """Blobs under ``root``. Every method may be called from any thread."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._ingests = root / "ingest"
        for algorithm in digests.HEX_LENGTH:
            (self._blobs / algorithm).mkdir(parents=True, exist_ok=True)
        self._ingests.mkdir(exist_ok=True)
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def path(self, digest: AnyDigest) -> Path:
        """Where the blob is, or would be."""
        return self._blobs / digests.algorithm(digest) / digests.encoded(digest)

    def __contains__(self, digest: AnyDigest) -> bool:
        return self.path(digest).exists()

    def size(self, digest: AnyDigest) -> int:
        """Bytes of the blob; raises NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _no_content(digest) from None

    def open(self, digest: AnyDigest) -> BinaryIO:
        """The blob, open for unbuffered reading; raises NotFound."""
        try:
            return open(self.path(digest), "rb", buffering=0)
        except FileNotFoundError:
            raise _no_content(digest) from None

    def read(self, digest: Digest, limit: int = 8 << 20) -> bytes:
        """A small blob, verified; raises NotFound, DataLoss when damaged or larger than ``limit`` bytes."""
        with self.open(digest) as blob:
            data = blob.read(limit + 1)
        if len(data) > limit:
            raise DataLoss(f"content {digest} is larger than {limit} bytes")
        if digests.of(data, digests.algorithm(digest)) != digest:
            raise DataLoss(f"content {digest} is damaged: its bytes have another digest")
        return data

    def write(self, data: bytes, *, settle: bool = True) -> Digest:
        """Store a small blob; returns its digest. ``settle`` as in ``Ingest.commit``."""
        digest = digests.of(data)
        if digest not in self:
            with self.ingest() as ingest:
                ingest.write(data)
                ingest.commit(settle=settle)
        return digest

    def ingest(self, ref: str | None = None, algorithm: str = "sha256") -> "Ingest":
        """Begin or go on with the download ``ref``; raises Conflict while another writer has it.

        Without a ref it is made here, cannot be gone on with, and a restart leaves nothing of it.
        """
        if ref is None:
            ref = _OWN + secrets.token_hex(16)
        with self._lock:
            if ref in self._busy:
                raise Conflict(f"content ref {ref} is being written")
            self._busy.add(ref)
        try:
            return Ingest(self, ref, self._ingests / _key(ref), algorithm)
        except BaseException:
            self._release(ref)
            raise

    def _release(self, ref: str) -> None:
        with self._lock:
            self._busy.discard(ref)

    def delete(self, digest: AnyDigest) -> int:
        """Remove the blob; returns the bytes freed, 0 if it was not there."""
        path = self.path(digest)
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def digests(self) -> Iterator[Digest]:
        """Every blob."""
        for algorithm in digests.HEX_LENGTH:
            for entry in os.scandir(self._blobs / algorithm):
                yield Digest(f"{algorithm}:{entry.name}")

    def age(self, digest: Digest, now: float) -> float:
        """Seconds since the blob was stored or last touched; raises NotFound."""
        try:
            return now - self.path(digest).stat().st_mtime
        except FileNotFoundError:
            raise _no_content(digest) from None

    def drop_ingests(self, older_than: float) -> int:
        """Remove what has no writer: downloads untouched since ``older_than`` (seconds since 1970), and all
        that cannot be gone on with. Returns the bytes freed."""
        return sum(self._drop_ingest(Path(entry.path), older_than) for entry in list(os.scandir(self._ingests)))

    def _drop_ingest(self, path: Path, older_than: float) -> int:
        with self._lock:  # nobody takes it up meanwhile
            if path.name in map(_key, self._busy) or not path.exists():
                return 0
            ref = _ref_of(path)  # empty: killed before it was written
            if ref and not ref.startswith(_OWN) and path.stat().st_mtime >= older_than:
                return 0
            data = path / "data"
            size = data.stat().st_size if data.exists() else 0
            shutil.rmtree(path, ignore_errors=True)
            return size


class Ingest:
    """The writer of one blob to be. Leaving the ``with`` block without ``commit`` keeps the bytes for later."""

    def __init__(self, store: ContentStore, ref: str, directory: Path, algorithm: str) -> None:
        self._store = store
        self._ref = ref
        self._directory = directory
        directory.mkdir(exist_ok=True)
        (directory / "ref").write_text(ref)
        self._fd = os.open(directory / "data", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._hash = hashlib.new(algorithm)
        self._progress = threading.Condition()
        self._ended = False
        self._error: EngineError | None = None
        self.offset = 0
        self._rehash()

    def _rehash(self) -> None:
        """Take up the bytes an earlier writer left."""
        while chunk := os.read(self._fd, _CHUNK):
            self._hash.update(chunk)
            self.offset += len(chunk)

    def write(self, data: bytes | memoryview) -> None:
        """Append; raises DiskFull."""
        view = memoryview(data)
        while view:
            with _room():
                written = os.write(self._fd, view)
            self._hash.update(view[:written])
            view = view[written:]
            with self._progress:
                self.offset += written
                self._progress.notify_all()

    @property
    def digest(self) -> Digest:
        """Digest of what arrived so far."""
        return digests.of_hash(self._hash)

    def restart(self) -> None:
        """Throw away what arrived: the source cannot go on where it stopped. Not while anyone follows."""
        os.ftruncate(self._fd, 0)
        self._hash = hashlib.new(self._hash.name)
        self.offset = 0

    def commit(self, expected: Digest | None = None, size: int | None = None, *, settle: bool = True) -> Digest:
        """Make it a blob; returns its digest. A wrong digest or size raises DataLoss, and nothing stays.

        Without ``settle`` a power cut may take the blob until another commit settles: for one of several that mean
        nothing without the last (a config before its manifest).
        """
        digest = self.digest
        if size is not None and size != self.offset:
            self._fail(DataLoss(f"unexpected size {self.offset}, expected {size} for {expected or digest}"))
        if expected is not None and digest != expected:
            self._fail(DataLoss(f"unexpected digest {digest}, expected {expected}"))
        with _room():
            os.fsync(self._fd)
        target = self._store.path(digest)
        (self._directory / "data").rename(target)
        if settle:
            _sync_directory(target.parent)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._end()
        return digest

    def _fail(self, error: DataLoss) -> None:
        self.abort(error)
        raise error

    def abort(self, reason: EngineError | None = None) -> None:
        """Remove what arrived; those who follow get ``reason``."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._end(reason or EngineError(f"download of {self._ref} was given up"))

    def close(self) -> None:
        """Stop writing and keep the bytes; those who follow get an error."""
        self._end(EngineError(f"download of {self._ref} was interrupted"))

    def _end(self, error: EngineError | None = None) -> None:
        with self._progress:
            if self._ended:
                return
            self._ended, self._error = True, error
            self._progress.notify_all()
        os.close(self._fd)
        self._store._release(self._ref)

    def follow(self) -> "Follower":
        """A blocking reader from the start that keeps up with the writer; ends when it commits."""
        return Follower(self, os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC))

    def _wait_beyond(self, position: int) -> bool:
        """Wait for bytes past ``position``; False at the committed end, raises when the writer gave up."""
        with self._progress:
            self._progress.wait_for(lambda: self._ended or self.offset > position)
            if self._error is not None:
                raise self._error
            return self.offset > position

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Follower:
    """Reads a growing ingest from another thread."""

    def __init__(self, ingest: Ingest, fd: int) -> None:
        self._ingest = ingest
        self._fd = fd
        self._position = 0

    def read(self, size: int = _CHUNK) -> bytes:
        """Up to ``size`` bytes, waiting for some; empty at the end; raises the writer's EngineError."""
        if not self._ingest._wait_beyond(self._position):
            return b""
        data = os.read(self._fd, size)
        self._position += len(data)
        return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _no_content(digest: AnyDigest) -> NotFound:
    return NotFound(f"content {digest} not found")


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull("failed to store content: no space left on device") from error
        raise


def _key(ref: str) -> str:
    return hashlib.sha256(ref.encode()).hexdigest()[:32]


def _ref_of(directory: Path) -> str:
    try:
        return (directory / "ref").read_text()
    except FileNotFoundError:
        return ""


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
