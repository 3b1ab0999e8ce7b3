"""Image manifests and indexes, OCI's and Docker's schema 2, with their raw bytes.

    Index ── manifests ──> Manifest ── config ──> image config
                                    └─ layers ──> layer tars, lowest first

Source: https://github.com/opencontainers/image-spec manifest.md, image-index.md.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import field

from sampan.errors import InvalidParameter
from sampan.oci import descriptor as types
from sampan.oci.descriptor import Descriptor
from sampan.oci.document import Document


def _no_layers() -> list[Descriptor]:
    """A default that msgspec does not leave out when it writes: ``layers`` is required."""
    return []


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, rename="camel"):
    """One image of one platform: its config and its layers, lowest first."""

    schema_version: int
    media_type: str = ""
    artifact_type: str | None = None
    config: Descriptor
    layers: list[Descriptor] = field(default_factory=_no_layers)
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None

    @property
    def is_image(self) -> bool:
        """Whether it can be run; other artifacts use the same shape."""
        return self.config.media_type in types.CONFIG_TYPES


class Index(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, rename="camel"):
    """Several manifests under one name, usually one per platform."""

    schema_version: int
    media_type: str = ""
    artifact_type: str | None = None
    manifests: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class _Wire(msgspec.Struct, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    manifests: Any = None


def media_type(raw: bytes) -> str:
    """The media type ``raw`` declares, or the OCI one its shape implies; refuses schema 1 and non-JSON."""
    try:
        wire = msgspec.json.decode(raw, type=_Wire)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise InvalidParameter(f"invalid manifest: {error}") from error
    if wire.schema_version != 2:
        raise InvalidParameter(f"unsupported manifest schema version {wire.schema_version}: only 2 is supported")
    return wire.media_type or (types.OCI_MANIFEST if wire.manifests is None else types.OCI_INDEX)


def decode(raw: bytes, declared: str = "") -> Document[Manifest] | Document[Index]:
    """Decode a manifest or an index; ``declared`` is the media type it arrived with, which must agree."""
    kind = media_type(raw)
    if declared and kind != declared and declared in types.INDEX_TYPES | types.MANIFEST_TYPES:
        raise InvalidParameter(f"invalid manifest: media type {kind} does not match {declared}")
    if kind in types.INDEX_TYPES:
        return Document.decode(raw, Index, "image index")
    if kind in types.MANIFEST_TYPES:
        return Document.decode(raw, Manifest, "image manifest")
    raise InvalidParameter(f"unsupported manifest media type: {kind}")


def decode_manifest(raw: bytes) -> Document[Manifest]:
    """Decode what must be a manifest of one image."""
    document = decode(raw)
    if not isinstance(document.value, Manifest):
        raise InvalidParameter("invalid manifest: expected an image manifest, got an index")
    return Document(raw, document.value)


def image_manifest(
    config: Descriptor, layers: Sequence[Descriptor], annotations: dict[str, str] | None = None
) -> Document[Manifest]:
    """A new OCI manifest."""
    value = Manifest(
        schema_version=2,
        media_type=types.OCI_MANIFEST,
        config=config,
        layers=list(layers),
        annotations=annotations,
    )
    return Document.encode(value)


def image_index(manifests: Sequence[Descriptor], annotations: dict[str, str] | None = None) -> Document[Index]:
    """A new OCI index."""
    value = Index(
        schema_version=2,
        media_type=types.OCI_INDEX,
        manifests=list(manifests),
        annotations=annotations,
    )
    return Document.encode(value)


def describe(document: Document[Manifest] | Document[Index], **extra: object) -> Descriptor:
    """A descriptor of the document; ``extra`` are further descriptor fields (platform, annotations)."""
    kind = document.value.media_type or media_type(document.raw)
    bare = Descriptor(media_type=kind, digest=document.digest, size=document.size)
    return msgspec.structs.replace(bare, **extra)
