"""Blobs as files.

<root>/blobs/sha256/<2 hex>/<hex>/<generation>      one whole blob; appears by rename after fsync
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sampan.errors import NotFound
from sampan.registry.server.store import Key, Stored

_PIECE = 1 << 20


class FilesystemStore:
    """A storage driver on a local or network file system."""

    def __init__(self, root: Path) -> None:
        self._root = root / "blobs"
        self._root.mkdir(parents=True, exist_ok=True)

    async def put(self, key: Key, source: Path) -> None:
        """Move ``source`` into place; it must be on the same file system."""
        await asyncio.to_thread(self._put, self._root / key, source)

    def _put(self, target: Path, source: Path) -> None:
        sync(source, os.O_RDONLY)
        made = [parent for parent in target.parents if parent.is_relative_to(self._root)]
        while True:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                source.rename(target)
                break
            except FileNotFoundError:
                if not source.exists():
                    raise
                # The collector removed the empty directory in between: make it again.
        for directory in made:
            sync(directory, os.O_RDONLY | os.O_DIRECTORY)

    async def read(self, key: Key, start: int, length: int) -> AsyncIterator[bytes]:
        """Pieces of at most 1 MiB, read in a thread."""
        try:
            file = await asyncio.to_thread(open, self._root / key, "rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"blob {key} is not stored") from None
        with file:
            file.seek(start)
            while length > 0 and (piece := await asyncio.to_thread(file.read, min(length, _PIECE))):
                length -= len(piece)
                yield piece

    def file(self, key: Key) -> Path | None:
        """The blob's own file."""
        return self._root / key

    async def url(self, key: Key) -> str | None:
        """Files have no URL."""
        return None

    async def delete(self, key: Key) -> None:
        """Unlink, and remove the digest's directory once empty."""
        await asyncio.to_thread(self._delete, self._root / key)

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    async def stored(self) -> AsyncIterator[Stored]:
        """Walk the tree one fan-out directory at a time."""
        for directory in await asyncio.to_thread(lambda: list(self._root.glob("*/*"))):
            for stored in await asyncio.to_thread(lambda where: list(self._below(where)), directory):
                yield stored

    def _below(self, directory: Path) -> Iterator[Stored]:
        for path in directory.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield Stored(Key(str(path.relative_to(self._root))), status.st_size, status.st_mtime)

    async def close(self) -> None:
        """Nothing is held."""


def sync(path: Path, flags: int) -> None:
    """fsync a file or directory by name."""
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
