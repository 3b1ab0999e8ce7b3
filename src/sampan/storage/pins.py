"""Pins: leases that outlive the process. What the build cache keeps is not garbage after a restart either.

    records (kind "pin")    id: who pins    value: the digests of blobs and the chain IDs of layers

Pins are in force from the moment the storage is opened, before its first collection.
"""

from collections.abc import Sequence

import msgspec

from sampan.oci.digest import AnyDigest
from sampan.storage.database import Database
from sampan.storage.leases import Leases
from sampan.storage.records import Records


class Pin(msgspec.Struct, frozen=True):
    """What one owner keeps."""

    digests: list[str]


class Pins:
    """All pins of a data root; safe to call from any thread."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._records = Records(database, "pin", Pin)
        self._leases = leases
        for _, pin in self._records.all():
            self._leases.held.update(pin.digests)  # type: ignore[arg-type]

    def hold(self, owner: str, digests: Sequence[AnyDigest]) -> None:
        """Keep ``digests`` for ``owner`` until released; what it held before is let go."""
        with self._leases.lock:
            self.release(owner)
            self._leases.held.update(digests)
            self._records.put(owner, Pin([str(digest) for digest in digests]))

    def release(self, owner: str) -> None:
        """Let go of everything that ``owner`` holds."""
        with self._leases.lock:
            pin = self._records.get(owner)
            if pin is not None:
                self._leases.held.subtract(pin.digests)  # type: ignore[arg-type]
                self._leases.held += type(self._leases.held)()
                self._records.delete(owner)
