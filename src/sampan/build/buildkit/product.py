"""What a build made: an image for each platform, and what the image exporters make of them.

    images ─ annotations? ─▶ manifests ─▶ target: the manifest, or an index over several
    predicates ─▶ statements about a manifest ─▶ attestation manifest, beside it in the index

Source: buildkit docs/attestations/attestation-storage.md.
"""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import msgspec

from sampan.build.attestations import Predicate
from sampan.build.builder import Outcome
from sampan.build.copying import DIRECTORY
from sampan.build.provenance import image_uri
from sampan.errors import InvalidParameter
from sampan.linux.openat2 import open_in_root
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci import manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.storage.images import Image
from sampan.storage.leases import Lease
from sampan.storage.store import Storage

_ANNOTATION = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)")
ON_MANIFEST, ON_INDEX = ("", "manifest"), ("index",)
IN_TOTO = "application/vnd.in-toto+json"
PREDICATE_TYPE = "in-toto.io/predicate-type"
ON_MANIFEST_DESCRIPTOR = ("manifest-descriptor",)


@dataclass(frozen=True)
class Product:
    """The images of a build, in the order of the platforms that were asked for, and how they were made."""

    images: tuple[Image, ...]
    outcomes: tuple[Outcome, ...] = ()
    predicates: tuple[tuple[Predicate, ...], ...] = ()

    @property
    def first(self) -> Image:
        return self.images[0]


@dataclass(frozen=True, slots=True)
class Annotation:
    """``annotation-manifest[linux/amd64].key=value``, parsed; an empty ``platform`` means all."""

    place: str
    platform: str
    key: str
    value: str


def annotations_of(attributes: Mapping[str, str]) -> list[Annotation]:
    """The annotations among an exporter's attributes. Raises InvalidParameter for a place that does not exist."""
    found = []
    for name, value in attributes.items():
        if not name.startswith("annotation"):
            continue
        match = _ANNOTATION.fullmatch(name)
        if match is None or (match[1] or "") not in (*ON_MANIFEST, *ON_INDEX, *ON_MANIFEST_DESCRIPTOR):
            raise InvalidParameter(f"invalid annotation {name!r}")
        found.append(Annotation(match[1] or "", match[2] or "", match[3], value))
    return found


def assemble(
    storage: Storage, lease: Lease, product: Product, annotations: Sequence[Annotation], names: Sequence[Reference]
) -> tuple[Product, Descriptor]:
    """The product with its annotations, and what a name shall mean: the manifest, or an index. Blocks."""
    images = tuple(_annotated(storage, lease, image, annotations) for image in product.images)
    if len(images) == 1 and not any(product.predicates):
        if any(annotation.place in ON_INDEX for annotation in annotations):
            raise InvalidParameter("index annotations not supported for single platform export")
        return Product(images), images[0].descriptor
    entries = [_described(image, annotations) for image in images]
    entries += [
        _attested(storage, lease, image, predicates, names)
        for image, predicates in zip(images, product.predicates, strict=False)
        if predicates
    ]
    index = manifest.image_index(entries, _chosen(annotations, ON_INDEX, ""))
    _written(storage, lease, index.raw)
    target = manifest.describe(index)
    storage.images.register(target)
    return Product(images), target


def _written(storage: Storage, lease: Lease, data: bytes) -> Digest:
    """Store a document, kept until it is named."""
    lease.hold(digests.of(data))
    return storage.content.write(data)


def _annotated(storage: Storage, lease: Lease, image: Image, annotations: Sequence[Annotation]) -> Image:
    """The image with a manifest that says more; itself when there is nothing to say."""
    wanted = _chosen(annotations, ON_MANIFEST, str(image.platform))
    if wanted is None:
        return image
    value = image.manifest.value
    document = manifest.image_manifest(value.config, value.layers, {**(value.annotations or {}), **wanted})
    _written(storage, lease, document.raw)
    storage.images.register(manifest.describe(document))
    return replace(image, manifest=document)


def files_of(storage: Storage, image: Image, held: ExitStack) -> int:
    """The image's files; the fd closes with ``held``."""
    view = storage.snapshots.view(image.chain_id)
    held.callback(os.close, view)
    root = open_in_root(view, ".", DIRECTORY)
    held.callback(os.close, root)
    return root


def statement(image: Image, predicate: Predicate, names: Sequence[Reference]) -> bytes:
    """The in-toto statement that says ``predicate`` of the image's manifest."""
    digest = {"sha256": image.manifest.digest.partition(":")[2]}
    subjects = [{"name": image_uri(str(name), image.platform), "digest": digest} for name in names]
    return msgspec.json.encode(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": predicate.type,
            "subject": subjects or [{"name": "_", "digest": digest}],
            "predicate": predicate.body,
        }
    )


def _attested(
    storage: Storage, lease: Lease, image: Image, predicates: Sequence[Predicate], names: Sequence[Reference]
) -> Descriptor:
    """A manifest of statements about the image, as the index has it."""
    layers = []
    for predicate in predicates:
        data = statement(image, predicate, names)
        kind = {PREDICATE_TYPE: predicate.type}
        digest = _written(storage, lease, data)
        layers.append(Descriptor(media_type=IN_TOTO, digest=digest, size=len(data), annotations=kind))
    config = msgspec.json.encode(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )
    digest = _written(storage, lease, config)
    document = manifest.image_manifest(Descriptor(media_type=types.OCI_CONFIG, digest=digest, size=len(config)), layers)
    _written(storage, lease, document.raw)
    about = {types.REFERENCE_TYPE: types.ATTESTATION, types.REFERENCE_DIGEST: image.manifest.digest}
    return manifest.describe(document, platform=Platform(architecture="unknown", os="unknown"), annotations=about)


def _described(image: Image, annotations: Sequence[Annotation]) -> Descriptor:
    wanted = _chosen(annotations, ON_MANIFEST_DESCRIPTOR, str(image.platform))
    return msgspec.structs.replace(image.descriptor, annotations=wanted)


def _chosen(annotations: Sequence[Annotation], places: Sequence[str], platform: str) -> dict[str, str] | None:
    chosen = {
        annotation.key: annotation.value
        for annotation in annotations
        if annotation.place in places and annotation.platform in ("", platform)
    }
    return chosen or None
