"""Records: structs kept in the database by kind and ID, some with a unique name.

    containers = Records(database, "container", ContainerRecord)
    containers.put(container.id, container, name="/web")
    containers.get(container_id); containers.named("/web"); containers.all()

A struct is stored as JSON, so that a later version may add fields with defaults.

A record that cannot be read is set aside when all are read: its bytes stay under the kind ``damaged:<kind>``, its name
is free, and the rest goes on without it. ``sampan system check`` finds it there.
"""

import logging
import sqlite3
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from sampan.errors import Conflict, DataLoss
from sampan.storage.database import Database

T = TypeVar("T", bound=msgspec.Struct)

log = logging.getLogger("sampan.storage")

DAMAGED = "damaged:"
"""Before the kind of a record that was set aside."""


class NameTaken(Conflict):
    """Another record of the kind has the name; ``owner`` is its ID."""

    def __init__(self, kind: str, name: str, owner: str) -> None:
        super().__init__(f"{kind} name {name} is already in use by {owner}")
        self.name = name
        self.owner = owner


class Records(Generic[T]):
    """All records of one kind. ``name`` is unique within the kind; None is no name."""

    def __init__(self, database: Database, kind: str, type: type[T]) -> None:
        self._database = database
        self._kind = kind
        self._decoder = msgspec.json.Decoder(type)
        self._encoder = msgspec.json.Encoder()

    def get(self, id: str) -> T | None:
        """The record with exactly this ID."""
        row = self._database.row("SELECT value FROM records WHERE kind=? AND id=?", self._kind, id)
        return None if row is None else self._decode(id, row[0])

    def named(self, name: str) -> T | None:
        """The record with exactly this name."""
        row = self._database.row("SELECT id, value FROM records WHERE kind=? AND name=?", self._kind, name)
        return None if row is None else self._decode(*row)

    def put(self, id: str, value: T, name: str | None = None) -> None:
        """Write the record, whole, replacing an earlier one of this ID; raises NameTaken."""
        try:
            self._database.execute(
                "INSERT INTO records (kind, id, name, value) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (kind, id) DO UPDATE SET name=excluded.name, value=excluded.value",
                *(self._kind, id, name, self._encoder.encode(value)),
            )
        except sqlite3.IntegrityError:
            raise NameTaken(self._kind, name or "", self._owner(name)) from None

    def delete(self, id: str) -> bool:
        """Forget the record; False if there was none."""
        return self._database.execute("DELETE FROM records WHERE kind=? AND id=?", self._kind, id) > 0

    def all(self) -> Iterator[tuple[str, T]]:
        """Every readable record with its ID, in the order of IDs; the others are set aside."""
        for id, value in self._database.rows("SELECT id, value FROM records WHERE kind=? ORDER BY id", self._kind):
            try:
                record = self._decode(id, value)
            except DataLoss as error:
                self._set_aside(id, error)
            else:
                yield id, record

    def aside(self) -> frozenset[str]:
        """IDs of the records that were set aside."""
        rows = self._database.rows("SELECT id FROM records WHERE kind=?", DAMAGED + self._kind)
        return frozenset(id for (id,) in rows)

    def _set_aside(self, id: str, error: DataLoss) -> None:
        self._database.execute(
            "UPDATE OR REPLACE records SET kind=?, name=NULL WHERE kind=? AND id=?",
            DAMAGED + self._kind,
            self._kind,
            id,
        )
        log.error("%s; it is set aside, see `sampan system check`", error.message)

    def _decode(self, id: str, value: bytes) -> T:
        try:
            return self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataLoss(f"the record of {self._kind} {id} is unreadable: {error}") from error

    def _owner(self, name: str | None) -> str:
        row = self._database.row("SELECT id FROM records WHERE kind=? AND name=?", self._kind, name)
        return row[0] if row else ""
