"""A container's files from outside: stat, cp both ways, export, diff. Running or not.

A stopped container's root is mounted detached, with its volumes and binds attached beneath it in a mount tree nobody
else sees; a running one's is ``/proc/<pid>/root``. Either way it is one fd, and no path is looked up outside of it
(archive.copy), whatever the container does meanwhile.
"""

import asyncio
import errno
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sampan.api.containers import FilesystemChange, PathStat
from sampan.api.mounts import BindOptions, MountPoint
from sampan.api.output import Archive, Bytes
from sampan.api.times import format_time
from sampan.archive import copy
from sampan.archive.compression import decompressed
from sampan.archive.stream import Sink
from sampan.engine.blocking import BodySource, apart, stream_of
from sampan.engine.container import Container, MountRecord
from sampan.engine.context import Context
from sampan.engine.hosts_files import PLACES
from sampan.engine.mounts import id_maps
from sampan.engine.starting import make_directory, make_file
from sampan.engine.states import Status
from sampan.errors import InvalidParameter, NoSuchContainer, NotFound, NotRunning, Unsupported
from sampan.linux import userns
from sampan.linux.idmap import IdMap, acting_as_root, of_process
from sampan.linux.mount import clone_mount, idmap, move_mount
from sampan.linux.openat2 import open_in_root
from sampan.linux.userns import Mapped
from sampan.runtime.compile_mounts import map_text
from sampan.runtime.users import resolve

T = TypeVar("T")
# In a running container these are the kernel's: a copy of what is above them shows them as empty directories.
KERNEL_MOUNTS = ("/dev", "/proc", "/sys")


class Files:
    """The operations on a container's files; errors call the container by the ``reference`` that the user gave."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def stat(self, container: Container, reference: str, path: str) -> PathStat:
        """What ``path`` is."""
        return wire(await self._run(lambda: self._stat(container, reference, path)))

    async def get(self, container: Container, reference: str, path: str) -> Archive:
        """``path`` as a tar stream."""
        found = await self._run(lambda: self._stat(container, reference, path))

        def pack(sink: Sink) -> None:
            with self.root(container) as (root, owners):
                copy.pack(root, path, sink, leave_empty=KERNEL_MOUNTS if container.live else (), owners=owners)

        self._announce(container, "archive-path")
        return Archive(wire(found), stream_of(pack))

    async def put(
        self,
        container: Container,
        reference: str,
        path: str,
        body: Bytes,
        *,
        no_overwrite_dir_non_dir: bool,
        as_user: bool,
    ) -> None:
        """Unpack a tar stream in the directory ``path``; ``as_user``: everything becomes the container's user's."""
        source = BodySource(body)

        def unpack() -> None:
            with self.root(container) as (root, owners):
                self._check_writable(container, path)
                with not_found(reference, path):
                    copy.unpack(
                        decompressed(source),
                        root,
                        path,
                        overwrite_directories=not no_overwrite_dir_non_dir,
                        owner=user_of(container, root) if as_user else None,
                        owners=owners,
                    )

        try:
            await apart(unpack)
        finally:
            source.close()
        self._announce(container, "extract-to-dir")

    async def export(self, container: Container) -> Bytes:
        """The root file system without what is mounted on it."""
        container.allow("export")

        def pack(sink: Sink) -> None:
            fd = (
                self._context.storage.snapshots.mount(container.id, grounded=True)
                if not container.live
                else running_root(container)
            )
            try:
                owners = of_process(container.pid) if container.live else None
                tree = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
                try:
                    copy.export(tree, sink, owners=owners)
                finally:
                    os.close(tree)
            finally:
                self._part(container, fd)

        self._announce(container, "export")
        return stream_of(pack)

    async def changes(self, container: Container) -> Sequence[FilesystemChange]:
        """Paths that differ from the image, but for those that every start makes."""
        with unless_removed(container):
            found = await self._run(lambda: self._context.storage.snapshots.changes(container.id, PLACES))
        return [FilesystemChange(kind=int(change.kind), path=change.path) for change in found]

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._context.threads, work)

    def _stat(self, container: Container, reference: str, path: str) -> copy.PathStat:
        with self.root(container) as (root, _), not_found(reference, path):
            return copy.stat_path(root, path)

    def _check_writable(self, container: Container, path: str) -> None:
        """Refuse to write where the container itself may not."""
        point = deepest_mount(container, path)
        if point is not None and not point.rw:
            raise InvalidParameter("mounted volume is marked read-only")
        if point is None and container.record.host_config.readonly_rootfs:
            raise InvalidParameter("container rootfs is marked read-only")

    @contextmanager
    def root(self, container: Container) -> Iterator[tuple[int, IdMap | None]]:
        """An fd of the container's root directory with its mounts, and whose its files are; blocking, for threads."""
        remap = self._context.remap_of(container.record.host_config)
        fd = running_root(container) if container.live else self._stopped_root(container, remap)
        try:
            yield fd, of_process(container.pid) if container.live else (remap.maps if remap else None)
        finally:
            self._part(container, fd)

    def _part(self, container: Container, fd: int) -> None:
        """Close a root; that of a container which does not run without waiting for the disk."""
        if container.live:
            os.close(fd)
            return
        held = self._context.storage.snapshots.held
        held.hold(container.id, fd)
        held.let_go(container.id)

    def _stopped_root(self, container: Container, remap: Mapped | None) -> int:
        """The root of a container that does not run, its volumes and binds attached."""
        with unless_removed(container):
            root = self._context.storage.snapshots.mount(container.id, grounded=True, mapped=remap)
        try:
            for record in sorted(container.record.mounts, key=lambda each: each.point.destination.count("/")):
                if record.point.type in ("volume", "bind"):
                    with self._shown_through(record, remap) as namespace:
                        attach(root, record.point, remap, namespace)
        except BaseException:
            os.close(root)
            raise
        return root

    @contextmanager
    def _shown_through(self, record: MountRecord, remap: Mapped | None) -> Iterator[int | None]:
        """The user namespace whose maps say whose the files of a volume or bind are; None: they are the host's."""
        if record.point.type == "volume":
            owned = self._context.volumes.has_own_files(record.point.name)
            yield remap.namespace if remap and owned else None
            return
        uids, gids = id_maps((record.request.bind_options or BindOptions()).id_map, remap)
        namespace = userns.make(map_text(uids), map_text(gids)) if uids else None
        try:
            yield namespace
        finally:
            if namespace is not None:
                os.close(namespace)

    def _announce(self, container: Container, action: str) -> None:
        self._context.events.publish("container", action, container.id, container.attributes())


