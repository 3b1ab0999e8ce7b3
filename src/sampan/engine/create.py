"""Create a container: everything is checked and decided first, then made; a failure leaves nothing.

    check the request → image → merge → name → record
        → writable layer → volumes (made, referenced, filled) → record on disk → announce

The record is written last but one: a crash before it leaves a writable layer and perhaps anonymous volumes. These are
noted in the container's directory first, so that the next start knows them from volumes that were kept on purpose.
"""

import asyncio
import os
import posixpath
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from sampan.api import identifiers
from sampan.api.containers import ContainerConfig, ContainerCreateRequest, ContainerCreateResponse
from sampan.api.descriptor import OCIPlatform
from sampan.api.host_config import HostConfig
from sampan.api.mounts import Mount, VolumeOptions
from sampan.api.networks import EndpointSettings
from sampan.api.volumes import VolumeCreateRequest
from sampan.engine import names, unfinished
from sampan.engine.catalog import Catalog
from sampan.engine.container import MountRecord, Record, now
from sampan.engine.context import Context
from sampan.engine.defaults import DEFAULT_NETWORK, finish_config, finish_host_config, merge_image
from sampan.engine.health import check_label
from sampan.engine.host import architecture, host
from sampan.engine.membership import member_of, shares_network
from sampan.engine.mount_points import parse_bind, parse_mount, parse_volumes_from, settle_propagation
from sampan.engine.remap import check_remapped
from sampan.engine.validate import check_create, default_layer_size, layer_size
from sampan.engine.volumes import ANONYMOUS
from sampan.errors import EngineError, InvalidParameter, NameInUse, NoSuchContainer
from sampan.linux.openat2 import open_in_root
from sampan.oci.image_config import RunConfig
from sampan.oci.platform import Platform
from sampan.storage.images import Image

LINKS_DEPRECATED = (
    "Links on the default bridge network are deprecated and will be removed in a future release. "
    "Use a custom network instead."
)


