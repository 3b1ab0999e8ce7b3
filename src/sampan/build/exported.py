"""The build cache as something to be sent: ``--cache-to``.

    manifest ── config   application/vnd.sampan.build-cache.v1+json: steps and cache mounts, with numbers of layers
             └─ layers   what steps changed, and what cache mounts held

mode=min    the steps of the result itself
mode=max    every step that the build needed, of all stages
mounts=true the directories of RUN --mount=type=cache as well
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from sampan.archive.copy import export as write_tree
from sampan.build.cache import Entry
from sampan.build.copying import DIRECTORY
from sampan.build.kept import hold
from sampan.errors import InvalidParameter
from sampan.oci import manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import DiffID
from sampan.oci.document import Document
from sampan.oci.manifest import Manifest
from sampan.storage.layers import write_layer
from sampan.storage.leases import Lease
from sampan.storage.store import Storage

CACHE_CONFIG = "application/vnd.sampan.build-cache.v1+json"


class CachedStep(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A step's result; ``layer`` is a number in the manifest, None for a step that changed no files."""

    key: str
    created: str
    description: str
    layer: int | None = None
    diff_id: DiffID | None = None


class CachedMount(msgspec.Struct, frozen=True, rename="camel"):
    """What a cache mount held."""

    id: str
    layer: int


class CacheDocument(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What a cache holds."""

    steps: list[CachedStep] = msgspec.field(default_factory=list)
    mounts: list[CachedMount] = msgspec.field(default_factory=list)


def decode(raw: bytes) -> CacheDocument:
    """Raises InvalidParameter."""
    try:
        return msgspec.json.decode(raw, type=CacheDocument)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidParameter(f"invalid build cache: {error}") from error


def assemble_cache(
    storage: Storage, lease: Lease, steps: Mapping[str, Entry], mounts: Mapping[str, Path]
) -> Document[Manifest]:
    """The manifest of a cache of ``steps`` (by key) and cache ``mounts`` (directories by ID). Blocks."""
    layers: list[Descriptor] = []
    kept = [_step(key, entry, layers) for key, entry in sorted(steps.items())]
    carried = []
    for id, directory in sorted(mounts.items()):
        layer, _ = write_layer(storage.content, lease, _tar_of(directory))
        carried.append(CachedMount(id, _number(layers, layer)))
    raw = msgspec.json.encode(CacheDocument(kept, carried))
    digest = storage.content.write(raw)
    lease.hold(digest, *(layer.digest for layer in layers))
    document = manifest.image_manifest(Descriptor(media_type=CACHE_CONFIG, digest=digest, size=len(raw)), layers)
    lease.hold(storage.content.write(document.raw))
    return document


def _step(key: str, entry: Entry, layers: list[Descriptor]) -> CachedStep:
    number = _number(layers, entry.layer) if entry.layer else None
    return CachedStep(key, entry.created, entry.description, number, entry.diff_id)


def _number(layers: list[Descriptor], layer: Descriptor) -> int:
    """The layer's place among ``layers``, at their end if it is new."""
    known: Sequence[str] = [other.digest for other in layers]
    if layer.digest in known:
        return known.index(layer.digest)
    layers.append(layer)
    return len(layers) - 1


def _tar_of(directory: Path) -> Callable[..., None]:
    def write(sink: object) -> None:
        with ExitStack() as held:
            hold(directory, held)
            root = os.open(directory, DIRECTORY)
            held.callback(os.close, root)
            write_tree(root, sink)  # type: ignore[arg-type]

    return write
