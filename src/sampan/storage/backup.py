"""A second copy of the database, for the day the first is damaged; and how both make a whole one again.

    <data-root>/engine.db          the database
    <data-root>/engine.db.copy     as it was when the daemon started, ended, or minutes ago; replaced whole
    <data-root>/lost/              what a repair took out: the damaged database, unreadable records, their files

A repaired database holds every row that can still be read. Tables that could not be read to their end are filled up
from the copy, except with containers and volumes whose files are gone: those were removed since.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sampan.storage.database import Database
from sampan.storage.records import DAMAGED

DATABASE, COPY, LOST = "engine.db", "engine.db.copy", "lost"
SIDES = ("", "-wal", "-shm")
TABLES = {
    "records": "kind, id",
    "layers": "chain",
    "actives": "key",
    "images": "id",
    "image_references": "reference",
    "image_members": "target, position",
}
"""Every table and its key."""

Row = tuple[Any, ...]


class Backup:
    """Keeps the copy; ``save`` is cheap when nothing has changed."""

    def __init__(self, root: Path, database: Database) -> None:
        self._path = root / COPY
        self._database = database
        self._saved = -1

    def save(self) -> bool:
        """Write the copy if the database has changed since the last; returns whether it did.

        While damaged records wait for a repair, the copy that still has them stays.
        """
        changes = self._database.changes
        damaged = self._database.row("SELECT 1 FROM records WHERE kind LIKE ?", f"{DAMAGED}%")
        if changes == self._saved or damaged:
            return False
        fresh = self._path.with_suffix(".copying")
        fresh.unlink(missing_ok=True)
        self._database.copy(fresh)
        fresh.rename(self._path)
        self._saved = changes
        return True


def salvage(root: Path) -> None:
    """Make a whole database of what can be read of the damaged one and of its copy; that goes to ``lost``."""
    fresh = root / f"{DATABASE}.new"
    for side in SIDES:
        Path(f"{fresh}{side}").unlink(missing_ok=True)
    database = Database(fresh)
    try:
        for table, key in TABLES.items():
            if not _take(database, table, _readable(root / DATABASE, table, key)):
                _take(database, table, (row for row in _readable(root / COPY, table, key) if _stands(root, table, row)))
    finally:
        database.close()
    kept = lost_place(root, DATABASE)
    for side in SIDES:
        if (root / f"{DATABASE}{side}").exists():
            (root / f"{DATABASE}{side}").rename(f"{kept}{side}")
    fresh.rename(root / DATABASE)


def record_in_copy(root: Path, kind: str, id: str) -> tuple[str | None, bytes] | None:
    """Name and bytes of a record in the copy; None when it is not there."""
    for row in _readable(root / COPY, "records", TABLES["records"]):
        if row and row[:2] == (kind, id):
            return row[2], row[3]
    return None


def lost_place(root: Path, name: str) -> Path:
    """A path in ``lost`` that nothing has yet."""
    (root / LOST).mkdir(mode=0o700, exist_ok=True)
    number, place = 0, root / LOST / name
    while place.exists():
        number += 1
        place = root / LOST / f"{name}.{number}"
    return place


def _readable(path: Path, table: str, key: str) -> Iterator[Row]:
    """Rows of a table from its beginning as far as they can be read; then, after an empty row, from its end."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as damaged:
            yield from damaged.execute(f"SELECT * FROM {table} ORDER BY {key}")
            return
    except sqlite3.DatabaseError:
        yield ()
    backwards = ", ".join(f"{column} DESC" for column in key.split(", "))
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as damaged:
            yield from damaged.execute(f"SELECT * FROM {table} ORDER BY {backwards}")
    except sqlite3.DatabaseError:
        return


def _take(database: Database, table: str, rows: Iterator[Row]) -> bool:
    """Put the rows in that are not there yet; False when they were not all."""
    whole: bool = True
    with database.transaction():
        for row in rows:
            if row:
                marks = ", ".join("?" * len(row))
                database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", *row)
            else:
                whole = False
    return whole


def _stands(root: Path, table: str, row: Row) -> bool:
    """Whether a row of the copy can still be true: a container's or volume's files are there."""
    places = {"container": "containers", "volume": "volumes"}
    if not row or table != "records" or row[0] not in places:
        return True
    files = root / places[row[0]] / str(row[1])
    return files.exists()
