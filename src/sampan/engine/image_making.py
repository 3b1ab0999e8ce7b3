"""New images of one layer more: a root file system imported, a container committed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sampan.api.containers import ContainerConfig
from sampan.api.times import format_time
from sampan.archive.reader import Source
from sampan.engine.defaults import merge_image
from sampan.engine.hosts_files import PLACES
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import DiffID
from sampan.oci.image_config import Healthcheck, History, ImageConfig, RootFS, RunConfig
from sampan.oci.platform import Platform, host
from sampan.storage.images import Image
from sampan.storage.layers import commit_layer, import_layer
from sampan.storage.store import Storage
from sampan.storage.unpack import unpack_blob


@dataclass(frozen=True)
class Commit:
    """What is made an image: the writable layer ``key`` on ``base``, and what the new image says of itself."""

    key: str
    base: Image | None
    config: RunConfig
    container_id: str = ""
    author: str = ""
    comment: str = ""
    created_by: str = ""


def import_image(
    storage: Storage, source: Source, message: str, changes: Sequence[str], platform: Platform | None
) -> Image:
    """An image whose one layer is the tar ``source``. Raises InvalidParameter for changes and archives."""
    config = with_changes(RunConfig(), changes)
    created = format_time(time.time_ns())
    with storage.work() as lease:
        layer, diff_id = import_layer(storage, lease, source)
        lease.hold(digests.extend(None, diff_id))
        with storage.content.open(layer.digest) as blob:  # before the image is there: this finds what is no tar
            unpack_blob(storage.snapshots, None, diff_id, blob)
        where = platform or host()
        return storage.images.create(
            ImageConfig(
                architecture=where.architecture,
                os=where.os,
                variant=where.variant,
                created=created,
                comment=message,
                config=config,
                rootfs=RootFS([diff_id]),
                history=[History(created=created, comment=message)],
            ),
            [layer],
        )


def commit_image(storage: Storage, commit: Commit) -> Image:
    """The image that a container has become."""
    with storage.work() as lease:
        below = storage.images.unpack(commit.base) if commit.base else None
        layer, diff_id = commit_layer(storage, lease, commit.key, places=PLACES)
        if diff_id != digests.EMPTY_LAYER:
            lease.hold(digests.extend(below, diff_id))
            with storage.content.open(layer.digest) as blob:  # before the image is there: this finds a full disk
                unpack_blob(storage.snapshots, below, diff_id, blob)
        return _extend(storage, commit, layer, diff_id)


def _extend(storage: Storage, commit: Commit, layer: Descriptor, diff_id: DiffID) -> Image:
    base = commit.base.config.value if commit.base else ImageConfig(rootfs=RootFS())
    layers = list(commit.base.manifest.value.layers) if commit.base else []
    created = format_time(time.time_ns())
    is_empty = diff_id == digests.EMPTY_LAYER
    step = History(created, commit.created_by, commit.author, commit.comment, empty_layer=is_empty)
    config = msgspec.structs.replace(
        base,
        architecture=base.architecture or host().architecture,
        os=base.os or "linux",
        created=created,
        author=commit.author,
        comment=commit.comment,
        container=commit.container_id,
        parent="",
        config=commit.config,
        rootfs=RootFS([*base.diff_ids, *([] if is_empty else [diff_id])]),
        history=[*base.history, step],
    )
    parent = commit.base.id if commit.base else None
    return storage.images.create(config, layers if is_empty else [*layers, layer], parent)


def committed_config(container: ContainerConfig, given: ContainerConfig | None, changes: Sequence[str]) -> RunConfig:
    """The new image's config: what was given (or the container's own), changed, open fields from the container.

    Raises InvalidParameter for changes.
    """
    changed = with_changes(run_config(given or container), changes)
    merged = container_config(changed)
    merge_image(merged, run_config(container))
    return run_config(merged)


def run_config(config: ContainerConfig) -> RunConfig:
    """The part of a container's config that an image keeps."""
    check = config.healthcheck
    return RunConfig(
        user=config.user,
        exposed_ports=config.exposed_ports or None,
        env=config.env,
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        healthcheck=msgspec.convert(msgspec.to_builtins(check), Healthcheck) if check else None,
        args_escaped=config.args_escaped,
        volumes=config.volumes or None,
        working_dir=config.working_dir,
        on_build=config.on_build,
        labels=config.labels,
        stop_signal=config.stop_signal,
        stop_timeout=config.stop_timeout,
        shell=config.shell or None,
    )


def container_config(config: RunConfig) -> ContainerConfig:
    """The reverse of ``run_config``."""
    return msgspec.convert(msgspec.to_builtins(config), ContainerConfig)


def with_changes(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """``config`` changed by Dockerfile instructions. Raises InvalidParameter."""
    if not changes:
        return config
    from sampan.dockerfile.changes import apply_changes  # the parser is of use to few daemons

    return apply_changes(config, changes)
