"""In-toto statements (provenance, SBOM) that an index keeps beside its images, BuildKit's way.

index ── attestation manifest (vnd.docker.reference.digest = the image's manifest)
            └─ layers: in-toto statements, in-toto.io/predicate-type says of what kind
"""

from collections.abc import Collection

import msgspec

from sampan.api.descriptor import AttestationStatement
from sampan.engine import image_views
from sampan.oci.descriptor import REFERENCE_DIGEST, Descriptor
from sampan.oci.manifest import Index, Manifest
from sampan.storage.images import Image
from sampan.storage.store import Storage

PREDICATE_TYPE = "in-toto.io/predicate-type"


def statements(
    storage: Storage, image: Image, types: Collection[str], *, with_body: bool
) -> list[AttestationStatement]:
    """The image's statements of the predicate ``types`` (none: all)."""
    return [
        AttestationStatement(
            descriptor=image_views.descriptor(layer),
            predicate_type=_predicate(layer),
            statement=msgspec.json.decode(storage.content.read(layer.digest)) if with_body else None,
        )
        for layer in _layers(storage, image)
        if not types or _predicate(layer) in types
    ]


def _predicate(layer: Descriptor) -> str:
    return (layer.annotations or {}).get(PREDICATE_TYPE, "")


def _layers(storage: Storage, image: Image) -> list[Descriptor]:
    references = storage.images.references_of(image.id)
    index = image_views.target_of(storage, image, references).value
    found: list[Descriptor] = []
    for entry in index.manifests if isinstance(index, Index) else ():
        about = (entry.annotations or {}).get(REFERENCE_DIGEST)
        if entry.is_attestation and about == image.manifest.digest and entry.digest in storage.content:
            attestation = storage.images.document(entry.digest).value
            if isinstance(attestation, Manifest):
                found += [layer for layer in attestation.layers if layer.digest in storage.content]
    return found
