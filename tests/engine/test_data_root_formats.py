"""Data roots of every format there was are opened, with everything in them; one of a format to come is refused."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from engine_daemon import IMAGE, Daemon

from sampan.storage.database import MIGRATIONS

BACK: dict[int, tuple[str, ...]] = {
    2: ("ALTER TABLE actives ADD COLUMN owners BLOB",),
    1: (),
}
"""What makes a database of the newest format one of an older: format 3 has the tables of format 1."""

CHECK = (sys.executable, "-m", "sampan.cli.main", "system", "check", "--data-root")


@pytest.fixture
def database(daemon: Daemon) -> Iterator[Path]:
    """The database of a daemon that stands; it runs again afterwards."""
    daemon.stop()
    yield daemon.root / "data" / "engine.db"
    if daemon.process is None:
        daemon.start()


def version_of(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_every_format_has_a_way_back_here() -> None:
    assert {*BACK, len(MIGRATIONS)} == set(range(1, len(MIGRATIONS) + 1))


@pytest.mark.parametrize("format", sorted(BACK))
def test_a_data_root_of_an_older_format_is_brought_up_to_date(
    daemon: Daemon, client: docker.DockerClient, run: Callable[..., Any], format: int
) -> None:
    runs, ended = run("sleep 600", stop_signal="SIGKILL"), run(["sh", "-c", "echo kept > /file; exit 3"])
    ended.wait()
    client.volumes.create("kept")
    network = client.networks.create("kept")
    client.images.get(IMAGE).tag("kept:image")
    daemon.stop()
    database = daemon.root / "data" / "engine.db"
    with closing(sqlite3.connect(database)) as connection:
        for statement in (*BACK[format], f"PRAGMA user_version={format}"):
            connection.execute(statement)
    daemon.start()
    assert version_of(database) == len(MIGRATIONS)
    assert runs.exec_run("true").exit_code == 0
    ended.reload()
    assert ended.attrs["State"]["ExitCode"] == 3
    assert b"kept" in b"".join(ended.get_archive("/file")[0])
    ended.start()
    client.volumes.get("kept").remove()
    network.remove()
    client.images.remove("kept:image")
    checked = subprocess.run([*CHECK, str(daemon.root / "data")], capture_output=True, text=True, check=False)
    assert "damage" not in checked.stdout, checked.stdout


def refused(daemon: Daemon) -> str:
    """What a daemon says that does not start."""
    with pytest.raises(AssertionError):
        daemon.start()
    daemon.process = None
    return daemon.log.splitlines()[-1]


def test_a_database_of_a_format_to_come_is_refused_and_left_alone(daemon: Daemon, database: Path) -> None:
    newest = len(MIGRATIONS)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA user_version={newest + 6}")
    told = f"the data root was written by a newer version (format {newest + 6}, known up to {newest})"
    assert refused(daemon) == f"sampand: {told}"
    assert version_of(database) == newest + 6
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA user_version={newest}")


def test_a_tree_of_a_format_to_come_is_refused_and_left_alone(daemon: Daemon, database: Path) -> None:
    version = database.with_name("version")
    version.write_text("2\n")
    assert refused(daemon) == f"sampand: {database.parent} has format '2'; this version knows '1'"
    assert version.read_text() == "2\n"
    version.write_text("1\n")


@pytest.mark.parametrize("content", ["", None])
def test_a_version_that_a_crash_cut_short_is_written_again(daemon: Daemon, database: Path, content: str | None) -> None:
    version = database.with_name("version")
    version.unlink()
    if content is not None:
        version.write_text(content)
    daemon.start()
    assert version.read_text() == "1\n"
