"""Sources and sinks that do one thing to the bytes on their way: hash, count, compress, read ahead.

    blob ─ decompressed ─ Hashing ─ ReadAhead ══ thread boundary ══ TarReader ─ files

ReadAhead lets inflating and hashing, which release the interpreter's lock, run beside the untarring.
"""

import hashlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from sampan.archive.compression import Compressor
from sampan.archive.reader import CHUNK, Source
from sampan.oci import digest as digests
from sampan.oci.digest import Digest

_AHEAD = 8
_PIECE = 1 << 18


class Sink(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes | memoryview, /) -> object: ...


class Hashing:
    """A source that hashes and counts what is read from it."""

    def __init__(
        self, source: Source, algorithm: str = "sha256", report: Callable[[int], object] | None = None
    ) -> None:
        self._source = source
        self._hash = hashlib.new(algorithm)
        self._report = report
        self.size = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        if self._report is not None:
            self._report(self.size)
        return data

    @property
    def digest(self) -> Digest:
        """Digest of what was read so far."""
        return digests.of_hash(self._hash)


class HashingSink:
    """A sink that hashes and counts what goes through it; ``target`` None keeps nothing."""

    def __init__(self, target: Sink | None = None, algorithm: str = "sha256") -> None:
        self._target = target
        self._hash = hashlib.new(algorithm)
        self.size = 0

    def write(self, data: bytes | memoryview, /) -> None:
        self._hash.update(data)
        self.size += len(data)
        if self._target is not None:
            self._target.write(data)

    @property
    def digest(self) -> Digest:
        return digests.of_hash(self._hash)


class GatheringSink:
    """A sink that hands on large pieces of the many small ones that a tar of small files is written in.

    Call ``finish`` at the end.
    """

    def __init__(self, target: Sink) -> None:
        self._target = target
        self._gathered = bytearray()

    def write(self, data: bytes | memoryview, /) -> None:
        self._gathered += data
        if len(self._gathered) >= _PIECE:
            self.finish()

    def finish(self) -> None:
        self._target.write(bytes(self._gathered))
        self._gathered.clear()


class CompressingSink:
    """A sink that compresses into another; call ``finish`` at the end."""

    def __init__(self, compressor: Compressor, target: Sink) -> None:
        self._compressor = compressor
        self._target = target

    def write(self, data: bytes | memoryview, /) -> None:
        if packed := self._compressor.compress(data):
            self._target.write(packed)

    def finish(self) -> None:
        self._target.write(self._compressor.flush())


class ReadAhead:
    """A source read by a thread of its own, a bounded number of chunks ahead. Use as a context manager."""

    def __init__(self, source: Source, chunks: int = _AHEAD) -> None:
        self._source = source
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(chunks)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampan-inflate", daemon=True)
        self._ended = False

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                data = self._source.read(CHUNK)
                self._queue.put(data)
                if not data:
                    return
        except BaseException as error:  # noqa: BLE001 handed to the reader, which raises it
            self._queue.put(error)

    def read(self, size: int = CHUNK, /) -> bytes:
        """The next chunk (``size`` is not looked at: chunks are bounded by what the thread reads)."""
        if self._ended:
            return b""
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._ended = True
            raise item
        self._ended = not item
        return item

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        while self._thread.is_alive():
            self._empty()
            self._thread.join(0.01)

    def _empty(self) -> None:
        """Make room, so that a thread waiting to put its last chunk ends."""
        while not self._queue.empty():
            self._queue.get_nowait()