class Creation:
    """The operation ``create``."""

    def __init__(self, context: Context, catalog: Catalog) -> None:
        self._context = context
        self._catalog = catalog

    async def create(
        self, request: ContainerCreateRequest, name: str, platform: OCIPlatform | None
    ) -> ContainerCreateResponse:
        """Make a container; raises InvalidParameter, Unsupported, NameInUse, NoSuchImage, NoSuchContainer."""
        config, host_config = split(request)
        endpoints = request.networking_config.endpoints_config
        warnings = check_create(config, host_config, self._context.config, host())
        if self._context.remap_of(host_config) is not None:
            check_remapped(host_config)
        name = identifiers.check_container_name(name) if name else names.generate(self._catalog.is_free)
        if not self._catalog.is_free(name):
            raise NameInUse(name, self._catalog.find(name).id)
        image = self._image(config.image, platform) if config.image else None
        if image is not None and platform is None:
            warnings += platform_warnings(image)
        record = self._decide(config, host_config, name, image)
        record.endpoints = self._endpoints(record, endpoints)
        if not shares_network(record):
            self._context.networks.check(member_of(record))
        if host_config.links and host_config.network_mode == "bridge":
            warnings.append(LINKS_DEPRECATED)
        await self._make(record, image)
        return ContainerCreateResponse(id=record.id, warnings=warnings)

    def _image(self, name: str, platform: OCIPlatform | None) -> Image:
        wanted = Platform(platform.architecture, platform.os, variant=platform.variant) if platform else None
        return self._context.storage.images.resolve(name, wanted)

    def _decide(self, config: ContainerConfig, host_config: HostConfig, name: str, image: Image | None) -> Record:
        """The record, complete but for volumes."""
        container_id = identifiers.generate()
        self._settle_references(host_config)
        self._check_links(host_config)
        merge_image(config, image.config.value.config if image else RunConfig())
        finish_host_config(host_config, self._context.config, host())
        finish_config(config, host_config, container_id, os.uname().nodename)
        check_label(config.labels or {})
        program = [*(config.entrypoint or ()), *(config.cmd or ())]
        record = Record(
            id=container_id,
            name=name,
            created=now(),
            image=image.id if image else "",
            config=config,
            host_config=host_config,
            path=program[0],
            args=program[1:],
        )
        record.mounts = self._mount_records(record)
        return record

    def _endpoints(self, record: Record, asked: Mapping[str, EndpointSettings]) -> dict[str, EndpointSettings]:
        """The endpoints by the networks' names; without any asked for, one on the network of the mode."""
        if record.config.network_disabled:
            return {}
        if not asked and not shares_network(record):
            asked = {record.host_config.network_mode: EndpointSettings()}
        return {self._context.networks.name_of(DEFAULT_NETWORK.get(name, name)): each for name, each in asked.items()}

    def _settle_references(self, host_config: HostConfig) -> None:
        """Names of other containers become IDs, so that renaming breaks nothing.

        Whose network is shared may come into being later; the start will look again.
        """
        for field in ("pid_mode", "ipc_mode", "network_mode"):
            kind, colon, reference = getattr(host_config, field).partition(":")
            if kind == "container" and colon:
                try:
                    setattr(host_config, field, f"container:{self._catalog.find(reference).id}")
                except NoSuchContainer as error:
                    if field == "network_mode":
                        continue
                    # Not "not found": the docker CLI would take that for a missing image and pull it.
                    raise InvalidParameter(error.message) from None

    def _check_links(self, host_config: HostConfig) -> None:
        """Links lead to containers that exist; not "not found" either, for the same reason."""
        for link in host_config.links or ():
            if link.count(":") > 1:
                raise InvalidParameter(f"bad format for links: {link}")
            reference = link.partition(":")[0].lstrip("/")
            try:
                self._catalog.find(reference)
            except NoSuchContainer as error:
                raise InvalidParameter(f"could not get container for {reference}: {error.message}") from None

    def _mount_records(self, record: Record) -> list[MountRecord]:
        """Inherited mounts, then the user's, then the image's volumes; at one place the later wins."""
        host_config = record.host_config
        mounts: dict[str, MountRecord] = {}
        for text in host_config.volumes_from or ():
            for inherited in self._inherit(text):
                mounts[inherited.point.destination] = inherited
        own = [bound(text, host_config.volume_driver) for text in host_config.binds or ()]
        own += [parse_mount(msgspec.structs.replace(mount)) for mount in host_config.mounts]
        for mount in own:
            if mount.point.type == "image":
                self._settle_image(mount)
            settle_propagation(mount, self._context.roots.data)
        seen = {posixpath.normpath(path) for path in host_config.tmpfs}
        for mount in own:
            if mount.point.destination in seen:
                raise InvalidParameter(f"Duplicate mount point: {mount.point.destination}")
            seen.add(mount.point.destination)
            mounts[mount.point.destination] = mount
        for path in record.config.volumes or ():
            destination = posixpath.normpath(path)
            if destination not in mounts and destination not in seen:
                mounts[destination] = anonymous_volume(destination, host_config.volume_driver)
        return list(mounts.values())

    def _settle_image(self, mount: MountRecord) -> None:
        """An image mount keeps showing the image that its name meant at creation. Raises NoSuchImage."""
        images = self._context.storage.images
        image = images.resolve(mount.point.source)
        images.unpack(image)
        mount.point.name, mount.point.source = mount.point.source, image.id

    def _inherit(self, text: str) -> list[MountRecord]:
        reference, writable = parse_volumes_from(text)
        try:
            donor = self._catalog.find(reference)
        except NoSuchContainer as error:
            raise InvalidParameter(error.message) from None
        return [
            MountRecord(
                msgspec.structs.replace(mount.point, rw=mount.point.rw and writable), mount.request, anonymous=False
            )
            for mount in donor.record.mounts
        ]

    async def _make(self, record: Record, image: Image | None) -> None:
        """Make what was decided; all or nothing."""
        snapshots, images = self._context.storage.snapshots, self._context.storage.images
        size = layer_size(record.host_config.storage_opt, snapshots.quotas)
        size = size or default_layer_size(self._context.config.storage_opts, snapshots.quotas)
        loop = asyncio.get_running_loop()
        async with AsyncExitStack() as undo:
            chain = image.chain_id if image else None
            if chain is not None and chain not in snapshots and image is not None:
                chain = await loop.run_in_executor(self._context.threads, images.unpack, image)
            undo.callback(snapshots.remove, record.id)
            snapshots.prepare(record.id, chain, size=size)
            await self._make_volumes(record, undo)
            container = self._catalog.add(record)
            undo.pop_all()
            unfinished.settle(container.state_dir)
        self._context.events.publish("container", "create", record.id, container.attributes())

    async def _make_volumes(self, record: Record, undo: AsyncExitStack) -> None:
        """Volumes that are missing are made, all are referenced, empty ones filled from the image."""
        volumes = self._context.volumes
        fresh = [mount for mount in record.mounts if mount.point.type == "volume"]
        names_made = unfinished.name_volumes(self._context.roots.containers / record.id, fresh)
        for mount in fresh:
            options = mount.request.volume_options or VolumeOptions()
            labels = {**options.labels, ANONYMOUS: ""} if mount.point.name in names_made else options.labels
            volume = await volumes.create(
                VolumeCreateRequest(
                    name=mount.point.name,
                    driver=mount.point.driver if mount.point.driver != "local" else "",
                    driver_opts=options.driver_config.options if options.driver_config else {},
                    labels=labels,
                )
            )
            mount.point.name, mount.point.driver, mount.point.source = volume.name, volume.driver, volume.mountpoint
            volumes.reference(volume.name, record.id)
            undo.callback(volumes.dereference, volume.name, record.id)
            if mount.anonymous:
                undo.push_async_callback(volumes.remove, volume.name, force=True)
        await self._populate(record, [mount for mount in fresh if copies(mount)])

    async def _populate(self, record: Record, mounts: list[MountRecord]) -> None:
        """Fill empty volumes with what the image has at their place."""
        if not mounts:
            return
        root = self._context.storage.snapshots.mount(record.id)
        try:
            for mount in mounts:
                if not is_directory(root, mount.point.destination):
                    continue
                directory = await self._context.volumes.acquire(mount.point.name, record.id)
                try:
                    await self._context.volumes.populate(directory, root, mount.point.destination)
                finally:
                    await self._context.volumes.release(mount.point.name, record.id, quiet=True)
        finally:
            await asyncio.get_running_loop().run_in_executor(self._context.threads, os.close, root)


