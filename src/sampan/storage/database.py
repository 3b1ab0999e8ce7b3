"""The engine's database: one SQLite file in WAL mode behind one connection.

Statements here take tens of microseconds and do no network or file-system walk, so they are called straight from
the event loop as well as from worker threads; a lock makes each transaction whole. What they write goes to the end of
the WAL; a thread moves it into the database file from time to time, for that is what waits for the disk. A killed
process loses nothing that was committed; after a power cut the last transactions may be missing, never half there.

The tables are made by ``MIGRATIONS``, in order; ``PRAGMA user_version`` counts those done. A file written by a newer
program is refused, and so is an empty one where there was one before (``must_exist``): an engine that knows of nothing
would take everything for left over. A copy of the file is kept beside it, see storage.backup.

    records           (kind, id) → JSON: containers, networks, volumes, …      see storage.records
    layers            chain ID → parent, diff ID, size                         see storage.snapshots
    actives           key → parent, ID maps                                    see storage.snapshots
    images            image ID → manifest, parent, times                       see storage.images
    image_references  reference → manifest or index                            see storage.images
    image_members     manifest or index → images of it that are here           see storage.images
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sampan.errors import DataLoss, EngineError

log = logging.getLogger("sampan.storage")

MIGRATIONS: Sequence[str] = (
    """
    CREATE TABLE records (
        kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT, value BLOB NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX records_by_name ON records (kind, name) WHERE name IS NOT NULL;

    CREATE TABLE layers (
        chain TEXT PRIMARY KEY, parent TEXT, diff_id TEXT NOT NULL,
        size INTEGER NOT NULL, inodes INTEGER NOT NULL, unsynced_boot TEXT
    ) WITHOUT ROWID;
    CREATE TABLE actives (key TEXT PRIMARY KEY, parent TEXT) WITHOUT ROWID;

    CREATE TABLE images (
        id TEXT PRIMARY KEY, manifest TEXT NOT NULL, parent TEXT,
        stored_at INTEGER NOT NULL, tagged_at INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX images_by_parent ON images (parent);
    CREATE TABLE image_references (
        reference TEXT PRIMARY KEY, repository TEXT NOT NULL, target TEXT NOT NULL,
        media_type TEXT NOT NULL, size INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX image_references_by_target ON image_references (target);
    CREATE TABLE image_members (
        target TEXT NOT NULL, position INTEGER NOT NULL, manifest TEXT NOT NULL, image TEXT NOT NULL,
        PRIMARY KEY (target, position)
    ) WITHOUT ROWID;
    CREATE INDEX image_members_by_image ON image_members (image);
    """,
    "ALTER TABLE actives ADD COLUMN owners BLOB",
    "ALTER TABLE actives DROP COLUMN owners",
)


FULL = ("database or disk is full", "disk I/O error", "readonly database")
"""What SQLite says when the disk, not the file, is to blame."""

CHECKPOINT = 1000
"""Rows changed from one checkpoint to the next: some megabytes of WAL."""
LONGEST = 8000
"""Pages of the WAL from which on writers wait for a checkpoint's last pages, lest it grow for ever."""


class Database:
    """The open database; ``close`` it at the end of the process."""

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        """Raises DataLoss for what is no database, or for an empty one that ``must_exist``."""
        self._lock = threading.RLock()
        self._path = path
        self._checkpointed = 0
        self._checkpointing: threading.Thread | None = None
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.DatabaseError as error:
            raise EngineError(f"cannot open {path}: {error}") from error
        try:
            with self._told():
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=NORMAL")
                self._connection.execute("PRAGMA wal_autocheckpoint=0")
                self._migrate(must_exist=must_exist)
        except EngineError:
            self._connection.close()
            raise

    def _migrate(self, *, must_exist: bool) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and must_exist:
            raise DataLoss(f"{self._path} has lost its content; stop the daemon and see `sampan system check --repair`")
        if version > len(MIGRATIONS):
            raise EngineError(
                f"the data root was written by a newer version (format {version}, known up to {len(MIGRATIONS)})"
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._connection.executescript(f"BEGIN; {script}; PRAGMA user_version={number}; COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's errors, said in the engine's: a full disk is no damage, anything else in the file is."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            if any(words in str(error) for words in FULL):
                raise EngineError(f"cannot write {self._path}: {error}") from error
            raise DataLoss(f"{self._path} is damaged ({error}); see `sampan system check`") from error

    @contextmanager
    def transaction(self) -> Iterator["Database"]:
        """All statements inside are committed together, or none is; nested use joins the outer one."""
        with self._lock:
            if self._connection.in_transaction:
                yield self
                return
            with self._told():
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:  # an error of the disk has ended it already
                        self._connection.execute("ROLLBACK")
                    raise

    def execute(self, sql: str, *parameters: Any) -> int:
        """Run a statement; returns the number of rows it changed."""
        with self._lock, self._told():
            changed = self._connection.execute(sql, parameters).rowcount
            if self._connection.total_changes - self._checkpointed >= CHECKPOINT:
                self._start_checkpoint()
            return changed

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock, self._told():
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None:
        """The first row of a query, None if there is none."""
        with self._lock, self._told():
            row: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
            return row

    def _start_checkpoint(self) -> None:
        """Have the WAL written back, unless that is being done."""
        if self._checkpointing is None or not self._checkpointing.is_alive():
            self._checkpointed = self._connection.total_changes
            self._checkpointing = threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True)
            self._checkpointing.start()

    def _checkpoint(self) -> None:
        """A passive one holds up no statement, but the WAL begins anew only where nothing came after it."""
        try:
            with closing(sqlite3.connect(self._path)) as connection:
                _, length, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if length > LONGEST:
                    with self._lock:
                        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.DatabaseError as error:
            log.warning("%s: the WAL could not be written back: %s", self._path, error)

    @property
    def changes(self) -> int:
        """Counts rows changed since the file was opened."""
        return self._connection.total_changes

    def copy(self, target: Path) -> None:
        """Write a copy of the whole database, as it is now, to a new file."""
        with closing(sqlite3.connect(target)) as copied, self._lock, self._told():
            self._connection.backup(copied)

    def close(self) -> None:
        if self._checkpointing is not None:
            self._checkpointing.join()
        with self._lock:
            self._connection.close()
