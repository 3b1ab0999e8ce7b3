"""From an image's layer blobs to its unpacked layers: side by side, each once, registered lowest first.

A layer has a directory of its own and needs those below it only at its end (``archive.apply``). Whoever unpacks several
at once begins the lower ones first, so that of those under way the lowest waits for none.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sampan.archive.compression import decompressed
from sampan.archive.reader import Source
from sampan.errors import InvalidParameter
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import ChainID, DiffID
from sampan.oci.document import Document
from sampan.oci.image_config import ImageConfig
from sampan.oci.manifest import Manifest
from sampan.storage.content import ContentStore
from sampan.storage.snapshots import Snapshots

LAYERS_LIMIT = 500
"""Lower directories an overlay takes (the kernel's OVL_MAX_STACK)."""

AT_ONCE = max(2, min(4, os.cpu_count() or 1))
"""Layers of one image that are unpacked at a time; each has another thread that inflates and hashes."""

Report = Callable[[DiffID, int, int], object]
"""Told of progress: the layer, bytes of its blob read, bytes in all. Called in the working threads."""


def unpack_blob(
    snapshots: Snapshots,
    parent: ChainID | None,
    diff_id: DiffID,
    blob: Source,
    below: Callable[[], object] | None = None,
) -> ChainID:
    """Unpack one layer from its (compressed) blob; returns its chain ID. ``below`` as for ``Snapshots.unpack``."""
    return snapshots.unpack(parent, diff_id, decompressed(blob), below)


def unpack_layers(
    content: ContentStore,
    snapshots: Snapshots,
    manifest: Document[Manifest],
    config: Document[ImageConfig],
    report: Report | None = None,
) -> ChainID | None:
    """Unpack all layers of an image that are not yet; returns the chain ID of the whole stack."""
    layers, diff_ids = manifest.value.layers, config.value.diff_ids
    check_depth(diff_ids)
    if len(layers) != len(diff_ids):
        raise InvalidParameter(f"invalid manifest, layers length mismatch: expected {len(layers)}, got {len(diff_ids)}")

    def unpack(layer: Descriptor, parent: ChainID | None, diff_id: DiffID, below: Callable[[], object] | None) -> None:
        with content.open(layer.digest) as blob:
            source = blob if report is None else _Reporting(blob, diff_id, layer.size, report)
            unpack_blob(snapshots, parent, diff_id, source, below)

    chain: ChainID | None = None
    below: Future[None] | None = None
    with ThreadPoolExecutor(AT_ONCE, "sampan-unpack") as threads:
        for layer, diff_id in zip(layers, diff_ids, strict=True):
            parent, chain = chain, digests.extend(chain, diff_id)
            if chain not in snapshots:
                below = threads.submit(unpack, layer, parent, diff_id, below.result if below else None)
    if below is not None:
        below.result()
    return chain


def check_depth(diff_ids: Sequence[DiffID]) -> None:
    """Raises InvalidParameter for more layers than can be mounted."""
    if len(diff_ids) > LAYERS_LIMIT:
        raise InvalidParameter(f"max depth exceeded: {len(diff_ids)} layers, at most {LAYERS_LIMIT} can be mounted")


class _Reporting:
    """A source that tells how much of it was read."""

    def __init__(self, source: Source, diff_id: DiffID, total: int, report: Report) -> None:
        self._source = source
        self._diff_id = diff_id
        self._total = total
        self._report = report
        self._position = 0

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._position += len(data)
        self._report(self._diff_id, self._position, self._total)
        return data
