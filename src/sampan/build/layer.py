"""A step that changes files: a writable layer, the work, the layer committed; or the cache's layer instead."""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sampan.api.times import format_time
from sampan.build.cache import Entry
from sampan.build.state import State
from sampan.build.threads import in_thread
from sampan.oci import digest as digests
from sampan.storage.layers import commit_layer

if TYPE_CHECKING:
    from sampan.build.builder import Build

Work = Callable[[int], Awaitable[None]]
"""``await work(rootfs)``: changes the file system behind the mount's fd."""


def timestamp(epoch: int | None) -> str:
    """Now, or SOURCE_DATE_EPOCH, as images have it."""
    return format_time(time.time_ns() if epoch is None else epoch * 1_000_000_000)


async def metadata_step(build: "Build", state: State, key: str, description: str, reuse: bool) -> tuple[State, bool]:
    """The state after a step that changes no files, and whether the cache knew it (so that times stay)."""
    cache = build.workshop.cache
    entry = build.known(key) if reuse else None
    if entry is not None:
        return state.after(key, entry), True
    entry = Entry(timestamp(build.request.epoch), description)
    cache.put(key, entry, ())
    return state.after(key, entry), False


async def layer_step(
    build: "Build", state: State, key: str, description: str, work: Work, reuse: bool
) -> tuple[State, bool]:
    """The state after ``work``, and whether it came from the cache. A failed or cancelled step leaves nothing."""
    entry = build.known(key) if reuse else None
    if entry is None:
        return await _made(build, state, key, description, work), False
    grown = state.after(key, entry)
    build.lease.hold(*grown.stack(), *(layer.digest for layer in grown.layers))
    return grown, True


async def _made(build: "Build", state: State, key: str, description: str, work: Work) -> State:
    from sampan.build.builder import ACTIVE_PREFIX

    snapshots = build.workshop.storage.snapshots
    active = ACTIVE_PREFIX + secrets.token_hex(16)
    mounted: list[int] = []  # a step cancelled while it is mounted still knows the fd
    try:
        await in_thread(snapshots.prepare, active, state.chain)
        try:
            await in_thread(lambda: mounted.append(snapshots.mount(active, volatile=True)))
            await work(mounted[0])
        finally:
            for rootfs in mounted:
                await in_thread(os.close, rootfs)
        return await in_thread(_commit, build, state, key, description, active)
    except BaseException:
        await asyncio.shield(in_thread(snapshots.remove, active))
        raise


def _commit(build: "Build", state: State, key: str, description: str, active: str) -> State:
    storage = build.workshop.storage
    usage = storage.snapshots.usage(active)
    descriptor, diff_id = commit_layer(storage, build.lease, active)
    created = timestamp(build.request.epoch)
    if diff_id == digests.EMPTY_LAYER:
        storage.snapshots.remove(active)
        entry = Entry(created, description)
    else:
        build.lease.hold(digests.extend(state.chain, diff_id))
        chain = storage.snapshots.commit(active, diff_id)
        entry = Entry(created, description, descriptor, diff_id, chain, usage.size)
    grown = state.after(key, entry)
    build.workshop.cache.put(key, entry, grown.stack())
    return grown
