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
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from sampan.api.mounts import BindOptions, ImageOptions, TmpfsOptions, VolumeOptions
from sampan.engine.bind_idmap import Mappings, parse_idmap
from sampan.engine.container import Container, MountRecord
from sampan.engine.propagation import check_source
from sampan.engine.volumes import Volumes, open_below
from sampan.errors import InvalidParameter
from sampan.linux.mount import clone_mount
from sampan.linux.userns import Mapped
from sampan.oci import runtime_spec as oci
from sampan.storage.images import Images
from sampan.storage.snapshots import Snapshots

TMPFS_FLAGS = ("nosuid", "nodev", "noexec")


@dataclass
class Taken:
    """Mounts of the spec, and the detached mounts (fds) that some of them show, by destination.

    ``shared_memory`` is the source of a /dev/shm that is shared; "" for a private one.
    """

    mounts: list[oci.Mount] = field(default_factory=list)
    trees: dict[str, int] = field(default_factory=dict)
    mapped: Mapped | None = None
    shared_memory: str = ""


class Mounter:
    """Makes mount records into mounts of the spec."""

    def __init__(self, volumes: Volumes, images: Images, snapshots: Snapshots) -> None:
        self._volumes = volumes
        self._images = images
        self._snapshots = snapshots

    async def take(self, container: Container, held: ExitStack, mapped: Mapped | None = None) -> Taken:
        """All mounts the user asked for; fds that must stay open until the start is over go into ``held``.

        ``mapped``: the container's users, who own its volumes. A bind has the host's owners.
        """
        taken = Taken(mapped=mapped)
        for record in container.record.mounts:
            match record.point.type:
                case "volume":
                    taken.mounts.append(await self._volume(container, record, taken, held))
                case "image":
                    taken.mounts.append(self._image(record, taken, held))
                case "tmpfs":
                    taken.mounts.append(tmpfs_mount(record))
                case _:
                    taken.mounts.append(bind_mount(record, mapped))
        taken.mounts += tmpfs_mounts(container.record.host_config.tmpfs.items())
        return taken

    async def _volume(self, container: Container, record: MountRecord, taken: Taken, held: ExitStack) -> oci.Mount:
        path = await self._volumes.acquire(record.point.name, container.id, told_of(record))
        subpath = (record.request.volume_options or VolumeOptions()).subpath
        if subpath:
            inside = self._volumes.open(record.point.name, subpath)
            held.callback(os.close, inside)
            taken.trees[record.point.destination] = detached(inside, held)
        options = bind_options(record)
        if taken.mapped and self._volumes.has_own_files(record.point.name):
            options.append("idmap")
        return oci.Mount(record.point.destination, "bind", str(path), options)

    def _image(self, record: MountRecord, taken: Taken, held: ExitStack) -> oci.Mount:
        tree = self._snapshots.view(self._images.get(record.point.source).chain_id, mapped=taken.mapped)
        held.callback(os.close, tree)
        subpath = (record.request.image_options or ImageOptions()).subpath
        if subpath:
            inside = open_below(tree, subpath, record.point.source)
            held.callback(os.close, inside)
            tree = detached(inside, held)
        taken.trees[record.point.destination] = tree
        return oci.Mount(record.point.destination, "bind", "", ("rbind", "ro", "rprivate"))

    async def release(self, container: Container) -> None:
        """Give the volumes back; idempotent."""
        for record in container.record.mounts:
            if record.point.type == "volume":
                await self._volumes.release(record.point.name, container.id)


def told_of(record: MountRecord) -> dict[str, str]:
    """What the event of a volume's mount says of the mount."""
    point = record.point
    return {"destination": point.destination, "read/write": str(point.rw).lower(), "propagation": point.propagation}


def detached(fd: int, held: ExitStack) -> int:
    """A detached mount of the directory or file that ``fd`` holds."""
    tree = clone_mount("", dir_fd=fd)
    held.callback(os.close, tree)
    return tree


def bind_mount(record: MountRecord, mapped: Mapped | None = None) -> oci.Mount:
    """A bind of the host's path; ``--volume`` makes a missing directory, ``--mount`` wants it there."""
    source = Path(record.point.source)
    options = record.request.bind_options or BindOptions()
    if not source.exists():
        if not options.create_mountpoint:
            raise InvalidParameter(f'invalid mount config for type "bind": bind source path does not exist: {source}')
        source.mkdir(parents=True, exist_ok=True)
    check_source(record.point.source, options.propagation)
    uids, gids = id_maps(options.id_map, mapped)
    chosen = [*bind_options(record), *["idmap"] * bool(uids)]
    return oci.Mount(record.point.destination, "bind", str(source), chosen, uids, gids)


def id_maps(text: str, mapped: Mapped | None) -> tuple[Mappings, Mappings]:
    """The maps of a bind as the kernel takes them: what the container's users are on the host, if ``mapped``."""
    if not text:
        return (), ()
    uids, gids = parse_idmap(text)
    if mapped is None:
        return uids, gids
    return (
        [replace(one, host_id=mapped.maps.outside(one.host_id, 0)[0]) for one in uids],
        [replace(one, host_id=mapped.maps.outside(0, one.host_id)[1]) for one in gids],
    )


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
