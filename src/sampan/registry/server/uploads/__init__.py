"""Uploads under way: bytes of blobs not yet whole.

``Uploads`` is the interface; ``files`` keeps them beside the blobs of a file system, ``bucket`` in the bucket and the
database, so that any registry that shares these can go on with an upload that another began.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sampan.oci.digest import Digest


class Writer(Protocol):
    """Appends to one upload, and ends it."""

    @property
    def offset(self) -> int:
        """Bytes the upload has."""

    async def append(self, body: AsyncIterator[bytes], limit: int | None = None) -> None:
        """Write the body to its end; what arrived before a cut is kept. DataLoss when longer than ``limit`` bytes."""

    async def commit(self, digest: Digest) -> None:
        """Make it a blob of its repository; raises Refusal for a wrong digest, and throws it away then."""


class Uploads(Protocol):
    """Every upload. An unknown one, or one to another repository, is a Refusal BLOB_UPLOAD_UNKNOWN."""

    async def begin(self, name: str) -> str:
        """Start an upload to the repository; returns its UUID."""

    async def offset(self, name: str, upload: str) -> int:
        """Bytes the upload has."""

    async def cancel(self, name: str, upload: str) -> None:
        """Throw the upload away."""

    def writing(self, name: str, upload: str) -> AbstractAsyncContextManager[Writer]:
        """The one writer of the upload; Refusal while another request writes."""

    async def drop_stale(self, before: float) -> int:
        """Throw away uploads nobody wrote to since ``before`` (seconds since 1970); returns how many."""
