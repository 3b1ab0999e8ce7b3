"""A step that changes files: a writable layer, the work, the layer committed; or the cache's layer instead."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sampan.api.times import format_time
from sampan.archive.walk import walk
from sampan.build.building import Build
from sampan.build.cache import Entry
from sampan.build.leftovers import ACTIVE_PREFIX
from sampan.build.request import Request
from sampan.build.state import State, scratch
from sampan.build.threads import in_thread
from sampan.linux.userns import Mapped
from sampan.oci import digest as digests
from sampan.storage.layers import commit_layer
from sampan.storage.unpack import unpack_blob

Work = Callable[[int], Awaitable[None]]
"""``await work(rootfs)``: changes the file system behind the mount's fd."""


def timestamp(epoch: int | None) -> str:
    """Now, or SOURCE_DATE_EPOCH, as images have it."""
    return format_time(time.time_ns() if epoch is None else epoch * 1_000_000_000)


async def metadata_step(build: Build, state: State, key: str, description: str, reuse: bool) -> tuple[State, bool]:
    """The state after a step that changes no files, and whether the cache knew it (so that times stay)."""
    entry = await build.known(key, state) if reuse else None
    if entry is not None:
        return state.after(key, entry), True
    entry = Entry(timestamp(build.request.epoch), description)
    build.keep(key, entry, state)
    return state.after(key, entry), False


async def layer_step(
    build: Build,
    state: State,
    parts: Sequence[str],
    description: str,
    work: Work,
    reuse: bool,
    *,
    mapped: Mapped | None = None,
) -> tuple[State, bool]:
    """The state after ``work``, and whether it came from the cache; ``parts`` are what else it depends on.

    ``mapped`` are the users the work is done by. A failed or cancelled step leaves nothing.
    """
    key = state.next_key(*parts, *_dating(build.request))
    entry = await build.known(key, state) if reuse else None
    if entry is None:
        return await _made(build, state, key, description, work, mapped), False
    return _held(build, state.after(key, entry)), True


def _held(build: Build, grown: State) -> State:
    """The state, kept until the build ends."""
    build.lease.hold(*grown.stack(), *(layer.digest for layer in grown.layers))
    return grown


def _dating(request: Request) -> list[str]:
    """What a layer's key says of the times of its files: something only where they are changed."""
    return [f"no younger than {request.epoch}"] if request.rewrite_timestamp and request.epoch is not None else []


async def linked_step(
    build: Build, state: State, parts: Sequence[str], description: str, work: Work, reuse: bool
) -> tuple[State, bool]:
    """``--link``: a layer made on nothing and put on ``state``, so that a new base image leaves it as it is."""
    nothing = scratch(state.platform)
    key = state.next_key("LINK", nothing.next_key("LINK", *parts, *_dating(build.request)))
    entry = await build.known(key, state) if reuse else None
    if entry is not None:
        return _held(build, state.after(key, entry)), True
    alone, cached = await layer_step(build, nothing, ("LINK", *parts), description, work, reuse)
    if not alone.layers:
        return await metadata_step(build, state, key, description, reuse)
    return await in_thread(_linked, build, state, key, alone), cached


def _linked(build: Build, state: State, key: str, alone: State) -> State:
    storage, (layer,), (diff_id,) = build.workshop.storage, alone.layers, alone.diff_ids
    chain = digests.extend(state.chain, diff_id)
    build.lease.hold(chain)
    with storage.content.open(layer.digest) as blob:
        unpack_blob(storage.snapshots, state.chain, diff_id, blob)
    size = storage.snapshots.layer(chain).size
    entry = Entry(alone.created, alone.history[-1].created_by, layer, diff_id, chain, size)
    grown = state.after(key, entry)
    build.keep(key, entry, grown)
    return grown


async def _made(build: Build, state: State, key: str, description: str, work: Work, mapped: Mapped | None) -> State:
    snapshots = build.workshop.storage.snapshots
    active = ACTIVE_PREFIX + secrets.token_hex(16)
    mounted: list[int] = []  # a step cancelled while it is mounted still knows the fd
    try:
        await in_thread(snapshots.prepare, active, state.chain)
        try:
            await in_thread(lambda: mounted.append(snapshots.mount(active, volatile=True, mapped=mapped)))
            await work(mounted[0])
        finally:
            for rootfs in mounted:
                await in_thread(os.close, rootfs)
        return await in_thread(_commit, build, state, key, description, active)
    except BaseException:
        await asyncio.shield(in_thread(snapshots.remove, active))
        raise


def _commit(build: Build, state: State, key: str, description: str, active: str) -> State:
    storage = build.workshop.storage
    if _dating(build.request) and build.request.epoch is not None:
        _date(storage.snapshots.upper(active), build.request.epoch)
    usage = storage.snapshots.usage(active)
    descriptor, diff_id = commit_layer(storage, build.lease, active, settled=True)
    created = timestamp(build.request.epoch)
    if diff_id == digests.EMPTY_LAYER:
        storage.snapshots.remove(active)
        entry = Entry(created, description)
    else:
        build.lease.hold(digests.extend(state.chain, diff_id))
        chain = storage.snapshots.commit(active, diff_id)
        entry = Entry(created, description, descriptor, diff_id, chain, usage.size)
    grown = state.after(key, entry)
    build.keep(key, entry, grown)
    return grown


def _date(upper: Path, epoch: int) -> None:
    """Make no file of the layer younger than ``epoch`` (seconds): the same steps give the same bytes at any time."""
    limit = epoch * 1_000_000_000
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for found in walk(root):
            if found.status.st_mtime_ns > limit:
                os.utime(found.name, ns=(limit, limit), dir_fd=found.directory, follow_symlinks=False)
    finally:
        os.close(root)
