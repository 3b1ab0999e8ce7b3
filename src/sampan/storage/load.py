"""Image archives, read: what ``docker load`` takes.

    OCI layout      oci-layout  index.json  blobs/sha256/<hex>…              (Docker 25 and later adds manifest.json)
    docker-archive  manifest.json  <hex>.json or blobs/…  <id>/layer.tar or <hex>.tar …

The stream is read once. Nothing is written but blobs: a member is data under a digest, never a path, so there is
nothing to climb out of. Large members go to the content store as they pass; what turns out to belong to no image is
left to the garbage collector.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from sampan.archive import entry as kinds
from sampan.archive.compression import decompressed, detect
from sampan.archive.entry import Entry
from sampan.archive.errors import MalformedArchive
from sampan.archive.reader import Source, TarReader
from sampan.archive.stream import ReadAhead
from sampan.errors import EngineError, InvalidParameter, NotFound
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci import image_config, manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.document import Document, without_nulls
from sampan.oci.image_config import ImageConfig
from sampan.oci.manifest import Index
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.storage.images import Image, Member
from sampan.storage.leases import Lease
from sampan.storage.store import Storage
from sampan.storage.unpack import Report

_SMALL = 8 << 20
_MEMORY = 64 << 20
_BLOBS = "blobs/"
_LAYER_TYPES = {None: types.DOCKER_LAYER, "gzip": types.DOCKER_LAYER_GZIP, "zstd": types.DOCKER_LAYER_ZSTD}


@dataclass(frozen=True)
class Loaded:
    """An image that came, the references it got, and those that another image lost."""

    image: Image
    references: Sequence[Reference]
    displaced: Sequence[tuple[Reference, Digest]] = ()


@dataclass
class _Found:
    """An image in the archive, its layers not yet unpacked: what it will be registered by, and its names."""

    image: Member
    targets: list[Descriptor] = field(default_factory=list)
    names: list[tuple[Reference, Descriptor]] = field(default_factory=list)
    parent: Digest | None = None


class _Item(msgspec.Struct, rename="pascal"):
    """One element of manifest.json."""

    config: str
    repo_tags: list[str] = []
    layers: list[str] = []
    parent: str = ""


@dataclass
class _Contents:
    """What the archive held: small members in memory, the digest of each other, and links between names."""

    small: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, Digest] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """Follow links from ``name``, as often as there are links."""
        name = posixpath.normpath(name)
        for _ in range(len(self.links) + 1):
            if name not in self.links:
                return name
            name = self.links[name]
        raise MalformedArchive(f"invalid archive: {name} is a loop of links")


def load(
    storage: Storage,
    archive: Source,
    *,
    platforms: Sequence[Platform] = (),
    unpack: bool = True,
    report: Report | None = None,
) -> list[Loaded]:
    """Add the images in ``archive`` (compressed or not); with ``platforms`` only theirs. Names move to them.

    All are unpacked before the first gets its name: an archive that fails leaves everything as it was.
    Raises InvalidParameter for an archive that is none or is damaged, DiskFull.
    """
    with storage.work() as lease:
        with ReadAhead(decompressed(archive)) as tar:
            contents = _read(storage, TarReader(tar), lease)
        found = _find(storage, contents, lease, platforms)
        for one in found:
            lease.hold(*one.image.config.value.chain_ids)
            if unpack:
                storage.images.unpack(one.image, report)
        return [_enter(storage, one, platforms) for one in found]


def _read(storage: Storage, reader: TarReader, lease: Lease) -> _Contents:
    contents = _Contents()
    kept = 0
    for entry in reader:
        name = posixpath.normpath(entry.name).lstrip("/")
        if entry.type in (kinds.SYMLINK, kinds.HARD_LINK):
            base = posixpath.dirname(name) if entry.type == kinds.SYMLINK else ""
            contents.links[name] = posixpath.normpath(posixpath.join(base, entry.linkname))
        elif entry.type == kinds.REGULAR and name.startswith(_BLOBS):
            contents.blobs[name] = _store(storage, reader, lease, _digest_of_name(name))
        elif entry.type == kinds.REGULAR and _is_document(entry):
            contents.small[name] = reader.read(_SMALL)
            kept += entry.size
            if kept > _MEMORY:
                raise MalformedArchive("invalid archive: too many metadata files")
        elif entry.type == kinds.REGULAR:
            contents.blobs[name] = _store(storage, reader, lease, None)
    return contents


def _is_document(entry: Entry) -> bool:
    """JSON and markers at the top; layers are named ``layer.tar`` or ``<hex>.tar``."""
    return entry.size <= _SMALL and not entry.name.endswith(".tar")


def _digest_of_name(name: str) -> Digest | None:
    """The digest that ``blobs/<algorithm>/<hex>`` promises; None for another name below blobs."""
    parts = name.split("/")
    try:
        return digests.parse(":".join(parts[1:])) if len(parts) == 3 else None
    except InvalidParameter:
        return None


def _store(storage: Storage, reader: TarReader, lease: Lease, expected: Digest | None) -> Digest:
    """Put the current member into the content store under its digest."""
    if expected is not None:
        lease.hold(expected)
        if expected in storage.content:
            return expected
    algorithm = digests.algorithm(expected) if expected else "sha256"
    with storage.content.ingest(algorithm=algorithm) as ingest:
        try:
            for _, chunk in reader.data():
                ingest.write(chunk)
            lease.hold(ingest.digest)
            return ingest.commit(expected)
        except (EngineError, OSError):
            ingest.abort()
            raise


def _find(storage: Storage, contents: _Contents, lease: Lease, platforms: Sequence[Platform]) -> list[_Found]:
    """An OCI index says more than manifest.json (platforms, manifests as they were), so it goes first."""
    index, legacy = contents.small.get("index.json"), contents.small.get("manifest.json")
    if index is not None and (found := _find_in_layout(storage, index, platforms)):
        return found
    if legacy is not None:
        return _find_legacy(storage, contents, legacy, lease, platforms)
    if index is not None:
        raise _no_platform(platforms) if platforms else MalformedArchive("invalid archive: it holds no image")
    raise MalformedArchive("invalid archive: does not contain a manifest.json")


def _no_platform(platforms: Sequence[Platform]) -> NotFound:
    wanted = ", ".join(map(str, platforms))
    return NotFound(f"no image of the requested platform ({wanted}) is in the archive")


def _enter(storage: Storage, found: _Found, platforms: Sequence[Platform]) -> Loaded:
    """Make the image and give it its names; they leave what they meant before."""
    parent = found.parent if found.parent is not None and found.parent in storage.images else None
    for target in found.targets:
        storage.images.register(target, parent, platforms)
    image, displaced = storage.images.get(found.image.config.digest), []
    for reference, target in found.names:
        before = storage.images.target(reference)
        if before is not None and (old := storage.images.members(before.digest)) and old[0].id != image.id:
            displaced.append((reference, old[0].id))
        storage.images.tag(reference, target)
    return Loaded(storage.images.get(image.id), [reference for reference, _ in found.names], displaced)


# OCI layout.


def _find_in_layout(storage: Storage, raw: bytes, platforms: Sequence[Platform]) -> list[_Found]:
    index = Document.decode(raw, Index, "index.json")
    found: dict[Digest, _Found] = {}
    for entry in index.value.manifests:
        if entry.digest not in storage.content or entry.is_attestation:
            continue
        target = Descriptor(media_type=entry.media_type, digest=entry.digest, size=entry.size)
        members = [one for one in storage.images.candidates(target) if one.fits(platforms)]
        if not members:
            continue  # an artifact, another platform, or an image whose layers are not in the archive
        one = found.setdefault(members[0].config.digest, _Found(members[0]))
        one.targets.append(target)
        if name := _name_of(entry):
            one.names.append((name, target))
    return list(found.values())


def _name_of(entry: Descriptor) -> Reference | None:
    """The reference an index entry is annotated with: containerd's annotation, or OCI's where it is a full name."""
    annotations = entry.annotations or {}
    text = annotations.get(types.IMAGE_NAME) or annotations.get(types.REF_NAME, "")
    if types.IMAGE_NAME not in annotations and not set(text) & set(":/"):
        return None  # only a tag
    try:
        return Reference.parse(text).tagged()
    except InvalidParameter:
        return None


# docker-archive.


def _find_legacy(
    storage: Storage, contents: _Contents, raw: bytes, lease: Lease, platforms: Sequence[Platform]
) -> list[_Found]:
    found: dict[Digest, _Found] = {}
    for item in _items(raw):
        config = _legacy_config(storage, contents, item, lease)
        if platforms and not any(config.value.platform.matches(wanted) for wanted in platforms):
            continue
        if len(item.layers) != len(config.value.diff_ids):
            raise InvalidParameter(
                f"invalid manifest, layers length mismatch: expected {len(item.layers)}, "
                f"got {len(config.value.diff_ids)}"
            )
        layers = [_layer_of(storage, contents, name) for name in item.layers]
        pointer = Descriptor(media_type=types.DOCKER_CONFIG, digest=config.digest, size=config.size)
        document = manifest.image_manifest(pointer, layers)
        lease.hold(document.digest)
        storage.content.write(document.raw)
        target = manifest.describe(document)
        one = found.setdefault(config.digest, _Found(Member(document, config, 0), parent=_parent(item)))
        one.targets.append(target)
        one.names.extend((_tagged(tag), target) for tag in item.repo_tags)
    if platforms and not found:
        raise _no_platform(platforms)
    return list(found.values())


def _parent(item: _Item) -> Digest | None:
    """The image that this one was made from, where the archive tells."""
    try:
        return digests.parse(item.parent) if item.parent else None
    except InvalidParameter:
        return None


def _items(raw: bytes) -> list[_Item]:
    try:
        decoded = msgspec.json.decode(raw)
        if decoded is None:
            raise MalformedArchive("invalid manifest, manifest cannot be null (but can be [])")
        return msgspec.convert(without_nulls(decoded), list[_Item])
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise MalformedArchive(f"invalid archive: failed to decode manifest.json: {error}") from error


def _legacy_config(storage: Storage, contents: _Contents, item: _Item, lease: Lease) -> Document[ImageConfig]:
    name = contents.resolve(item.config)
    raw = contents.small.get(name)
    if raw is None and name in contents.blobs:
        raw = storage.content.read(contents.blobs[name])
    if raw is None:
        raise MalformedArchive(f"invalid archive: {item.config} is missing")
    config = image_config.decode(raw)
    if config.value.os not in ("", "linux"):
        raise InvalidParameter(f"cannot load {config.value.os} image on linux")
    lease.hold(config.digest)
    storage.content.write(raw)
    return config


def _layer_of(storage: Storage, contents: _Contents, name: str) -> Descriptor:
    digest = contents.blobs.get(contents.resolve(name))
    if digest is None:
        raise MalformedArchive(f"invalid archive: {name} is missing")
    with storage.content.open(digest) as blob:
        compression = detect(blob.read(6))
    media_type = _LAYER_TYPES.get(compression, types.DOCKER_LAYER)
    return Descriptor(media_type=media_type, digest=digest, size=storage.content.size(digest))


def _tagged(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.tag is None:
        raise InvalidParameter(f'invalid tag "{text}"')
    return reference
