"""The build cache: what a step made, by the key of everything that it depended on.

    records (kind "build-cache")    id: key (sha256, hex)    value: Entry
    pins                            owner: "build-cache/" + key

A key covers the state before the step, its words after expansion, and the content of the files it reads; so a hit
means that running the step again would make the same layer.
"""

import time
from collections.abc import Sequence

import msgspec

from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import ChainID, DiffID
from sampan.storage.records import Records
from sampan.storage.store import Storage


class Entry(msgspec.Struct, frozen=True):
    """What a step made; ``layer`` is None for one that changed no files. Times in nanoseconds since 1970."""

    created: str
    description: str
    layer: Descriptor | None = None
    diff_id: DiffID | None = None
    chain: ChainID | None = None
    size: int = 0
    stored_at: int = 0
    used_at: int = 0
    uses: int = 0


class Cache:
    """The build cache of one data root. Methods may be called from any thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._records = Records(storage.database, "build-cache", Entry)

    def find(self, key: str) -> Entry | None:
        """The step's result if it is still wholly here."""
        entry = self._records.get(key)
        if entry is None or not self._is_here(entry):
            return None
        self._records.put(key, msgspec.structs.replace(entry, used_at=time.time_ns(), uses=entry.uses + 1))
        return entry

    def _is_here(self, entry: Entry) -> bool:
        if entry.layer is None:
            return True
        return (
            entry.layer.digest in self._storage.content
            and entry.chain is not None
            and entry.chain in self._storage.snapshots
        )

    def put(self, key: str, entry: Entry, stack: Sequence[ChainID]) -> None:
        """Keep a step's result, and the layers of ``stack`` under it."""
        if entry.layer is not None:
            self._storage.pins.hold(_owner(key), [entry.layer.digest, *stack])
        now = time.time_ns()
        self._records.put(key, msgspec.structs.replace(entry, stored_at=now, used_at=now))

    def entries(self) -> list[tuple[str, Entry]]:
        """Everything kept, the longest unused first."""
        return sorted(self._records.all(), key=lambda pair: pair[1].used_at)

    def drop(self, key: str) -> None:
        """Forget a result; its layer goes with the next collection if nothing else needs it."""
        self._records.delete(key)
        self._storage.pins.release(_owner(key))


def _owner(key: str) -> str:
    return f"build-cache/{key}"
