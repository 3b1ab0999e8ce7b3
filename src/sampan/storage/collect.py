"""Garbage collection: mark from images, writable layers and leases, sweep blobs and layers.

    reference ─> index ─> manifest ─> config, layer blobs         blobs that stay
    image ─────────────> manifest ┘
    image config ─> chain IDs        writable layer ─> chain IDs  layers that stay

The leases' lock is held from the first mark until everything unneeded is forgotten, so work that takes a lease before
it writes is safe. Layers' files, which take long to delete, go after that.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sampan.oci.digest import AnyDigest, ChainID, Digest
from sampan.storage.content import ContentStore
from sampan.storage.images import Images
from sampan.storage.leases import Leases
from sampan.storage.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class Collected:
    """What a sweep removed: layers, bytes of their files, bytes of blobs."""

    layers: Sequence[ChainID]
    layers_size: int
    blobs_size: int


def collect(
    content: ContentStore,
    snapshots: Snapshots,
    images: Images,
    leases: Leases,
    keep_younger: float,
    only: Collection[AnyDigest] | None = None,
) -> Collected:
    """Sweep once; with ``only`` nothing but these."""
    with leases.lock:
        held: set[str] = set(leases.held)
        needed = needed_layers(snapshots, images, held) | held
        unneeded = [
            layer.chain_id
            for layer in snapshots.layers()
            if layer.chain_id not in needed and (only is None or layer.chain_id in only)
        ]
        layers_size = sum(snapshots.remove_layer(chain_id) for chain_id in unneeded)
        needed_blobs = images.needed_blobs() | held
        spare = [
            digest for digest in content.digests() if digest not in needed_blobs and (only is None or digest in only)
        ]
        blobs_size = _sweep_blobs(content, spare, keep_younger)
    snapshots.purge()
    return Collected(unneeded, layers_size, blobs_size)


def needed_layers(snapshots: Snapshots, images: Images, held: set[str]) -> set[str]:
    """Chain IDs of all layers under an image, a writable layer, or a held layer."""
    parents: dict[str, ChainID | None] = {layer.chain_id: layer.parent for layer in snapshots.layers()}
    tops: list[str | None] = [active.parent for active in snapshots.actives()]
    tops += [chain_id for chain_id in parents if chain_id in held]
    tops += [image.chain_id for image in images.all()]
    needed: set[str] = set()
    while tops:
        top = tops.pop()
        if top is not None and top not in needed:
            needed.add(top)
            tops.append(parents.get(top))
    for image in images.all():  # some of its layers may be unpacked before the topmost is
        needed.update(image.config.value.chain_ids)
    return needed


def _sweep_blobs(content: ContentStore, spare: Iterable[Digest], keep_younger: float) -> int:
    now = time.time()
    return sum(content.delete(digest) for digest in spare if content.age(digest, now) >= keep_younger)
