"""Volumes: the six operations of the API, and what containers need of a volume.

    record (database)      name, driver, options, labels, time        written after the volume was made
    reference (memory)     container ← from its creation to its removal: forbids removal
    user (memory)          container ← from start to stop: keeps the mount

References live in memory: the engine repeats them when it loads its containers.
"""

import asyncio
import os
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from sampan.api.filters import Filters
from sampan.api.output import Bytes
from sampan.api.times import format_time
from sampan.api.volumes import Volume, VolumeCreateRequest, VolumeListResponse, VolumesPruneReport, VolumeUsage
from sampan.archive import copy as archive
from sampan.archive.compression import decompressed
from sampan.engine.blocking import BodySource, apart, stream_of
from sampan.engine.security import BOOLEANS
from sampan.engine.volume_plugins import Plugins
from sampan.engine.volumes_copy import copy_tree, is_empty, usage
from sampan.engine.volumes_local import LocalDriver, needs_mount, temporary
from sampan.errors import Conflict, EngineError, InvalidParameter, NoSuchVolume, NotFound, Unsupported
from sampan.linux.openat2 import open_in_root
from sampan.storage.database import Database
from sampan.storage.records import Records

ANONYMOUS = "com.docker.volume.anonymous"
SNAPSHOT_OF = "com.sampan.volume.snapshot-of"
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
MAXIMUM_NAME = 255
LIST_FILTERS = ("dangling", "driver", "label", "name")
PRUNE_FILTERS = ("all", "label", "label!")

Announce = Callable[[str, str, str, Mapping[str, str]], None]
"""``Events.publish``: type, action, ID, attributes."""

T = TypeVar("T")


class VolumeRecord(msgspec.Struct, kw_only=True):
    """What is kept of a volume; ``created`` in nanoseconds since 1970."""

    name: str
    driver: str = "local"
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    created: int = 0
    scope: str = "local"


class VolumeInUse(Conflict):
    def __init__(self, name: str, users: list[str]) -> None:
        super().__init__(f"remove {name}: volume is in use - [{', '.join(users)}]")


