"""``--squash``: all layers above the base image as one.

    base layers │ layer 1 │ layer 2 │ …   ─▶   base layers │ merged
    history                                ─▶   the same without layers, and one entry for the merged

What the layers touched is made anew on the base, as the last state has it; all else is the base's.
"""

import os
import posixpath
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import msgspec

from sampan.api.times import format_time
from sampan.archive.diff import is_opaque
from sampan.archive.tree import remove_tree
from sampan.archive.walk import Found, walk
from sampan.build.building import Build
from sampan.build.copying import DIRECTORY, Copier, Placement
from sampan.build.state import State
from sampan.build.threads import in_thread
from sampan.linux.openat2 import open_in_root
from sampan.oci import digest as digests
from sampan.oci.digest import ChainID
from sampan.oci.image_config import History
from sampan.storage.images import Image
from sampan.storage.layers import commit_layer
from sampan.storage.snapshots import Snapshots


async def squashed(build: Build, state: State, prefix: str) -> Image:
    """The image of ``state`` with one layer upon its base image; ``prefix`` begins the writable layer's key."""
    return await in_thread(_squash, build, state, prefix + secrets.token_hex(16))


def _squash(build: Build, state: State, active: str) -> Image:
    storage = build.workshop.storage
    base = storage.images.get(state.origin).config.value if state.origin else None
    kept = len(base.diff_ids) if base else 0
    below = base.chain_id if base else None
    storage.snapshots.prepare(active, below)
    try:
        _merge(storage.snapshots, active, below, state)
        descriptor, diff_id = commit_layer(storage, build.lease, active, settled=True)
        build.lease.hold(digests.extend(below, diff_id))
        storage.snapshots.commit(active, diff_id)
    finally:
        storage.snapshots.remove(active)
    merged = replace(
        state,
        layers=(*state.layers[:kept], descriptor),
        diff_ids=(*state.diff_ids[:kept], diff_id),
        history=(*_without_layers(state, len(base.history) if base else 0), _entry(state)),
        steps=(),
    )
    return storage.images.create(merged.image_config(), merged.layers)


def _without_layers(state: State, kept: int) -> Iterator[History]:
    for number, step in enumerate(state.history):
        yield step if number < kept else msgspec.structs.replace(step, empty_layer=True)


def _entry(state: State) -> History:
    return History(format_time(time.time_ns()), comment=f"merge {state.image} to {state.origin or 'scratch'}")


def _merge(snapshots: Snapshots, active: str, below: ChainID | None, state: State) -> None:
    """Write to the layer ``active`` what differs between ``below`` and ``state``."""
    layers = [layer.chain_id for layer in snapshots.chain(state.chain)]
    own = layers[: layers.index(below)] if below in layers else layers
    with ExitStack() as opened:
        lower, final = snapshots.view(below), snapshots.view(state.chain)
        rootfs = snapshots.mount(active, volatile=True)
        for fd in (lower, final, rootfs):
            opened.callback(os.close, fd)
        copier = opened.enter_context(Copier(rootfs, Placement(owner=None)))
        for path in sorted({path for chain in own for path in _touched(snapshots, chain, lower)}):
            _bring(copier, rootfs, final, path)
        copier.set_times()


def _touched(snapshots: Snapshots, chain: ChainID, lower: int) -> Iterator[str]:
    """Paths that a layer says something about, those that its opaque directories hide included."""
    root = os.open(snapshots.path(chain), DIRECTORY)
    try:
        for found in walk(root):
            yield found.path
            if found.is_directory and is_opaque(found):
                yield from (posixpath.join(found.path, path) for path in _below(lower, found.path))
    finally:
        os.close(root)


def _below(root: int, path: str) -> Iterator[str]:
    try:
        start = open_in_root(root, path, DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        yield from (found.path for found in walk(start))
    finally:
        os.close(start)


def _bring(copier: Copier, rootfs: int, final: int, path: str) -> None:
    """Make ``path`` as ``final`` has it: there, or not there."""
    parent, name = posixpath.split(path)
    with ExitStack() as opened:
        try:
            source, above = (open_in_root(root, parent or ".", DIRECTORY) for root in (final, rootfs))
        except (FileNotFoundError, NotADirectoryError):
            return  # its parent went, and it with that
        opened.callback(os.close, source)
        opened.callback(os.close, above)
        status = _status(source, name)
        found = Found(path, source, name, status) if status else None
        present = _status(above, name)
        if present and not (found and found.is_directory and stat.S_ISDIR(present.st_mode)):
            remove_tree(above, name)
        if found is not None:
            copier.place(found, path)


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
