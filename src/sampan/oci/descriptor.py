"""Descriptors: a pointer to content by media type, digest and size; and the media types there are.

Source: https://github.com/opencontainers/image-spec descriptor.md, media-types.md;
https://distribution.github.io/distribution/spec/manifest-v2-2/ for Docker's.
"""

import msgspec
from msgspec import field

from sampan.errors import InvalidParameter
from sampan.oci import digest as digests
from sampan.oci.digest import Digest
from sampan.oci.platform import Platform

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_V1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
NONDISTRIBUTABLE_TYPES = frozenset(
    {DOCKER_FOREIGN_LAYER, OCI_NONDISTRIBUTABLE, OCI_NONDISTRIBUTABLE + "+gzip", OCI_NONDISTRIBUTABLE + "+zstd"}
)
"""Layers that are fetched from ``urls`` and not pushed."""
LAYER_TYPES = (
    frozenset({OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD})
    | NONDISTRIBUTABLE_TYPES
)

REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"
ATTESTATION = "attestation-manifest"
IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, rename="camel"):
    """Content by digest. Building one with a malformed digest or a negative size raises InvalidParameter."""

    media_type: str
    digest: Digest
    size: int
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None
    data: str | None = None
    artifact_type: str | None = None
    platform: Platform | None = field(default=None)

    def __post_init__(self) -> None:
        try:
            digests.parse(self.digest)
        except InvalidParameter as error:
            raise ValueError(error.message) from error
        if self.size < 0:
            raise ValueError("negative size")

    @property
    def is_attestation(self) -> bool:
        """Whether this is build provenance or an SBOM beside an image (BuildKit's convention)."""
        return (self.annotations or {}).get(REFERENCE_TYPE) == ATTESTATION
