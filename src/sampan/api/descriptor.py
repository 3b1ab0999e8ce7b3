"""OCI descriptors and platforms as Docker's responses carry them, and lists of image manifests."""

from typing import Any

from sampan.api.wire import (
    LowerWire,
    Wire,
    named,
    omitted_list,
    omitted_map,
    present,
    present_list,
    present_named,
    present_struct,
)


class OCIPlatform(LowerWire):
    """What a manifest runs on: architecture, operating system, variant."""

    architecture: str = present("")
    os: str = present("")
    os_version: str = named("os.version", "")
    os_features: list[str] = omitted_list("os.features")
    variant: str = ""


class OCIDescriptor(LowerWire):
    """Type, digest and size of a blob (image-spec, "Content Descriptors")."""

    media_type: str = present_named("mediaType", "")
    digest: str = present("")
    size: int = present(0)
    urls: list[str] = omitted_list()
    annotations: dict[str, str] = omitted_map()
    data: str = ""
    platform: OCIPlatform | None = None
    artifact_type: str = named("artifactType", "")


class ManifestSize(Wire):
    """Bytes of a manifest: all of it, and its blobs in the content store."""

    total: int = present(0)
    content: int = present(0)


class UnpackedSize(Wire):
    """Bytes of the unpacked layers."""

    unpacked: int = present(0)


class PullIdentity(Wire):
    """A repository, with its registry, that the image was pulled from or pushed to."""

    repository: str = ""


class ImageIdentity(Wire):
    """Where an image comes from, as far as this engine has seen it."""

    pull: list[PullIdentity] = omitted_list()


class ImageData(Wire):
    """What an image manifest (not an attestation) tells about itself."""

    platform: OCIPlatform = present_struct(OCIPlatform)
    identity: ImageIdentity | None = None
    containers: list[str] | None = present(None)
    size: UnpackedSize = present_struct(UnpackedSize)


class AttestationData(Wire):
    """Digest of the image manifest that an attestation is about."""

    for_: str = present("")


class ImageManifestSummary(Wire):
    """One manifest of an index: an image of one platform, an attestation, or unknown."""

    id: str = present_named("ID", "")
    descriptor: OCIDescriptor = present_struct(OCIDescriptor)
    available: bool = present(False)
    size: ManifestSize = present_struct(ManifestSize)
    kind: str = present("unknown")
    image_data: ImageData | None = None
    attestation_data: AttestationData | None = None


class DistributionInspect(Wire):
    """Answer of ``GET /distribution/{name}/json``: what a registry has under a name."""

    descriptor: OCIDescriptor = present_struct(OCIDescriptor)
    platforms: list[OCIPlatform] = present_list()


class AttestationStatement(Wire):
    """An in-toto statement stored with an image; ``statement`` only when asked for."""

    descriptor: OCIDescriptor = present_struct(OCIDescriptor)
    predicate_type: str = present("")
    statement: dict[str, Any] | None = None
