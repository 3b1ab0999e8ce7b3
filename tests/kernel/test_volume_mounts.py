"""Volumes with mount options: made for the first container, gone with the last, errors in mount's words."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.api.volumes import VolumeCreateRequest
from sampan.engine.volumes import Volumes
from sampan.errors import EngineError
from sampan.linux.mountinfo import mounts
from sampan.storage.database import Database


@pytest.fixture
async def volumes(tmp_path: Path) -> AsyncIterator[Volumes]:
    database = Database(tmp_path / "engine.db")
    before = mounts()
    yield Volumes(tmp_path, database, lambda *_: None)
    database.close()
    assert mounts() == before


async def made(volumes: Volumes, **options: str) -> Path:
    volume = await volumes.create(VolumeCreateRequest(name="data", driver_opts=options))
    return Path(volume.mountpoint)


async def test_a_tmpfs_is_shared_by_its_containers_and_goes_with_the_last(volumes: Volumes) -> None:
    path = await made(volumes, type="tmpfs", device="tmpfs", o="size=1m,mode=0750,uid=7,nodev")
    for container in ("a" * 64, "b" * 64):
        assert await volumes.acquire("data", container) == path
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (7, 0o750)
    assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize == 1 << 20
    (path / "file").write_text("x")
    await volumes.release("data", "a" * 64)
    assert (path / "file").read_text() == "x"
    await volumes.release("data", "b" * 64)
    assert not list(path.iterdir())


async def test_a_bind_shows_the_directory_and_may_be_read_only(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    path = await made(volumes, type="none", device=str(tmp_path / "source"), o="bind,ro")
    await volumes.acquire("data", "a" * 64)
    assert (path / "file").read_text() == "x"
    with pytest.raises(OSError, match="Read-only file system"):
        (path / "other").touch()
    await volumes.release("data", "a" * 64)


async def test_removing_a_bind_volume_leaves_what_it_showed(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x")
    await made(volumes, type="none", device=str(tmp_path / "source"), o="bind")
    await volumes.acquire("data", "a" * 64)
    await volumes.remove("data", force=True)
    assert (tmp_path / "source" / "file").read_text() == "x"


async def test_an_overlay_joins_directories(volumes: Volumes, tmp_path: Path) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "below").touch()
    (tmp_path / "upper" / "above").touch()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    path = await made(volumes, type="overlay", device="overlay", o=options)
    await volumes.acquire("data", "a" * 64)
    assert sorted(entry.name for entry in path.iterdir()) == ["above", "below"]
    await volumes.release("data", "a" * 64)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"type": "nfs", "device": ":/export", "o": "addr=192.0.2.1"}, "[Nn]o such device"),
        ({"type": "none", "device": "/no/such/place", "o": "bind"}, "[Nn]o such file"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "nonsense=1"}, "[Ii]nvalid argument"),
    ],
)
async def test_what_cannot_be_mounted_says_why(volumes: Volumes, options: dict[str, str], said: str) -> None:
    await made(volumes, **options)
    with pytest.raises(EngineError, match=f"error while mounting volume '.*': failed to mount local volume: .*{said}"):
        await volumes.acquire("data", "a" * 64)


async def test_a_restarted_daemon_knows_the_mounts_of_running_containers(volumes: Volumes, tmp_path: Path) -> None:
    path = await made(volumes, type="tmpfs", device="tmpfs")
    await volumes.acquire("data", "a" * 64)
    (path / "file").touch()
    database = Database(tmp_path / "engine.db")
    again = Volumes(tmp_path, database, lambda *_: None)
    again.adopt("data", "a" * 64)
    await again.acquire("data", "b" * 64)
    assert (path / "file").exists()
    for container in ("a" * 64, "b" * 64):
        await again.release("data", container)
    database.close()
