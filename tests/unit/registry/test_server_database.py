"""The registry's database at start: made at once when new, migrated when older, refused when newer."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from sampan.errors import EngineError
from sampan.registry.server import database
from sampan.registry.server.database import open_database
from sampan.registry.server.tables import METADATA

SLOW = ("alembic", "joserfc", "obstore", "psycopg", "sqlalchemy.dialects.postgresql")


def schema(path: Path) -> list[tuple[str, str]]:
    """Names and definitions of all tables and indexes."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        return [(name, " ".join(text.split())) for name, text in rows if name != "alembic_version"]


def revision(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


async def test_a_new_database_is_what_all_migrations_together_make(tmp_path: Path) -> None:
    await open_database(f"sqlite:///{tmp_path / 'new'}").close()
    first = [name for name in METADATA.tables if name not in ("uploads", "parts")]
    engine = create_engine(f"sqlite:///{tmp_path / 'old'}")
    with engine.begin() as connection:
        database._VERSION.create(connection)
        METADATA.create_all(connection, tables=[METADATA.tables[name] for name in first])
        connection.execute(database._VERSION.insert().values(version_num="0001"))
    engine.dispose()

    await open_database(f"sqlite:///{tmp_path / 'old'}").close()

    assert schema(tmp_path / "old") == schema(tmp_path / "new")
    assert revision(tmp_path / "old") == revision(tmp_path / "new") == database._REVISION


async def test_a_database_of_a_newer_version_is_refused_by_its_revision(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    await open_database(url).close()
    with sqlite3.connect(tmp_path / "registry.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num='9999'")

    with pytest.raises(EngineError, match="at revision '9999'; this version knows up to"):
        open_database(url)


def test_a_plain_registry_starts_without_what_only_others_need(tmp_path: Path) -> None:
    program = (
        "import sys; from sampan.registry.server.config import Config; "
        "from sampan.registry.server import main; from sampan.registry.server.registry import Registry; "
        f"Registry(Config(root={str(tmp_path)!r})); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert not [name for name in loaded if name.startswith(SLOW)]
