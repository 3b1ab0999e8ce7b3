"""Leases: what work under way needs is kept from the garbage collector until the work ends.

    with storage.leases.take() as lease:
        lease.hold(digest)            # blobs and chain IDs, before they are written
        …                             # ingest, unpack, write the image's row
    # from here the image's row keeps them

They live in memory: when the process dies its work does too, and what it left is garbage.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sampan.oci.digest import AnyDigest


class Lease:
    """One piece of work's claims; released when its ``with`` block ends."""

    def __init__(self, leases: "Leases") -> None:
        self._leases = leases
        self._held: list[AnyDigest] = []

    def hold(self, *digests: AnyDigest) -> None:
        """Keep these blobs and layers, whether they are here yet or not."""
        with self._leases.lock:
            self._leases.held.update(digests)
            self._held.extend(digests)

    @property
    def digests(self) -> frozenset[AnyDigest]:
        """All that it ever kept."""
        return frozenset(self._held)

    def _release(self) -> None:
        with self._leases.lock:
            self._leases.held.subtract(self._held)
            self._leases.held += Counter()


class Leases:
    """All leases. ``lock`` is held by the collector while it decides and deletes."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.held: Counter[AnyDigest] = Counter()

    @contextmanager
    def take(self) -> Iterator[Lease]:
        """A new lease, released at the end of the block."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            lease._release()
