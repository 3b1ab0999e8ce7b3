"""The user's mounts of a container that starts: volumes acquired, sources found, each made a mount of the spec.

    bind     the host's path (made as a directory when ``--volume`` names a missing one)
    volume   the volume's directory, or a path in it, held by an fd so that nobody can move it away meanwhile
    image    a read-only view of an image's layers, held by an fd
    tmpfs    options only

A ``Holding`` keeps what was acquired; ``release`` gives it back, also after a failed start.
"""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from sampan.api.mounts import BindOptions, ImageOptions, TmpfsOptions, VolumeOptions
from sampan.engine.container import Container, MountRecord
from sampan.engine.volumes import Volumes
from sampan.errors import InvalidParameter
from sampan.linux.openat2 import open_in_root
from sampan.oci import runtime_spec as oci
from sampan.storage.images import Images
from sampan.storage.snapshots import Snapshots

TMPFS_FLAGS = ("nosuid", "nodev", "noexec")


def by_fd(fd: int) -> str:
    """A path to what ``fd`` holds, good in every process of the daemon's pid namespace."""
    return f"/proc/{os.getpid()}/fd/{fd}"


class Mounter:
    """Makes mount records into mounts of the spec."""

    def __init__(self, volumes: Volumes, images: Images, snapshots: Snapshots) -> None:
        self._volumes = volumes
        self._images = images
        self._snapshots = snapshots

    async def mounts(self, container: Container, held: ExitStack) -> list[oci.Mount]:
        """All mounts the user asked for; fds that must stay open until the start is over go into ``held``."""
        found = [await self._mount(container, record, held) for record in container.record.mounts]
        return found + list(tmpfs_mounts(container.record.host_config.tmpfs.items()))

    async def _mount(self, container: Container, record: MountRecord, held: ExitStack) -> oci.Mount:
        match record.point.type:
            case "volume":
                return await self._volume(container, record, held)
            case "image":
                return self._image(record, held)
            case "tmpfs":
                return tmpfs_mount(record)
            case _:
                return bind_mount(record)

    async def _volume(self, container: Container, record: MountRecord, held: ExitStack) -> oci.Mount:
        path = await self._volumes.acquire(record.point.name, container.id)
        subpath = (record.request.volume_options or VolumeOptions()).subpath
        source = str(path)
        if subpath:
            fd = self._volumes.open(record.point.name, subpath)
            held.callback(os.close, fd)
            source = by_fd(fd)
        return oci.Mount(record.point.destination, "bind", source, bind_options(record))

    def _image(self, record: MountRecord, held: ExitStack) -> oci.Mount:
        fd = self._snapshots.view(self._images.resolve(record.point.source).chain_id)
        held.callback(os.close, fd)
        subpath = (record.request.image_options or ImageOptions()).subpath
        if subpath:
            fd = open_in_root(fd, subpath)
            held.callback(os.close, fd)
        return oci.Mount(record.point.destination, "bind", by_fd(fd), ("rbind", "ro", "rprivate"))

    async def release(self, container: Container) -> None:
        """Give the volumes back; idempotent."""
        for record in container.record.mounts:
            if record.point.type == "volume":
                await self._volumes.release(record.point.name, container.id)


def bind_mount(record: MountRecord) -> oci.Mount:
    """A bind of the host's path; ``--volume`` makes a missing directory, ``--mount`` wants it there."""
    source = Path(record.point.source)
    options = record.request.bind_options or BindOptions()
    if not source.exists():
        if not options.create_mountpoint:
            raise InvalidParameter(f'invalid mount config for type "bind": bind source path does not exist: {source}')
        source.mkdir(parents=True, exist_ok=True)
    return oci.Mount(record.point.destination, "bind", str(source), bind_options(record))


def bind_options(record: MountRecord) -> list[str]:
    """Options of a bind: recursion, propagation, and how deep read-only goes."""
    options = record.request.bind_options or BindOptions()
    chosen = ["bind" if options.non_recursive else "rbind", record.point.propagation or "rprivate"]
    if not record.point.rw:
        chosen.append("ro")
        if not options.read_only_non_recursive and not options.non_recursive:
            chosen.append("rro")
    return chosen


def tmpfs_mount(record: MountRecord) -> oci.Mount:
    """A tmpfs of ``--mount``."""
    options = record.request.tmpfs_options or TmpfsOptions()
    chosen = [flag for flag in TMPFS_FLAGS if not (flag == "noexec" and ["exec"] in options.options)]
    if record.request.read_only:
        chosen.append("ro")
    if options.size_bytes:
        chosen.append(f"size={options.size_bytes}")
    if options.mode:
        chosen.append(f"mode={options.mode:o}")
    return oci.Mount(record.point.destination, "tmpfs", "tmpfs", chosen)


def tmpfs_mounts(asked: Iterable[tuple[str, str]]) -> Iterable[oci.Mount]:
    """Mounts of ``--tmpfs DESTINATION[:OPTIONS]``: options of their own over noexec, nosuid, nodev."""
    for destination, text in asked:
        own = [option for option in text.split(",") if option]
        opposites = {"exec": "noexec", "suid": "nosuid", "dev": "nodev"}
        lifted = {opposites[option] for option in own if option in opposites}
        chosen = [flag for flag in ("noexec", "nosuid", "nodev") if flag not in lifted and flag not in own]
        yield oci.Mount(destination, "tmpfs", "tmpfs", [*chosen, *own])
