"""The registry's database: SQLite or PostgreSQL behind two doors, ``read`` and ``write``.

``write`` runs a function in one transaction, committed (and durable) before it returns. Writers go one at a time: on
SQLite by its lock and one writer thread, on PostgreSQL, where several registries may share the database, by an advisory
lock. So what a transaction has read stays true until it commits, and none is ever in another's way. Reads wait for
nobody; on SQLite they go straight from the event loop, for they take tens of microseconds.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, create_engine, event, func, inspect, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from sampan.errors import EngineError, Unavailable
from sampan.registry.server.tables import METADATA

T = TypeVar("T")

_MIGRATIONS = Path(__file__).parent / "migrations"
_POSTGRESQL_THREADS = 8
_REVISION = "0002"
"""The newest of the migrations: what the tables are at."""
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True, nullable=False))
_WRITERS = 0x73616D70
"""Key of the advisory lock, nothing else's in this database."""


class Database:
    """The open database; make it with ``open_database``, ``close`` it at the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.sqlite = engine.dialect.name == "sqlite"
        self._threads = ThreadPoolExecutor(1 if self.sqlite else _POSTGRESQL_THREADS, "registry-db")
        self._reader = engine.connect().execution_options(isolation_level="AUTOCOMMIT") if self.sqlite else None

    async def read(self, query: Callable[[Connection], T]) -> T:
        """What ``query`` finds now."""
        if self._reader is not None:
            return query(self._reader)
        return await self._run(self._read, query)

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Do ``change`` in one transaction; shielded, so a client going away does not undo half of a request."""
        return await asyncio.shield(self._run(self._write, change))

    async def _run(self, do: Callable[[Callable[[Connection], T]], T], query: Callable[[Connection], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, do, query)
        except OperationalError as error:
            raise Unavailable(f"the registry's database is unavailable: {error.orig}") from error

    def _read(self, query: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return query(connection)

    def _write(self, change: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            _be_the_writer(connection)
            return change(connection)

    async def close(self) -> None:
        """Wait for what is being written and close all connections."""
        await asyncio.to_thread(self._threads.shutdown)
        if self._reader is not None:
            self._reader.close()
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Connect, bring the tables up to date; raises EngineError when the database cannot be used."""
    try:
        engine = _engine(url)
        _migrate(engine)
        return Database(engine)
    except SQLAlchemyError as error:
        raise EngineError(f"cannot use the registry's database: {error}") from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=_POSTGRESQL_THREADS, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 30})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Write-ahead log; every commit reaches the disk before it is acknowledged."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock at once: a transaction that reads first could not upgrade without failing."""
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _be_the_writer(connection: Connection) -> None:
    """Wait for other writers; SQLite's BEGIN IMMEDIATE has done so."""
    if connection.dialect.name != "sqlite":
        connection.execute(select(func.pg_advisory_xact_lock(_WRITERS)))


def _migrate(engine: Engine) -> None:
    """Bring the tables to ``_REVISION``: made at once where there are none, by migrations where they are older."""
    with engine.begin() as connection:
        _be_the_writer(connection)
        found = _revision(connection)
        if found is None:
            METADATA.create_all(connection)
            _VERSION.create(connection)
            connection.execute(_VERSION.insert().values(version_num=_REVISION))
        elif found != _REVISION:
            _upgrade(connection, found)


def _revision(connection: Connection) -> str | None:
    """What the tables are at; None where there are none."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar()


def _upgrade(connection: Connection, found: str) -> None:
    """Run the migrations that lack; raises EngineError for tables of a newer version.

    Alembic takes as long to import as all else does: only those who need it wait for it.
    """
    from alembic import command
    from alembic.config import Config as AlembicConfig
    from alembic.util import CommandError

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise EngineError(
            f"the registry's database is at revision {found!r}; this version knows up to {_REVISION!r}: use a newer one"
        ) from error
