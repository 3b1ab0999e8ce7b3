"""Images: which are here, what they are called, what belongs to them.

    reference ── image_references ──> target: a manifest or an index
    target ───── image_members ─────> images of it that are here, the one for this machine first
    image ID (digest of the config) ── images ──> manifest, parent, times

An image is *registered* when its manifest, config and layers are in the content store; whoever brings them holds a
lease until then. A name means the first member of its target, or the member of the platform asked for.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.errors import InvalidParameter, NoSuchImage, NotFound
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci import image_config, manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import ChainID, Digest
from sampan.oci.document import Document
from sampan.oci.image_config import ImageConfig
from sampan.oci.manifest import Index, Manifest
from sampan.oci.platform import Platform, host
from sampan.oci.reference import Reference
from sampan.storage.content import ContentStore
from sampan.storage.database import Database
from sampan.storage.snapshots import Snapshots
from sampan.storage.unpack import Report, check_depth, unpack_layers

_HEX = frozenset("0123456789abcdef")
_CACHED_DOCUMENTS = 512
_WORST = 1 << 16

AnyManifest = Document[Manifest] | Document[Index]


@dataclass(frozen=True)
class Image:
    """An image that is here; times in nanoseconds since 1970, ``tagged_at`` None when it was never tagged here."""

    id: Digest
    manifest: Document[Manifest]
    config: Document[ImageConfig]
    parent: Digest | None
    stored_at: int
    tagged_at: int | None

    @property
    def platform(self) -> Platform:
        return self.config.value.platform

    @property
    def chain_id(self) -> ChainID | None:
        return self.config.value.chain_id

    @property
    def descriptor(self) -> Descriptor:
        """Descriptor of the manifest, with the platform."""
        return manifest.describe(self.manifest, platform=self.platform)


class Images:
    """All images of a data root."""

    def __init__(self, database: Database, content: ContentStore, snapshots: Snapshots) -> None:
        self._database = database
        self._content = content
        self._snapshots = snapshots
        self._documents: OrderedDict[Digest, Document[Any]] = OrderedDict()

    # What is here.

    def all(self) -> list[Image]:
        """Every registered image."""
        return [
            self._image(*row)
            for row in self._database.rows("SELECT id, manifest, parent, stored_at, tagged_at FROM images")
        ]

    def get(self, id: str) -> Image:
        """The image with exactly this ID (``sha256:…``); raises NoSuchImage."""
        row = self._database.row("SELECT id, manifest, parent, stored_at, tagged_at FROM images WHERE id=?", id)
        if row is None:
            raise NoSuchImage(id)
        return self._image(*row)

    def __contains__(self, id: str) -> bool:
        return self._database.row("SELECT 1 FROM images WHERE id=?", id) is not None

    def _image(
        self, id: Digest, manifest_digest: Digest, parent: Digest | None, stored_at: int, tagged_at: int | None
    ) -> Image:
        return Image(id, self.manifest(manifest_digest), self.config(id), parent, stored_at, tagged_at)

    def config(self, digest: Digest) -> Document[ImageConfig]:
        """An image config from the content store."""
        return self._cached(digest, image_config.decode)

    def manifest(self, digest: Digest) -> Document[Manifest]:
        """A manifest from the content store."""
        return self._cached(digest, manifest.decode_manifest)

    def document(self, digest: Digest) -> AnyManifest:
        """A manifest or an index from the content store."""
        return self._cached(digest, manifest.decode)

    def _cached(self, digest: Digest, decode: Callable[[bytes], Document[Any]]) -> Document[Any]:
        found = self._documents.get(digest)
        if found is None:
            found = decode(self._content.read(digest))
            self._documents[digest] = found
            if len(self._documents) > _CACHED_DOCUMENTS:
                self._documents.popitem(last=False)
        return found

    # Registering.

    def register(
        self, target: Descriptor, parent: Digest | None = None, platforms: Sequence[Platform] = ()
    ) -> Sequence[Image]:
        """Make images of a manifest, or of those manifests of an index that are wholly here; best platform first.

        With ``platforms`` only of theirs, beside those that are images already. Raises NotFound when there is none.
        """
        known = {image.manifest.digest for image in self.members(target.digest)}
        members = [
            found for found in self.candidates(target) if found.fits(platforms) or found.manifest.digest in known
        ]
        if not members:
            raise NotFound(f"no image of {target.digest} is here")
        with self._database.transaction():
            for found in members:
                self._database.execute(
                    "INSERT INTO images (id, manifest, parent, stored_at) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (id) DO UPDATE SET parent=COALESCE(parent, excluded.parent)",
                    *(found.config.digest, found.manifest.digest, parent, time.time_ns()),
                )
            self._database.execute("DELETE FROM image_members WHERE target=?", target.digest)
            for position, found in enumerate(members):
                self._database.execute(
                    "INSERT INTO image_members (target, position, manifest, image) VALUES (?, ?, ?, ?)",
                    *(target.digest, position, found.manifest.digest, found.config.digest),
                )
        return [self.get(found.config.digest) for found in members]

    def candidates(self, target: Descriptor) -> list["Member"]:
        """What of a manifest or an index can be an image, being wholly here; best platform first."""
        document = self.document(target.digest)
        if isinstance(document.value, Index):
            listed = [entry.digest for entry in document.value.manifests if not entry.is_attestation]
        else:
            listed = [target.digest]
        members = [found for digest in listed if (found := self._member(digest)) is not None]
        return sorted(members, key=lambda found: found.rank)

    def _member(self, digest: Digest) -> "Member | None":
        """The manifest ``digest`` with its config, None when it is not an image or not wholly here."""
        if digest not in self._content:
            return None
        document = self.document(digest)
        if not isinstance(document.value, Manifest) or not document.value.is_image:
            return None
        if document.value.config.digest not in self._content:
            return None
        config = self.config(document.value.config.digest)
        if not self._has_layers(document.value, config.value):
            return None
        rank = config.value.platform.rank_on(host())
        return Member(document, config, _WORST if rank is None else rank)

    def _has_layers(self, document: Manifest, config: ImageConfig) -> bool:
        return all(layer.digest in self._content for layer in document.layers) or (
            config.chain_id is not None and config.chain_id in self._snapshots
        )

    def create(self, config: ImageConfig, layers: Iterable[Descriptor], parent: Digest | None = None) -> Image:
        """Make an image of layers that are in the content store, lowest first; writes config and manifest."""
        check_depth(config.diff_ids)
        encoded = Document.encode(config)
        self._content.write(encoded.raw, settle=False)
        pointer = Descriptor(media_type=types.OCI_CONFIG, digest=encoded.digest, size=encoded.size)
        document = manifest.image_manifest(pointer, list(layers))
        self._content.write(document.raw)
        return self.register(manifest.describe(document), parent)[0]

    def unpack(self, image: "Image | Member", report: Report | None = None) -> ChainID | None:
        """Unpack the image's layers that are not unpacked yet; returns the chain ID of all (None: no layers)."""
        return unpack_layers(self._content, self._snapshots, image.manifest, image.config, report)

    def size(self, image: Image) -> int:
        """Bytes of all layers' files; of a layer's blob while it is not unpacked."""
        return sum(self.layer_sizes(image))

    def layer_sizes(self, image: Image) -> list[int]:
        """Bytes of each layer's files, lowest first; of its blob while it is not unpacked."""
        chain_ids, blobs = image.config.value.chain_ids, image.manifest.value.layers
        unpacked = self._snapshots.sizes(chain_ids)
        return [unpacked.get(chain_id, blob.size) for chain_id, blob in zip(chain_ids, blobs, strict=False)]

    # Names.

    def tag(self, reference: Reference, target: Descriptor) -> None:
        """Let ``reference`` (with a tag or a digest) mean ``target``, whose images are registered."""
        now = time.time_ns()
        with self._database.transaction():
            self._database.execute(
                "INSERT OR REPLACE INTO image_references (reference, repository, target, media_type, size) "
                "VALUES (?, ?, ?, ?, ?)",
                *(str(reference), reference.name, target.digest, target.media_type, target.size),
            )
            self._database.execute(
                "UPDATE images SET tagged_at=? WHERE id IN (SELECT image FROM image_members WHERE target=?)",
                *(now, target.digest),
            )

    def untag(self, reference: Reference) -> bool:
        """Forget ``reference``; False when it was not there. Images stay, perhaps without a name."""
        return self._database.execute("DELETE FROM image_references WHERE reference=?", str(reference)) > 0

    def target(self, reference: Reference) -> Descriptor | None:
        """What exactly this reference means."""
        row = self._database.row(
            "SELECT media_type, target, size FROM image_references WHERE reference=?", str(reference)
        )
        return None if row is None else Descriptor(media_type=row[0], digest=row[1], size=row[2])

    def references(self, repository: str | None = None) -> list[tuple[Reference, Descriptor]]:
        """All references (of one repository, by its canonical name), sorted."""
        rows = self._database.rows(
            "SELECT reference, media_type, target, size FROM image_references "
            "WHERE repository=COALESCE(?, repository) ORDER BY reference",
            repository,
        )
        return [
            (Reference.parse(name), Descriptor(media_type=kind, digest=digest, size=size))
            for name, kind, digest, size in rows
        ]

    def references_of(self, id: Digest) -> list[Reference]:
        """References that mean this image on this machine, sorted."""
        rows = self._database.rows(
            "SELECT r.reference FROM image_references r JOIN image_members m ON m.target = r.target "
            "WHERE m.image=? AND m.position=0 ORDER BY r.reference",
            id,
        )
        return [Reference.parse(name) for (name,) in rows]

    def members(self, target: Digest) -> list[Image]:
        """The images of a manifest or index that are here, best platform first."""
        rows = self._database.rows("SELECT image FROM image_members WHERE target=? ORDER BY position", target)
        return [self.get(id) for (id,) in rows]

    def is_folded(self, id: Digest) -> bool:
        """Whether the image is here only as another platform of a named index, and not named itself."""
        row = self._database.row(
            "SELECT 1 FROM image_references r JOIN image_members m ON m.target = r.target WHERE m.image=?", id
        )
        return row is not None and not self.references_of(id)

    def resolve(self, name: str, platform: Platform | None = None) -> Image:
        """The image a user means by ``name``: a reference, an ID, or the beginning of an ID.

        Raises NoSuchImage, InvalidParameter for a malformed or ambiguous name, NotFound when it is here but not
        for ``platform``.
        """
        images = self.meant_by(name)
        if not images:
            raise NoSuchImage(_shown(name))
        if platform is None:
            return images[0]
        fitting = [image for image in images if image.platform.matches(platform)]
        if not fitting:
            shown = _shown(name)
            raise NotFound(
                f"image with reference {shown} was found but does not provide the specified platform ({platform})"
            )
        return fitting[0]

    def meant_by(self, name: str) -> list[Image]:
        """The images of all platforms that ``name`` stands for; raises InvalidParameter."""
        return self._by_full_id(name) or self._by_reference(name) or self._by_prefix(name)

    def _by_full_id(self, name: str) -> list[Image]:
        digest = name if ":" in name else f"sha256:{name}"
        algorithm, _, encoded = digest.partition(":")
        if len(encoded) != digests.HEX_LENGTH.get(algorithm) or not _HEX.issuperset(encoded):
            return []
        if digest in self:
            return [self.get(digest)]
        return self.members(Digest(digest))

    def _by_reference(self, name: str) -> list[Image]:
        try:
            reference = Reference.parse(name).tagged()
        except InvalidParameter:
            if is_id_prefix(name):
                return []
            raise
        if reference.digest is None:
            target = self.target(reference)
            return self.members(target.digest) if target else []
        return self._by_digest(reference, reference.digest)

    def _by_digest(self, reference: Reference, digest: Digest) -> list[Image]:
        """``repo@digest``: a manifest or index that the repository is known to have."""
        for _, target in self.references(reference.name):
            if target.digest == digest:
                return self.members(digest)
            for image in self.members(target.digest):
                if digest in (image.manifest.digest, image.id):
                    return [image]
        return []

    def _by_prefix(self, name: str) -> list[Image]:
        if not is_id_prefix(name):
            return []
        prefix = f"sha256:{name.removeprefix('sha256:')}"
        rows = self._database.rows("SELECT id FROM images WHERE substr(id, 1, ?)=? LIMIT 2", len(prefix), prefix)
        if len(rows) > 1:
            raise InvalidParameter(f"multiple IDs found with provided prefix: {name}")
        return [self.get(id) for (id,) in rows]

    # Removing.

    def children(self, id: Digest) -> list[Digest]:
        """IDs of images made here on top of this one."""
        return [child for (child,) in self._database.rows("SELECT id FROM images WHERE parent=?", id)]

    def forget(self, id: Digest) -> None:
        """Forget the image and every reference that means only it; the collector takes what is left."""
        with self._database.transaction():
            self._database.execute("DELETE FROM images WHERE id=?", id)
            targets = self._database.rows("SELECT target FROM image_members WHERE image=?", id)
            self._database.execute("DELETE FROM image_members WHERE image=?", id)
            for (target,) in targets:
                self._move_up(target)
            self._database.execute("UPDATE images SET parent=NULL WHERE parent=?", id)
            self._database.execute(
                "DELETE FROM image_references WHERE target NOT IN (SELECT target FROM image_members)"
            )

    def _move_up(self, target: Digest) -> None:
        """Close the gap in the target's members: the next best platform is what it means."""
        rows = self._database.rows("SELECT position FROM image_members WHERE target=? ORDER BY position", target)
        for position, (old,) in enumerate(rows):
            self._database.execute(
                "UPDATE image_members SET position=? WHERE target=? AND position=?", position, target, old
            )

    def needed_blobs(self) -> set[str]:
        """Every blob that a reference or an image leads to; of an index the images that it is known to have."""
        needed: set[str] = set()
        members: dict[str, set[str]] = {}
        for target, digest in self._database.rows("SELECT target, manifest FROM image_members"):
            members.setdefault(target, set()).add(digest)
        for (target,) in self._database.rows("SELECT DISTINCT target FROM image_references"):
            self._follow(target, needed, members)
        for (digest,) in self._database.rows("SELECT manifest FROM images"):
            self._follow(digest, needed, members)
        return needed

    def _follow(self, digest: Digest, needed: set[str], members: Mapping[str, Collection[str]]) -> None:
        """Add a manifest or index and all below it that is here, but for images that are not among its members."""
        if digest in needed or digest not in self._content:
            return
        needed.add(digest)
        value = self.document(digest).value
        if isinstance(value, Manifest):
            needed.update(entry.digest for entry in (value.config, *value.layers))
            return
        for entry in value.manifests:
            if digest not in members or entry.digest in members[digest] or not self._is_image(entry):
                self._follow(entry.digest, needed, members)

    def _is_image(self, entry: Descriptor) -> bool:
        if entry.is_attestation or entry.digest not in self._content:
            return False
        value = self.document(entry.digest).value
        return isinstance(value, Manifest) and value.is_image


@dataclass(frozen=True)
class Member:
    """An image of a target; ``rank`` says how well it runs here, 0 is best."""

    manifest: Document[Manifest]
    config: Document[ImageConfig]
    rank: int

    def fits(self, platforms: Sequence[Platform]) -> bool:
        """Whether it is of one of the platforms; none is any."""
        return not platforms or any(self.config.value.platform.matches(wanted) for wanted in platforms)


def is_id_prefix(name: str) -> bool:
    """Whether ``name`` can be the beginning of an image ID."""
    encoded = name.removeprefix("sha256:")
    return 0 < len(encoded) <= 64 and _HEX.issuperset(encoded)


def _shown(name: str) -> str:
    """``name`` as Docker repeats it: a whole ID with its algorithm, ``:latest`` where a tag goes without saying."""
    if len(name) == digests.HEX_LENGTH["sha256"] and _HEX.issuperset(name):
        return f"sha256:{name}"
    try:
        return Reference.parse(name).tagged().familiar
    except InvalidParameter:
        return name
