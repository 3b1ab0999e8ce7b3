"""Image archives, written: what ``docker save`` gives, a docker-archive and an OCI layout in one tar.

    blobs/sha256/<hex>   manifests, configs, layers: as they are stored, so digests survive
    index.json           one entry per reference, named by io.containerd.image.name
    manifest.json        one element per image, its layers as paths of blobs
    oci-layout
    repositories         legacy: repository → tag → digest of the top layer

The same images give the same bytes. What is asked for is decided (``plan``) before the first byte is written.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sampan.archive import entry as kinds
from sampan.archive.entry import Entry
from sampan.archive.stream import Sink
from sampan.archive.writer import TarWriter
from sampan.errors import InvalidParameter, NoSuchImage, NotFound
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci import manifest
from sampan.oci.descriptor import REFERENCE_DIGEST, Descriptor
from sampan.oci.digest import Digest
from sampan.oci.manifest import Index
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.storage.images import Image, is_id_prefix
from sampan.storage.store import Storage


@dataclass
class Plan:
    """What goes into the archive: image → its references, targets for the index, and every blob."""

    images: dict[Digest, tuple[Image, list[Reference]]] = field(default_factory=dict)
    targets: list[tuple[Descriptor, Reference | None]] = field(default_factory=list)
    blobs: set[Digest] = field(default_factory=set)

    def add(self, image: Image, target: Descriptor, reference: Reference | None) -> None:
        _, references = self.images.setdefault(image.id, (image, []))
        if reference is not None and reference.tag is None:
            reference = None
        if reference is not None and reference not in references:
            references.append(reference)
        if (target, reference) not in self.targets:
            self.targets.append((target, reference))


def plan(storage: Storage, names: Sequence[str], platforms: Sequence[Platform] = ()) -> Plan:
    """Find the images that ``names`` mean; a bare repository means all its tags. Raises NoSuchImage, NotFound."""
    made = Plan()
    for name in names:
        for target, reference in _targets(storage, name):
            _add_target(storage, made, target, reference, platforms)
    return made


def plan_of(storage: Storage, images: Sequence[Image], target: Descriptor, references: Sequence[Reference]) -> Plan:
    """An archive of ``target`` (a manifest, or an index over ``images``) under names that the store need not know."""
    made = Plan()
    named: Sequence[Reference | None] = references or (None,)
    for reference in named:
        for image in images:
            made.add(image, target, reference)
    _collect(storage, target.digest, made.blobs)
    return made


def _targets(storage: Storage, name: str) -> list[tuple[Descriptor, Reference | None]]:
    try:
        reference = Reference.parse(name)
    except InvalidParameter:
        if not is_id_prefix(name):
            raise
        return [(_plain(storage.images.resolve(name)), None)]
    if reference.is_name_only:
        tagged = [(target, known) for known, target in storage.images.references(reference.name) if known.tag]
        return [*tagged] or [(_plain(storage.images.resolve(name)), None)]
    found = storage.images.target(reference)
    return [(found, reference)] if found else [(_plain(storage.images.resolve(name)), None)]


def _plain(image: Image) -> Descriptor:
    return manifest.describe(image.manifest)


def _add_target(
    storage: Storage,
    made: Plan,
    target: Descriptor,
    reference: Reference | None,
    platforms: Sequence[Platform],
) -> None:
    members = storage.images.members(target.digest)
    if not members:
        raise NoSuchImage(reference.familiar if reference else target.digest)
    if not platforms:
        made.add(members[0], target, reference)
        _collect(storage, target.digest, made.blobs)
        return
    chosen = [_fitting(members, wanted) for wanted in platforms]
    if len(chosen) == 1:  # as other engines do: the manifest alone
        target = _plain(chosen[0])
    made.add(chosen[0], target, reference)
    _collect(storage, target.digest, made.blobs, {image.manifest.digest for image in chosen})


def _fitting(members: Sequence[Image], wanted: Platform) -> Image:
    for image in members:
        if image.platform.matches(wanted):
            return image
    raise NotFound(f"no suitable export target found for platform {wanted}")


def _collect(storage: Storage, digest: Digest, blobs: set[Digest], only: Collection[Digest] = ()) -> None:
    """Add a manifest or an index and all below it that is here; of an index only some manifests, if that is said."""
    if digest in blobs or digest not in storage.content:
        return
    blobs.add(digest)
    value = storage.images.document(digest).value
    if isinstance(value, Index):
        for entry in value.manifests:
            about = (entry.annotations or {}).get(REFERENCE_DIGEST)  # of an attestation
            if not only or entry.digest in only or about in only:
                _collect(storage, entry.digest, blobs)
    else:
        here = (entry.digest for entry in (value.config, *value.layers) if entry.digest in storage.content)
        blobs.update(here)


def save(storage: Storage, made: Plan, sink: Sink) -> None:
    """Write the archive; a lease keeps what is in the plan while it is written."""
    with storage.leases.take() as lease:
        lease.hold(*made.blobs)
        writer = TarWriter(sink)
        writer.add(Entry("blobs/", kinds.DIRECTORY, mode=0o755))
        for algorithm in sorted({digests.algorithm(digest) for digest in made.blobs}):
            writer.add(Entry(f"blobs/{algorithm}/", kinds.DIRECTORY, mode=0o755))
        for digest in sorted(made.blobs):
            _write_blob(storage, writer, digest)
        writer.add(Entry("index.json"), _index(made))
        writer.add(Entry("manifest.json"), msgspec.json.encode(_legacy_items(made)))
        writer.add(Entry("oci-layout"), b'{"imageLayoutVersion":"1.0.0"}')
        if repositories := _repositories(made):
            writer.add(Entry("repositories"), msgspec.json.encode(repositories))
        writer.finish()


def _write_blob(storage: Storage, writer: TarWriter, digest: Digest) -> None:
    with storage.content.open(digest) as blob:
        size = storage.content.size(digest)
        entry = Entry(_path(digest), mode=0o444, size=size, stored=size)
        writer.add_stream(entry, blob.read)


def _path(digest: Digest) -> str:
    return f"blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}"


def _index(made: Plan) -> bytes:
    entries = [
        msgspec.structs.replace(
            target,
            annotations={types.IMAGE_NAME: str(reference), types.REF_NAME: reference.tag or ""} if reference else None,
        )
        for target, reference in made.targets
    ]
    return manifest.image_index(entries).raw


def _legacy_items(made: Plan) -> list[dict[str, Any]]:
    return [
        {
            "Config": _path(image.id),
            "RepoTags": [reference.familiar for reference in references] or None,
            "Layers": [_path(layer.digest) for layer in image.manifest.value.layers],
        }
        for image, references in made.images.values()
    ]


def _repositories(made: Plan) -> dict[str, dict[str, str]]:
    repositories: dict[str, dict[str, str]] = {}
    for image, references in made.images.values():
        layers = image.manifest.value.layers
        for reference in references if layers else ():
            tags = repositories.setdefault(reference.familiar_name, {})
            tags[reference.tag or ""] = digests.encoded(layers[-1].digest)
    return repositories
