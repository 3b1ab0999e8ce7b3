"""A damaged data root: what a daemon does with it, what ``sampan system check`` finds, and what is there afterwards.

Each test damages something under a daemon that was killed. Whatever it is, the daemon starts or says in one sentence
why not; the check finds the damage and repairs it; what was acknowledged, or its files, is there.
"""

import io
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from engine_daemon import IMAGE, Daemon, wait_for

CHECK = (sys.executable, "-m", "sampan.cli.main", "system", "check", "--data-root")
PAGE = 4096


def check(daemon: Daemon, *flags: str) -> "subprocess.CompletedProcess[str]":
    """``sampan system check`` of the daemon's data root."""
    command = [*CHECK, str(daemon.root / "data"), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def data(daemon: Daemon) -> Path:
    return daemon.root / "data"


@pytest.fixture
def kept(daemon: Daemon, client: docker.DockerClient, run: Callable[..., Any]) -> Iterator[tuple[Any, Any]]:
    """A running container with a volume and a network of its own, and a stopped one; the daemon's copy knows them."""
    network = client.networks.create("own")
    runs = run("sleep 600", name="runs", volumes=["precious:/precious"], network_mode="own", stop_signal="SIGKILL")
    assert runs.exec_run(["sh", "-c", "echo mine > /precious/file; echo mine > /kept"]).exit_code == 0
    stopped = client.containers.create(IMAGE, "cat /etc/passwd", name="stopped", network_mode="none")
    daemon.stop()
    daemon.start()
    yield runs, stopped
    shutil.rmtree(data(daemon) / "lost", ignore_errors=True)
    with closing(daemon.client()) as cleaner:
        for container in cleaner.containers.list(all=True):
            container.remove(force=True, v=True)
        for name, found in (("own", cleaner.networks), ("precious", cleaner.volumes)):
            with suppress(NotFound):
                found.get(network.id if name == "own" else name).remove()


def damage_records(daemon: Daemon, *kinds: str, copy: bool = False) -> None:
    """Write something unreadable over all records of the kinds."""
    for name in ("engine.db", "engine.db.copy") if copy else ("engine.db",):
        with closing(sqlite3.connect(data(daemon) / name)) as database:
            for kind in kinds:
                database.execute("UPDATE records SET value=x'7b226964ff00' WHERE kind=?", (kind,))
            database.commit()


def test_unreadable_records_are_set_aside_and_come_back_from_the_copy(
    daemon: Daemon, client: docker.DockerClient, kept: tuple[Any, Any]
) -> None:
    daemon.stop(signal.SIGKILL)
    damage_records(daemon, "container", "volume", "network", "exec", "pin")
    daemon.start()
    assert client.containers.list(all=True) == []
    assert client.volumes.list() == []
    assert "is unreadable" in daemon.log
    client.containers.run(IMAGE, "true", name="runs", network_mode="none", remove=True)  # the name is free meanwhile
    daemon.stop()
    found = check(daemon)
    assert found.returncode == 1
    assert f"the record of container {kept[0].id} is unreadable" in found.stdout
    assert check(daemon, "--repair").returncode == 0
    assert check(daemon).returncode == 0, check(daemon).stdout
    daemon.start()
    for container in kept:
        container.start()
    assert kept[0].exec_run("cat /precious/file /kept").output == b"mine\nmine\n"
    assert client.networks.get("own").containers


def test_without_a_copy_files_are_kept_where_a_person_finds_them(
    daemon: Daemon, client: docker.DockerClient, kept: tuple[Any, Any]
) -> None:
    daemon.stop(signal.SIGKILL)
    damage_records(daemon, "container", "volume", copy=True)
    daemon.start()
    daemon.stop()
    assert (data(daemon) / "containers" / kept[0].id / "upper" / "kept").read_text() == "mine\n"
    assert check(daemon, "--repair").returncode == 0
    assert (data(daemon) / "lost" / f"container-{kept[0].id}" / "upper" / "kept").read_text() == "mine\n"
    daemon.start()
    script = ["cat", "/precious/file"]
    assert client.containers.run(IMAGE, script, volumes=["precious:/precious"], network_mode="none") == b"mine\n"


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def shortened(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


def scribbled(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    for at in range(PAGE * 2, len(raw), PAGE * 3):
        raw[at : at + 1024] = b"\xa5" * 1024
    path.write_bytes(bytes(raw))


def without_header(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(b"\0" * PAGE + raw[PAGE:])


@pytest.mark.parametrize("damaged", [emptied, shortened, scribbled, without_header, Path.unlink])
def test_a_damaged_database_is_refused_and_made_whole_again(
    daemon: Daemon, client: docker.DockerClient, kept: tuple[Any, Any], damaged: Callable[[Path], None]
) -> None:
    daemon.stop(signal.SIGKILL)
    with closing(sqlite3.connect(data(daemon) / "engine.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for side in ("-wal", "-shm"):
        (data(daemon) / f"engine.db{side}").unlink(missing_ok=True)
    damaged(data(daemon) / "engine.db")
    with pytest.raises(AssertionError):
        daemon.start()
    assert "Traceback" not in daemon.log
    assert "sampan system check" in daemon.log.splitlines()[-1]
    assert kept[0].id in "".join(each.name for each in (daemon.root / "run" / "containers").iterdir())
    assert check(daemon).returncode == 1
    repaired = check(daemon, "--repair")
    assert repaired.returncode == 0, repaired.stdout
    daemon.start()
    assert client.containers.get("runs").status == "running"
    assert kept[0].exec_run("cat /precious/file /kept").output == b"mine\nmine\n"
    kept[1].start()
    wait_for(lambda: client.containers.get("stopped").status == "exited")
    assert [image.tags for image in client.images.list()] == [[IMAGE]]


def test_a_database_of_yesterday_loses_no_files(
    daemon: Daemon, client: docker.DockerClient, run: Callable[..., Any]
) -> None:
    daemon.stop()
    yesterday = (data(daemon) / "engine.db").read_bytes()
    daemon.start()
    container = run("sleep 600")
    container.exec_run(["sh", "-c", "echo mine > /kept"])
    daemon.stop(signal.SIGKILL)
    for path in data(daemon).glob("engine.db-*"):
        path.unlink()
    (data(daemon) / "engine.db").write_bytes(yesterday)
    daemon.start()
    assert client.containers.list(all=True) == []
    files = data(daemon) / "containers" / container.id
    assert (files / "upper" / "kept").read_text() == "mine\n"
    assert "whose record is lost" in daemon.log
    shutil.rmtree(files)


STATE = ("{data}/containers/*/hosts", "{data}/containers/*/resolv.conf", "{data}/containers/*/hostname")
STATE += ("{data}/containers/*/*-json.log", "{data}/containers/*/exit", "{data}/version", "{run}/network/*.json")
STATE += ("{run}/containers/*/monitor.sock", "{data}/engine.db.copy", "{root}/sampan.pid")


@pytest.mark.parametrize("spoilt", [emptied, shortened, Path.unlink])
def test_half_written_files_stop_neither_the_daemon_nor_its_containers(
    daemon: Daemon, client: docker.DockerClient, kept: tuple[Any, Any], spoilt: Callable[[Path], None]
) -> None:
    kept[1].start()
    kept[1].wait()
    daemon.stop(signal.SIGKILL)
    spoilt_files = []
    for pattern in STATE:
        place = pattern.format(data=data(daemon), run=daemon.root / "run", root=daemon.root)
        for path in Path("/").glob(place.removeprefix("/")):
            if path.is_file():
                spoilt(path)
                spoilt_files.append(path)
    assert len(spoilt_files) >= 8
    daemon.start()
    assert client.containers.get("runs").status == "running"
    for container in kept:
        container.restart(timeout=0)
    assert kept[0].exec_run("cat /precious/file").output == b"mine\n"
    assert b"runs" in kept[0].exec_run("cat /etc/hosts").output or kept[0].exec_run("hostname").exit_code == 0
    wait_for(lambda: b"root:x:0:0" in kept[1].logs())
    daemon.stop()
    assert check(daemon).returncode == 0, check(daemon).stdout
    daemon.start()


def removed_layers(daemon: Daemon) -> None:
    for path in (data(daemon) / "snapshots").iterdir():
        shutil.rmtree(path)


def removed_places(daemon: Daemon) -> None:
    for path in ("data/tmp", "data/build", "data/content/ingest", "run/build", "run/network"):
        shutil.rmtree(daemon.root / path, ignore_errors=True)


def removed_container(daemon: Daemon) -> None:
    for path in (data(daemon) / "containers").iterdir():
        shutil.rmtree(path)


def removed_volume(daemon: Daemon) -> None:
    shutil.rmtree(data(daemon) / "volumes" / "precious")


@pytest.mark.parametrize("removed", [removed_layers, removed_places, removed_container, removed_volume])
def test_directories_that_go_under_its_feet_end_in_errors_not_in_its_death(
    daemon: Daemon, client: docker.DockerClient, kept: tuple[Any, Any], removed: Callable[[Daemon], None]
) -> None:
    kept[0].kill()
    removed(daemon)
    for container in kept:
        with suppress(docker.errors.APIError):
            container.start()
    with suppress(docker.errors.APIError):
        client.containers.run(IMAGE, "true", network_mode="none", remove=True)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    for container in kept:
        container.remove(force=True)
    assert client.containers.run(IMAGE, "echo again", network_mode="none", remove=True) == b"again\n"
    client.images.build(fileobj=io.BytesIO(f"FROM {IMAGE}\nRUN true\n".encode()), rm=True)
    client.images.prune(filters={"dangling": True})
    assert "Traceback" not in daemon.log.rpartition("is ready")[2]
