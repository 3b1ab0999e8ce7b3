"""Garbage collection: mark from images, writable layers and leases, sweep blobs and layers.

    reference ─> index ─> manifest ─> config, layer blobs         blobs that stay
    image ─────────────> manifest ┘
    image config ─> chain IDs        writable layer ─> chain IDs  layers that stay

The leases' lock is held from the first mark to the last delete, so work that takes a lease before it writes is safe.
"""

import time

from sampan.oci import digest as digests
from sampan.oci.digest import ChainID
from sampan.storage.content import ContentStore
from sampan.storage.images import Images
from sampan.storage.leases import Leases
from sampan.storage.snapshots import Snapshots


def collect(content: ContentStore, snapshots: Snapshots, images: Images, leases: Leases, keep_younger: float) -> int:
    """Sweep; returns the bytes freed."""
    with leases.lock:
        held = set(leases.held)
        freed = _sweep_layers(snapshots, needed_layers(snapshots, images) | held)
        return freed + _sweep_blobs(content, images.needed_blobs() | held, keep_younger)


def needed_layers(snapshots: Snapshots, images: Images) -> set[str]:
    """Chain IDs of all layers under an image or a writable layer."""
    parents = {layer.chain_id: layer.parent for layer in snapshots.layers()}
    needed: set[str] = set()
    for active in snapshots.actives():
        top = active.parent
        while top is not None and top not in needed:
            needed.add(top)
            top = parents.get(top)
    for image in images.all():
        chain: ChainID | None = None
        for diff_id in image.config.value.diff_ids:
            chain = digests.extend(chain, diff_id)
            needed.add(chain)
    return needed


def _sweep_layers(snapshots: Snapshots, needed: set[str]) -> int:
    return sum(snapshots.remove_layer(layer.chain_id) for layer in snapshots.layers() if layer.chain_id not in needed)


def _sweep_blobs(content: ContentStore, needed: set[str], keep_younger: float) -> int:
    now = time.time()
    return sum(
        content.delete(digest)
        for digest in content.digests()
        if digest not in needed and content.age(digest, now) >= keep_younger
    )
