"""What a build made: an image for each platform, and what the image exporters make of them.

images ─ annotations? ─▶ manifests ─▶ target: the manifest, or an index over several
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from sampan.build.builder import Outcome
from sampan.errors import InvalidParameter
from sampan.oci import manifest
from sampan.oci.descriptor import Descriptor
from sampan.storage.images import Image
from sampan.storage.store import Storage

_ANNOTATION = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)")
ON_MANIFEST, ON_INDEX = ("", "manifest"), ("index",)
ON_MANIFEST_DESCRIPTOR = ("manifest-descriptor",)


@dataclass(frozen=True)
class Product:
    """The images of a build, in the order of the platforms that were asked for, and how they were made."""

    images: tuple[Image, ...]
    outcomes: tuple[Outcome, ...] = ()

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


def assemble(storage: Storage, product: Product, annotations: Sequence[Annotation]) -> tuple[Product, Descriptor]:
    """The product with its annotations, and what a name shall mean: the manifest, or an index. Blocks."""
    images = tuple(_annotated(storage, image, annotations) for image in product.images)
    if len(images) == 1:
        if any(annotation.place in ON_INDEX for annotation in annotations):
            raise InvalidParameter("index annotations not supported for single platform export")
        return Product(images), images[0].descriptor
    entries = [_described(image, annotations) for image in images]
    index = manifest.image_index(entries, _chosen(annotations, ON_INDEX, ""))
    storage.content.write(index.raw)
    target = manifest.describe(index)
    storage.images.register(target)
    return Product(images), target


def _annotated(storage: Storage, image: Image, annotations: Sequence[Annotation]) -> Image:
    """The image with a manifest that says more; itself when there is nothing to say."""
    wanted = _chosen(annotations, ON_MANIFEST, str(image.platform))
    if wanted is None:
        return image
    value = image.manifest.value
    document = manifest.image_manifest(value.config, value.layers, {**(value.annotations or {}), **wanted})
    storage.content.write(document.raw)
    storage.images.register(manifest.describe(document))
    return replace(image, manifest=document)


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
