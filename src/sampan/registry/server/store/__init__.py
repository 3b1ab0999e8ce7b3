"""Where the registry keeps blobs: the interface every storage driver honours.

A *key* names one stored copy of a blob and is used once: ``sha256/ab/<hex>/<generation>``. Because a blob stored again
gets a new generation, a collector deleting the old copy can never hit the new one, in whatever process.

The contract, which tests/contract/test_registry_store.py checks on every driver:

- ``put`` takes over a finished local file. When it returns, the blob is durable and whole; a crash before leaves
  either nothing or a whole copy under a key no record knows, which the collector finds by ``stored``.
- ``read`` gives exactly the bytes asked for, or raises NotFound before the first.
- ``delete`` of a missing key changes nothing.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import NewType, Protocol

from sampan.oci import digest as digests
from sampan.oci.digest import Digest

Key = NewType("Key", str)


@dataclass(frozen=True)
class Stored:
    """One stored copy: ``modified`` in seconds since 1970."""

    key: Key
    size: int
    modified: float


class Store(Protocol):
    """A storage driver."""

    async def put(self, key: Key, source: Path) -> None:
        """Store the file ``source`` as ``key`` and remove it."""

    def read(self, key: Key, start: int, length: int) -> AsyncIterator[bytes]:
        """``length`` bytes from ``start``, in pieces."""

    def file(self, key: Key) -> Path | None:
        """The local file, for drivers that have one: it is sent without passing through this process."""

    async def url(self, key: Key) -> str | None:
        """A URL clients may be sent to instead, or None."""

    async def delete(self, key: Key) -> None:
        """Remove the copy."""

    def stored(self) -> AsyncIterator[Stored]:
        """Every copy there is, in no order."""

    async def close(self) -> None:
        """Release connections."""


def new_key(digest: Digest) -> Key:
    """A key nobody used before, for content of this digest."""
    hex_digits = digests.encoded(digest)
    return Key(f"{digests.algorithm(digest)}/{hex_digits[:2]}/{hex_digits}/{secrets.token_hex(8)}")
