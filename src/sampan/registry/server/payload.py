"""What a pushed manifest says: the part of it that the registry looks at."""

import msgspec

from sampan.errors import InvalidParameter
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci import manifest as manifests
from sampan.oci.digest import Digest
from sampan.oci.manifest import Index, Manifest
from sampan.registry.protocol import Code
from sampan.registry.server.records import NewManifest
from sampan.registry.server.refusal import Refusal


def describe(payload: bytes, content_type: str, algorithm: str = "sha256") -> NewManifest:
    """What a manifest says; raises Refusal MANIFEST_INVALID with the reason."""
    declared = content_type.partition(";")[0].strip()
    try:
        value = manifests.decode(payload, declared).value
        kind = manifests.media_type(payload)
    except InvalidParameter as error:
        raise Refusal(Code.MANIFEST_INVALID, message=error.message) from error
    blobs, children = (_blobs(value), []) if isinstance(value, Manifest) else ([], _children(value))
    return NewManifest(
        digest=digests.of(payload, algorithm),
        media_type=kind,
        payload=payload,
        artifact_type=_artifact_type(value),
        annotations=msgspec.json.encode(value.annotations).decode() if value.annotations else "",
        subject=value.subject.digest if value.subject else None,
        blobs=frozenset(blobs),
        children=frozenset(children),
    )


def _blobs(manifest: Manifest) -> list[Digest]:
    """Config and layers; layers that are fetched from elsewhere are not kept here."""
    kept = [layer for layer in manifest.layers if layer.media_type not in types.NONDISTRIBUTABLE_TYPES]
    return [manifest.config.digest, *(layer.digest for layer in kept)]


def _children(index: Index) -> list[Digest]:
    return [entry.digest for entry in index.manifests]


def _artifact_type(value: Manifest | Index) -> str:
    """What the referrers API shows: the manifest's own, else its config's media type."""
    own = value.artifact_type or ""
    return own or (value.config.media_type if isinstance(value, Manifest) else "")
