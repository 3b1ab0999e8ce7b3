"""``/dev/shm`` that may be shared: a tmpfs at ``<run_dir>/shm`` on the host, bound into the container and its guests.

Only ``--ipc shareable`` has one; every other container's is made inside its own mount namespace.
"""

import os
from contextlib import suppress
from pathlib import Path

from sampan.engine.container import Container
from sampan.linux.mount import (
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    mount_detached,
    move_mount,
    umount,
)
from sampan.storage.snapshots import remove_path

FLAGS = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def shared_directory(container: Container) -> Path:
    """Where the container's shareable /dev/shm is mounted while it runs."""
    return container.run_dir / "shm"


def provide(container: Container, owner: tuple[int, int] = (0, 0)) -> str:
    """Mount the tmpfs, which belongs to ``owner`` (uid and gid); returns its path."""
    directory = shared_directory(container)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    uid, gid = map(str, owner)
    options = {"mode": "1777", "size": str(container.record.host_config.shm_size), "uid": uid, "gid": gid}
    tmpfs = mount_detached("tmpfs", options, FLAGS)
    try:
        move_mount(tmpfs, directory)
    finally:
        os.close(tmpfs)
    return str(directory)


def withdraw(container: Container) -> None:
    """Unmount it, and remove what lies where it was; nothing happens when there is none."""
    directory = shared_directory(container)
    if directory.is_dir():
        with suppress(OSError):
            umount(directory, MNT_DETACH)
        remove_path(directory)