def running_root(container: Container) -> int:
    """The root directory of a running container's first process; raises NotRunning if that has just ended."""
    try:
        return os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        raise NotRunning(container.id) from None


def attach(root: int, point: MountPoint, remap: Mapped | None, namespace: int | None) -> None:
    """Put what is at the host's ``point.source`` onto ``point.destination`` beneath the detached mount ``root``.

    Mounting on a detached mount needs Linux 6.15. A source or place that is not there is left out, as the start will
    complain about it; a place that is missing is made, as the start would make it. Owners are shown
    through the maps of ``namespace``, if there is one.
    """
    try:
        owner = remap.maps.root if remap else (0, 0)
        with acting_as_root(remap.maps if remap else None):
            if Path(point.source).is_dir():
                make_directory(root, point.destination, owner)
            elif Path(point.source).exists():
                make_file(root, point.destination, owner)
        target = open_in_root(root, point.destination)
    except (OSError, InvalidParameter):
        return
    try:
        tree = clone_mount(point.source, recursive=True)
        try:
            if namespace is not None:
                idmap(tree, namespace, recursive=True)
            move_mount(tree, "", target)
        finally:
            os.close(tree)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise Unsupported("files of a stopped container with volumes need Linux 6.15: start it first") from error
        raise
    finally:
        os.close(target)


def user_of(container: Container, root: int) -> tuple[int, int] | None:
    """User and group that the program runs as, by the files below ``root``; None: nobody was named."""
    user = container.record.config.user
    if not user:
        return None
    identity = resolve(root, user, ())
    return identity.uid, identity.gid


def deepest_mount(container: Container, path: str) -> MountPoint | None:
    """The mount of the user that ``path`` is on."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    points = [record.point for record in container.record.mounts]
    above = [point for point in points if (clean + "/").startswith(point.destination.rstrip("/") + "/")]
    return max(above, key=lambda point: len(point.destination), default=None)


@contextmanager
def not_found(reference: str, path: str) -> Iterator[None]:
    """A missing file in Docker's words."""
    try:
        yield
    except (NotFound, FileNotFoundError):
        raise NotFound(f"Could not find the file {path} in container {reference}") from None


@contextmanager
def unless_removed(container: Container) -> Iterator[None]:
    """Files that are missing because the container was removed meanwhile: raises NoSuchContainer."""
    try:
        yield
    except FileNotFoundError:
        if container.status in (Status.REMOVING, Status.DEAD):
            raise NoSuchContainer(container.name) from None
        raise


def wire(found: copy.PathStat) -> PathStat:
    """A status as the header carries it."""
    return PathStat(
        name=found.name,
        size=found.size,
        mode=found.mode,
        mtime=format_time(found.mtime_ns),
        link_target=found.link_target,
    )
