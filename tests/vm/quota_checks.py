"""Quotas of directories on file systems that have them: ext4 with ``prjquota``, XFS with ``pquota``.

Each file system is made in a file and mounted over a loop device. This needs a kernel with CONFIG_QFMT_V2 and
CONFIG_XFS_QUOTA; that of the virtual machine has both, and the tests are run there.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest
from engine_daemon import IMAGE, Daemon, busybox_tar

from sampan.api.volumes import VolumeCreateRequest
from sampan.engine.volumes import Volumes
from sampan.linux import mount, quota
from sampan.storage.database import Database
from sampan.storage.leases import Leases
from sampan.storage.quota import Quotas
from sampan.storage.snapshots import Snapshots

MEGABYTE = 1 << 20
FILL = """\
df -k / | tail -n 1 | awk '{print $2}'
dd if=/dev/zero of=/tmp/file bs=1M count=40 2>/dev/null
wc -c < /tmp/file
"""
"""In a container: its size in kilobytes, and how many bytes it can write."""
KINDS = {
    "ext4": (("mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"), "prjquota"),
    "xfs": (("mkfs.xfs", "-q"), "pquota"),
}


@pytest.fixture(params=KINDS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system with quotas."""
    make, option = KINDS[request.param]
    image, place = tmp_path / "image", tmp_path / "place"
    image.touch()
    os.truncate(image, 512 * MEGABYTE)
    place.mkdir()
    subprocess.run([*make, str(image)], check=True)
    mounted = subprocess.run(
        ["mount", "-o", f"loop,{option}", str(image), str(place)], capture_output=True, check=False
    )
    yield place
    if mounted.returncode == 0:
        mount.umount(place, 0)


@pytest.fixture
def quotas(root: Path) -> Quotas:
    return Quotas(root)


def fill(directory: Path, megabytes: int) -> int:
    """Write a file as a user without capabilities, until it is enough or refused; how many megabytes were written."""
    fd = os.open(directory / "file", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if (child := os.fork()) == 0:
        written = 255
        try:
            os.setgid(1000)
            os.setuid(1000)
            written = write(fd, megabytes)
        finally:
            os._exit(written)
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def write(fd: int, megabytes: int) -> int:
    """Write and sync a megabyte at a time; how many went."""
    for written in range(megabytes):
        try:
            os.write(fd, b"x" * MEGABYTE)
            os.fsync(fd)
        except OSError:
            return written
    return megabytes


def test_a_directory_holds_what_it_was_given(root: Path, quotas: Quotas) -> None:
    assert quotas.supported
    one, other, free = (root / name for name in ("one", "other", "free"))
    for directory in (one, other, free):
        directory.mkdir()
    quotas.limit([one, other], 8 * MEGABYTE)
    assert fill(one, 6) == 6
    assert fill(other, 6) < 3
    assert fill(free, 12) == 12
    quotas.forget(one)
    assert fill(one, 12) == 12


def test_two_directories_have_projects_of_their_own(root: Path, quotas: Quotas) -> None:
    assert quotas.supported
    projects = set()
    for name in ("one", "other"):
        (root / name).mkdir()
        quotas.limit([root / name], MEGABYTE)
        fd = os.open(root / name, os.O_RDONLY)
        projects.add(quota.project_of(fd))
        assert quota.usage(fd, quota.project_of(fd))[1] == MEGABYTE
        os.close(fd)
    assert len(projects) == 2


def test_a_writable_layer_is_held_through_its_overlay(root: Path) -> None:
    database = Database(root / "engine.db")
    snapshots = Snapshots(root, database, Leases())
    snapshots.prepare("key", None, size=8 * MEGABYTE)
    place = root / "merged"
    place.mkdir()
    tree = snapshots.mount("key")
    mount.move_mount(tree, place)
    os.close(tree)
    try:
        shown = os.statvfs(place)
        assert shown.f_blocks * shown.f_frsize == 8 * MEGABYTE
        assert fill(place, 12) < 9
    finally:
        mount.umount(place, mount.MNT_DETACH)
    snapshots.remove("key")
    assert not (root / "containers" / "key").exists()
    database.close()


async def test_a_volume_has_its_size_and_its_clone_too(root: Path) -> None:
    database = Database(root / "engine.db")
    volumes = Volumes(root, database, lambda *_: None)
    made = await volumes.create(VolumeCreateRequest(name="data", driver_opts={"size": "4m"}))
    assert fill(Path(made.mountpoint), 8) < 5
    copy = await volumes.clone("data", "copy")
    assert copy.options == {"size": "4m"}
    assert fill(Path(copy.mountpoint), 8) < 5
    await volumes.remove("data", force=False)
    database.close()


def test_layers_have_the_daemons_default_unless_they_ask(root: Path) -> None:
    flags = ("--storage-opt", "overlay2.size=8m", "--iptables=false")
    daemon = Daemon(root, "10.202.8", flags, patience=200)
    daemon.start()
    try:
        with closing(docker.DockerClient(base_url=daemon.url, timeout=200)) as client:
            client.api.import_image_from_data(busybox_tar(), repository=IMAGE.partition(":")[0], tag="latest")
            for asked, limit in ({}, 8), ({"size": "16m"}, 16):
                shown = client.containers.run(
                    IMAGE, ["sh", "-c", FILL], network_mode="none", remove=True, storage_opt=asked, user="1000"
                )
                blocks, written = map(int, shown.split())
                assert blocks == limit * MEGABYTE // 1024
                assert written <= limit * MEGABYTE
    finally:
        print(daemon.log[-3000:])
        daemon.stop()