def split(request: ContainerCreateRequest) -> tuple[ContainerConfig, HostConfig]:
    """Copies of the request's two halves, free to be changed."""
    fields = ContainerConfig.__struct_fields__
    config = ContainerConfig(**{name: getattr(request, name) for name in fields})
    return config, msgspec.structs.replace(request.host_config)


def copies(mount: MountRecord) -> bool:
    """Whether the image's files go into the (empty) volume."""
    options = mount.request.volume_options or VolumeOptions()
    return not options.no_copy and not options.subpath


def is_directory(root: int, path: str) -> bool:
    """Whether the file system ``root`` has a directory at ``path``; raises InvalidParameter for a file there."""
    try:
        fd = open_in_root(root, path)
    except OSError:
        return False
    try:
        if Path(f"/proc/self/fd/{fd}").is_dir():
            return True
    finally:
        os.close(fd)
    raise InvalidParameter(f"cannot mount volume over existing file, file exists {path}")


def anonymous_volume(destination: str, driver: str) -> MountRecord:
    """A volume of the image's VOLUME or a bare ``-v /path``."""
    record = parse_mount(Mount(type="volume", target=destination))
    record.point.mode = ""
    if driver:
        record.point.driver = driver
    return record


def platform_warnings(image: Image) -> list[str]:
    """A word about an image for another kind of machine."""
    own = architecture()
    theirs = image.platform
    if theirs.architecture in ("", own) and theirs.os in ("", "linux"):
        return []
    shown = f"{theirs.os}/{theirs.architecture}" + (f"/{theirs.variant}" if theirs.variant else "")
    return [
        f"The requested image's platform ({shown}) does not match the detected host platform (linux/{own}) "
        "and no specific platform was requested"
    ]


def bound(text: str, volume_driver: str) -> MountRecord:
    """One ``--volume``; raises EngineError for what cannot be read, which dockerd answers with 500."""
    try:
        return parse_bind(text, volume_driver)
    except InvalidParameter as error:
        raise EngineError(error.message) from error
