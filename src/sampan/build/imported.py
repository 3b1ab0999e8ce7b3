"""Results of steps that were made elsewhere: ``--cache-from``, by the keys of steps.

    image of this engine      config["sampan.steps"]: keys, the last for the last entry of ``history``
    cache (``exported``)      a document that lists steps, and cache mounts, with their layers

A layer is brought when its step comes and not before; where that fails the step is done as if nothing were known.
Images and caches without keys of ours are no use, and are no error either.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sampan.build.cache import Entry
from sampan.build.exported import CacheDocument
from sampan.build.threads import in_thread
from sampan.errors import EngineError, InvalidParameter, NotFound
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import ChainID, DiffID
from sampan.oci.image_config import ImageConfig
from sampan.storage.images import Image
from sampan.storage.leases import Lease
from sampan.storage.store import Storage
from sampan.storage.unpack import unpack_blob


class BlobSource(Protocol):
    """Where blobs come from."""

    async def fetch(self, storage: Storage, lease: Lease, descriptor: Descriptor) -> None:
        """Bring the blob into ``storage`` unless it is there. Raises EngineError."""


class Here:
    """A source of what is here already."""

    async def fetch(self, storage: Storage, lease: Lease, descriptor: Descriptor) -> None:
        """Raises NotFound."""
        lease.hold(descriptor.digest)
        if descriptor.digest not in storage.content:
            raise NotFound(f"content {descriptor.digest} is not here")


@dataclass(frozen=True, slots=True)
class Foreign:
    """What a step made elsewhere; ``layer`` is None for one that changed no files."""

    created: str
    description: str
    source: BlobSource
    layer: Descriptor | None = None
    diff_id: DiffID | None = None


@dataclass(frozen=True, slots=True)
class ForeignMount:
    """What a cache mount held elsewhere, as a tar."""

    layer: Descriptor
    source: BlobSource


@dataclass(slots=True)
class Imported:
    """Steps by their key, and cache mounts by their ID."""

    steps: dict[str, Foreign] = field(default_factory=dict)
    mounts: dict[str, ForeignMount] = field(default_factory=dict)

    def add_image(self, config: ImageConfig, layers: Sequence[Descriptor], source: BlobSource) -> None:
        """The steps of an image, if it knows the keys of its own."""
        self.steps.update(_steps_of(config, layers, source))

    def add_cache(self, cache: CacheDocument, layers: Sequence[Descriptor], source: BlobSource) -> None:
        """What a cache holds. Raises InvalidParameter for one that does not fit its layers."""
        for step in cache.steps:
            layer = _numbered(layers, step.layer) if step.layer is not None else None
            diff_id = step.diff_id if layer else None
            self.steps[step.key] = Foreign(step.created, step.description, source, layer, diff_id)
        for mount in cache.mounts:
            self.mounts[mount.id] = ForeignMount(_numbered(layers, mount.layer), source)

    async def bring(self, storage: Storage, lease: Lease, key: str, below: ChainID | None) -> Entry | None:
        """The step's result, its layer unpacked upon ``below``; None where it is not known or cannot be had."""
        step = self.steps.get(key)
        if step is None:
            return None
        if step.layer is None or step.diff_id is None:
            return Entry(step.created, step.description)
        chain = digests.extend(below, step.diff_id)
        lease.hold(step.layer.digest, chain)
        try:
            await step.source.fetch(storage, lease, step.layer)
            await in_thread(_unpack, storage, step.layer, step.diff_id, below)
        except EngineError:
            return None
        size = storage.snapshots.layer(chain).size
        return Entry(step.created, step.description, step.layer, step.diff_id, chain, size)


def _unpack(storage: Storage, layer: Descriptor, diff_id: DiffID, below: ChainID | None) -> None:
    if digests.extend(below, diff_id) not in storage.snapshots:
        with storage.content.open(layer.digest) as blob:
            unpack_blob(storage.snapshots, below, diff_id, blob)


def _numbered(layers: Sequence[Descriptor], number: int) -> Descriptor:
    if not 0 <= number < len(layers):
        raise InvalidParameter(f"invalid build cache: it has no layer {number}")
    return layers[number]


def images_here(storage: Storage, names: Sequence[str]) -> Imported:
    """The steps of the images ``names`` that are here; as with dockerd one that is not is a cache of nothing."""
    found = Imported()
    for name in names:
        try:
            image = storage.images.resolve(name)
        except (NotFound, InvalidParameter):
            continue
        add_local(found, image)
    return found


def add_local(found: Imported, image: Image) -> None:
    """The steps of an image that is here."""
    found.add_image(image.config.value, image.manifest.value.layers, Here())


def _steps_of(config: ImageConfig, layers: Sequence[Descriptor], source: BlobSource) -> Iterator[tuple[str, Foreign]]:
    """Key and result of each step that the image knows the key of."""
    first, position = len(config.history) - len(config.steps), 0
    for number, step in enumerate(config.history):
        made = Foreign(step.created, step.created_by, source)
        if not step.empty_layer:
            if position >= len(layers):
                return
            made = Foreign(step.created, step.created_by, source, layers[position], config.diff_ids[position])
            position += 1
        if number >= first >= 0:
            yield config.steps[number - first], made