class Volumes:
    """All volumes of one data root."""

    def __init__(self, root: Path, database: Database, announce: Announce, plugins: Plugins | None = None) -> None:
        self._local = LocalDriver(root / "volumes")
        self._plugins = plugins or Plugins()
        self._store = Records(database, "volume", VolumeRecord)
        self._announce = announce
        self._references: dict[str, set[str]] = defaultdict(set)
        self._users: dict[str, set[str]] = defaultdict(set)
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        for name, record in list(self._store.all()):
            if record.driver == "local" and not self._local.exists(name):
                self._store.delete(name)  # its removal was interrupted after the directory had gone
        self._local.sweep({name for name, _ in self._store.all()})

    # the API's operations

    async def create(self, request: VolumeCreateRequest) -> Volume:
        """The volume of that name, made if there is none; Conflict for another driver."""
        name = request.name or secrets.token_hex(32)
        labels = {**request.labels, **({} if request.name else {ANONYMOUS: ""})}
        driver = request.driver or "local"
        async with self._locks[name]:
            foreign = bool(request.name and not request.driver)
            record = self._store.get(name) or (await self._found_in_plugin(name) if foreign else None)
            try:
                if record is None:
                    record = VolumeRecord(
                        name=name, driver=driver, options=request.driver_opts, labels=labels, created=time.time_ns()
                    )
                    await self._make(record)
                elif request.driver and record.driver != request.driver:
                    await self._refuse_driver(record, request.driver)
            except EngineError as error:
                error.within(f"create {name}")
                raise
        return await self._describe(record)

    async def _refuse_driver(self, record: VolumeRecord, driver: str) -> None:
        """A volume of that name has another driver; a driver that there is not is the worse mistake."""
        if driver != "local":
            await self._plugins.find(driver)
        raise Conflict(f"driver '{record.driver}' already has volume '{record.name}': volume name must be unique")

    async def _make(self, record: VolumeRecord) -> None:
        name = record.name
        if record.driver == "local":
            check_name(name)
            self._local.check(record.options)
            self._local.create(name, record.options)
        else:
            plugin = await self._plugins.find(record.driver)
            if not await plugin.has(name):
                await plugin.create(name, record.options)
            record.scope = plugin.scope
        self._store.put(name, record)
        self._announce("volume", "create", name, {"driver": record.driver})

    async def inspect(self, name: str) -> Volume:
        """One volume; raises NoSuchVolume."""
        record = await self._known(name)
        volume = await self._describe(record)
        if record.driver != "local":
            volume.status = await (await self._plugins.find(record.driver)).status(name) or None
        return volume

    async def list(self, filters: Filters) -> VolumeListResponse:
        """All volumes that ``filters`` (dangling, driver, label, name) let through."""
        filters.validate(LIST_FILTERS)
        records = dict(self._store.all())
        survey = await self._plugins.survey({record.driver for record in records.values()} - {"local"})
        for known in survey.volumes:
            records.setdefault(known.name, VolumeRecord(name=known.name, driver=known.driver, scope=known.scope))
        mountpoints = {(known.driver, known.name): known.mountpoint for known in survey.volumes}
        volumes = [
            self._volume(record, mountpoints.get((record.driver, name), ""))
            for name, record in records.items()
            if self._matches(record, filters)
        ]
        return VolumeListResponse(volumes=volumes, warnings=survey.warnings or None)

    def _matches(self, record: VolumeRecord, filters: Filters) -> bool:
        dangling = not self._references.get(record.name)
        return (
            filters.exact("driver", record.driver)
            and filters.pattern("name", record.name)
            and filters.labels(record.labels)
            and ("dangling" not in filters or filters.flag("dangling") == dangling)
        )

    async def remove(self, name: str, *, force: bool) -> None:
        """Raises Conflict while a container references it; ``force`` forgives a missing one."""
        async with self._locks[name]:
            try:
                record = await self._known(name)
            except NoSuchVolume:
                if force:
                    return
                raise
            if users := sorted(self._references.get(name, ())):
                raise VolumeInUse(name, users)
            await self._destroy(record, force=force)
        self._locks.pop(name, None)

    async def _destroy(self, record: VolumeRecord, *, force: bool) -> None:
        if record.driver == "local":
            await self._in_thread(self._local.remove, record.name)
        else:
            try:
                await (await self._plugins.find(record.driver)).remove(record.name)
            except EngineError:
                if not force:
                    raise
        self._store.delete(record.name)
        self._announce("volume", "destroy", record.name, {"driver": record.driver})

    async def prune(self, filters: Filters) -> VolumesPruneReport:
        """Remove unused anonymous volumes, with ``all=true`` the named ones too; those with options stay."""
        filters.validate(PRUNE_FILTERS)
        everything = wants_all(filters)
        removed, reclaimed = [], 0
        for name, record in tuple(self._store.all()):
            wanted = everything or ANONYMOUS in record.labels
            plain = record.driver == "local" and not record.options
            if not plain or not wanted or not filters.labels(record.labels):
                continue
            if self._references.get(name):
                continue
            reclaimed += max(await self._size(record), 0)
            await self.remove(name, force=True)
            removed.append(name)
        self._announce("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return VolumesPruneReport(volumes_deleted=removed, space_reclaimed=reclaimed)

    async def usage(self) -> VolumeListResponse:
        """All volumes that are plain directories with their ``usage_data``, for ``GET /system/df``."""
        answer = VolumeListResponse()
        for name, record in tuple(self._store.all()):
            if record.driver != "local" or needs_mount(record.options):
                continue
            volume = await self._describe(record)
            count = len(self._references.get(name, ()))
            volume.usage_data = VolumeUsage(ref_count=count, size=await self._size(record))
            answer.volumes.append(volume)
        return answer

    async def _size(self, record: VolumeRecord) -> int:
        """Bytes of a local volume; -1 where only a plugin, or what is mounted, could tell, or it was just removed."""
        if record.driver != "local" or needs_mount(record.options):
            return -1
        try:
            return await self._in_thread(self._with_directory, record.name, usage)
        except NoSuchVolume:
            return -1

    # containers

    def reference(self, name: str, container_id: str) -> None:
        """Note that the container uses the volume; until ``dereference`` it cannot be removed."""
        self._references[name].add(container_id)

    def dereference(self, name: str, container_id: str) -> None:
        """The container no longer exists; idempotent."""
        self._references[name].discard(container_id)
        if not self._references[name]:
            del self._references[name]

    def is_anonymous(self, name: str) -> bool:
        """Whether the engine made up the name, so that ``rm -v`` takes the volume along."""
        record = self._store.get(name)
        return record is not None and ANONYMOUS in record.labels

    def has_own_files(self, name: str) -> bool:
        """Whether the volume's files belong to containers' users, being the engine's own and not the host's."""
        record = self._find(name)
        return record.driver == "local" and record.options.get("type", "tmpfs") == "tmpfs"

    async def acquire(self, name: str, container_id: str, told: Mapping[str, str] | None = None) -> Path:
        """Mount the volume for a container that starts; returns the directory on the host.

        ``told`` are further attributes of the event; None is no event: the engine itself looks into the volume.
        """
        async with self._locks[name]:
            record = self._find(name)
            if record.driver == "local":
                path = await self._mount_local(record)
            else:
                path = await (await self._plugins.find(record.driver)).mount(name, container_id)
            self._users[name].add(container_id)
        if told is not None:
            self._announce("volume", "mount", name, {"container": container_id, "driver": record.driver, **told})
        return path

    async def _mount_local(self, record: VolumeRecord) -> Path:
        if not record.options:
            return self._local.path(record.name)
        return await self._in_thread(self._local.mount, record.name, record.options)

    def adopt(self, name: str, container_id: str) -> None:
        """After a daemon restart: the running container still has the volume acquired."""
        self._users[name].add(container_id)

    async def release(self, name: str, container_id: str, *, quiet: bool = False) -> None:
        """The container stopped; idempotent. ``quiet``: without an event, after an ``acquire`` without one."""
        async with self._locks[name]:
            if container_id not in self._users.get(name, ()):
                return
            self._users[name].discard(container_id)
            record = self._store.get(name)
            if record is None:
                return
            if record.driver != "local":
                await (await self._plugins.find(record.driver)).unmount(name, container_id)
            elif record.options and not self._users[name]:
                await self._in_thread(self._local.unmount, name)
        if not quiet:
            self._announce("volume", "unmount", name, {"container": container_id, "driver": record.driver})

    def open(self, name: str, subpath: str = "") -> int:
        """An O_PATH fd on an acquired local volume, or on a path in it that never leads outside; the caller closes it.

        Raises NotFound when there is nothing at ``subpath``.
        """
        if self._find(name).driver != "local":
            raise Unsupported(f"volume {name}: subpaths of plugin volumes are not supported")
        root = os.open(self._local.path(name), os.O_PATH | os.O_DIRECTORY)
        try:
            return open_below(root, subpath, str(self._local.path(name)))
        finally:
            os.close(root)

    @staticmethod
    async def populate(directory: Path, root: int, path: str) -> None:
        """Copy what the image has at ``path`` (in the file system ``root``) into an acquired volume, if that is empty.

        Owners, modes, times, links and attributes are kept; the volume's own directory takes those of ``path``.
        """
        await apart(fill, root, path, directory)

    # beyond Docker

    async def clone(self, name: str, to: str, labels: Mapping[str, str] | None = None) -> Volume:
        """A new volume ``to`` with the content of ``name`` as it is now, and its quota; Conflict if ``to`` exists."""
        source = self._plain(name)
        record = msgspec.structs.replace(source, name=to, labels=dict(source.labels if labels is None else labels))
        copy = partial(self._with_directory, name)
        return await self._new(record, lambda target: copy(lambda fd: copy_tree(fd, target)))

    async def snapshot(self, name: str) -> Volume:
        """A clone named after the volume and the moment: ``data-20261123T203105Z``."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return await self.clone(name, f"{name}-{stamp}", {SNAPSHOT_OF: name})

    async def rename(self, name: str, to: str) -> Volume:
        """Give an unreferenced volume another name; Conflict if that is taken."""
        record = self._plain(name)
        check_name(to)
        if name == to:
            raise InvalidParameter("Renaming a volume with the same name as its current name")
        first, second = sorted((name, to))
        async with self._locks[first], self._locks[second]:
            if self._store.get(to):
                raise Conflict(f"rename {name}: a volume named {to} exists")
            if users := sorted(self._references.get(name, ())):
                raise VolumeInUse(name, users)
            renamed = msgspec.structs.replace(record, name=to, labels=without_anonymous(record.labels))
            self._place(renamed, name)
            self._store.delete(name)
        self._announce("volume", "rename", to, {"driver": record.driver, "oldName": name})
        return await self._describe(renamed)

    async def export(self, name: str) -> Bytes:
        """The volume's content as a tar stream."""
        self._plain(name)
        return stream_of(lambda sink: self._with_directory(name, lambda fd: archive.export(fd, sink)))

    async def import_(self, name: str, body: Bytes) -> Volume:
        """A new volume with the content of a tar stream, compressed or not; Conflict if it exists."""
        source = BodySource(body)

        def fill_in(target: int) -> None:
            archive.unpack(decompressed(source), target)

        try:
            return await self._new(VolumeRecord(name=name), fill_in)
        finally:
            source.close()

    def _plain(self, name: str) -> VolumeRecord:
        """The record of a volume whose directory is all there is of it."""
        record = self._find(name)
        if record.driver != "local" or needs_mount(record.options):
            raise Unsupported(
                f"volume {name}: only local volumes without a mount of their own can be copied or renamed"
            )
        return record

    async def _new(self, record: VolumeRecord, fill_in: Callable[[int], object]) -> Volume:
        """A new local volume like ``record``, which nobody sees before ``fill_in`` has filled its directory."""
        name, staged = record.name, temporary()
        check_name(name)
        async with self._locks[name]:
            if self._store.get(name):
                raise Conflict(f"create {name}: a volume of this name exists")
            try:
                self._local.create(staged, record.options)
                await apart(self._with_directory, staged, fill_in)
                made = msgspec.structs.replace(record, labels=without_anonymous(record.labels), created=time.time_ns())
                self._place(made, staged)
            finally:
                await self._in_thread(self._local.remove, staged)
        self._announce("volume", "create", name, {"driver": record.driver})
        return await self._describe(made)

    def _place(self, record: VolumeRecord, directory: str) -> None:
        """Make ``directory`` the volume's own. The record comes first: one without directory is forgotten at a start,
        a directory without record would be nobody's."""
        self._store.put(record.name, record)
        try:
            self._local.rename(directory, record.name)
        except BaseException:
            self._store.delete(record.name)
            raise

    # records and paths

    def _find(self, name: str) -> VolumeRecord:
        record = self._store.get(name)
        if record is None:
            raise NoSuchVolume(name)
        return record

    async def _known(self, name: str) -> VolumeRecord:
        """The record of a volume, made for one that a plugin has without our doing; raises NoSuchVolume."""
        record = self._store.get(name) or await self._found_in_plugin(name)
        if record is None:
            raise NoSuchVolume(name)
        return record

    async def _found_in_plugin(self, name: str) -> VolumeRecord | None:
        async for plugin in self._plugins.all():
            if await plugin.has(name):
                record = VolumeRecord(name=name, driver=plugin.name, scope=plugin.scope)
                self._store.put(name, record)
                return record
        return None

    async def _describe(self, record: VolumeRecord) -> Volume:
        mountpoint = ""
        if record.driver != "local":
            mountpoint = await (await self._plugins.find(record.driver)).path(record.name)
        return self._volume(record, mountpoint)

    def _volume(self, record: VolumeRecord, mountpoint: str) -> Volume:
        """The wire form; ``mountpoint`` is where a plugin has it."""
        if record.driver == "local":
            mountpoint = str(self._local.path(record.name))
        return Volume(
            created_at=format_time(record.created - record.created % 1_000_000_000),
            driver=record.driver,
            labels=record.labels or None,
            mountpoint=mountpoint,
            name=record.name,
            options=record.options or None,
            scope=record.scope,
        )

    def _with_directory(self, name: str, work: Callable[[int], T]) -> T:
        """The result of ``work`` on an fd of the volume's directory; raises NoSuchVolume if it was just removed."""
        try:
            fd = os.open(self._local.path(name), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise NoSuchVolume(name) from None
        try:
            return work(fd)
        finally:
            os.close(fd)

    @staticmethod
    async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, partial(work, *arguments))


def open_below(root: int, subpath: str, shown: str) -> int:
    """An O_PATH fd on ``subpath`` of the directory ``root``, which is called ``shown``; never outside of it.

    Raises NotFound, in Docker's words, when there is nothing.
    """
    try:
        return open_in_root(root, subpath.lstrip("/") or ".")
    except OSError as error:
        path = f"{shown}/{subpath}"
        raise NotFound(f"cannot access path {path}: lstat {path}: {os.strerror(error.errno or 0).lower()}") from None


def check_name(name: str) -> None:
    """Raise InvalidParameter for what cannot be a volume's name."""
    if len(name.encode()) == 1:
        raise InvalidParameter("volume name is too short, names should be at least two alphanumeric characters")
    if not NAME.fullmatch(name):
        raise InvalidParameter(
            f'"{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > MAXIMUM_NAME:
        raise InvalidParameter(f"volume name is too long: at most {MAXIMUM_NAME} characters")


def without_anonymous(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of a volume that a user has named."""
    return {key: value for key, value in labels.items() if key != ANONYMOUS}


def wants_all(filters: Filters) -> bool:
    """Whether a prune is to take named volumes too; raises InvalidParameter."""
    values = filters.get("all")
    if len(values) > 1:
        raise InvalidParameter(f"invalid filter 'all=[{' '.join(values)}]': only one value is expected")
    if values and values[0].lower() not in BOOLEANS:
        raise InvalidParameter(f"invalid filter 'all': strconv.ParseBool: parsing \"{values[0]}\": invalid syntax")
    return bool(values) and BOOLEANS[values[0].lower()]


def fill(root: int, path: str, directory: Path) -> None:
    """Copy the directory ``path`` of ``root`` into the host's ``directory``, if that is empty."""
    with ExitStack() as held:
        volume = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        held.callback(os.close, volume)
        if not is_empty(volume):
            return
        try:
            source = open_in_root(root, path.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return
        held.callback(os.close, source)
        copy_tree(source, volume)
