"""``docker rmi`` and ``image prune``: what may be removed, and what goes with it.

    hard conflicts   child images, running containers                        nothing helps
    soft conflicts   references in several repositories, stopped containers  ``force`` helps

A name is untagged; an image goes when its last name does, or when it is named by ID. Untagged parents made here go
along. The sentences are Docker's (moby daemon/images/image_delete.go).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sampan.api.images import ImageDeleteItem
from sampan.engine.image_users import ImageUser
from sampan.engine.image_views import created_at
from sampan.errors import Conflict
from sampan.oci import digest as digests
from sampan.oci.digest import Digest
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.storage.images import Image
from sampan.storage.store import Storage

_SHOWN = 12


class ImageConflict(Conflict):
    """Why an image cannot be deleted; ``used`` when a container uses it."""

    def __init__(self, id: Digest, reason: str, *, hard: bool, used: bool) -> None:
        forced = "cannot be forced" if hard else "must be forced"
        super().__init__(f"conflict: unable to delete {digests.short(id)} ({forced}) - {reason}")
        self.used = used


@dataclass
class Removal:
    """One request's removals: ``items`` for the answer, ``events`` (action, image, attributes) to announce."""

    storage: Storage
    users: Sequence[ImageUser]
    items: list[ImageDeleteItem] = field(default_factory=list)
    events: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def remove_platforms(self, name: str, platforms: Sequence[Platform]) -> None:
        """Delete the images of these platforms; the name stays while another platform is left. NotFound, Conflict."""
        images = {image.id: image for image in (self.storage.images.resolve(name, one) for one in platforms)}
        for id in images:
            if conflict := self._conflict(id, soft=False, tags=False):
                raise conflict
        for image in images.values():
            self._forget(image, image.manifest.digest)

    def remove(self, name: str, *, force: bool, prune: bool) -> None:
        """Do what ``docker rmi name`` does. NoSuchImage, Conflict."""
        image = self.storage.images.resolve(name)
        references = self.storage.images.references_of(image.id)
        if is_id_of(name, image.id):
            self._untag_by_id(image, references, force)
            quiet = False
        else:
            if not self._untag_by_name(image, references, name, force):
                return
            quiet = True
        self._delete(image.id, force=force, prune=prune, quiet=quiet)

    def _untag_by_id(self, image: Image, references: Sequence[Reference], force: bool) -> None:
        if is_single(references):
            if conflict := self._conflict(image.id, soft=not force, tags=False):
                raise conflict
            for reference in references:
                self._untag(image, reference)

    def _untag_by_name(self, image: Image, references: Sequence[Reference], name: str, force: bool) -> bool:
        """Forget the name; True when that was the last one."""
        user = next((user for user in self.users if user.image_id == image.id), None)
        if user is not None and not force and is_single(references):
            raise Conflict(
                f'conflict: unable to remove repository reference "{name}" (must force) - container '
                f"{user.container_id[:_SHOWN]} is using its referenced image {digests.short(image.id)}"
            )
        removed = Reference.parse(name).tagged()
        self._untag(image, removed)
        rest = self.storage.images.references_of(image.id)
        same = [reference for reference in rest if reference.name == removed.name]
        if removed.digest is None and not any(reference.tag for reference in same):
            for reference in same:
                self.storage.images.untag(reference)
                self.items.append(ImageDeleteItem(untagged=reference.familiar))
        return not self.storage.images.references_of(image.id)

    def _untag(self, image: Image, reference: Reference) -> None:
        self.storage.images.untag(reference)
        self.items.append(ImageDeleteItem(untagged=reference.familiar))
        self.events.append(("untag", image.id, {**(image.config.value.config.labels or {}), "name": image.id}))

    def _delete(self, id: Digest, *, force: bool, prune: bool, quiet: bool) -> None:
        """Delete an image, then its parent if nothing else needs it. ``quiet`` lets a user's image live on."""
        if conflict := self._conflict(id, soft=not force, tags=True):
            if quiet and (not self._is_dangling(id) or conflict.used):
                return
            raise conflict
        image = self.storage.images.get(id)
        for reference in self.storage.images.references_of(id):
            self._untag(image, reference)
        self._forget(image, id)
        if prune and image.parent is not None and image.parent in self.storage.images:
            self._delete(image.parent, force=False, prune=True, quiet=True)

    def _forget(self, image: Image, told: Digest) -> None:
        self.storage.images.forget(image.id)
        self.items.append(ImageDeleteItem(deleted=told))
        self.events.append(("delete", image.id, {"name": image.id}))

    def _is_dangling(self, id: Digest) -> bool:
        return not self.storage.images.references_of(id) and not self.storage.images.children(id)

    def _conflict(self, id: Digest, *, soft: bool, tags: bool) -> ImageConflict | None:
        """The first thing that speaks against deleting; ``tags`` also counts references."""
        if self.storage.images.children(id):
            return ImageConflict(id, "image has dependent child images", hard=True, used=False)
        if user := self._user(id, running=True):
            reason = f"image is being used by running container {user.container_id[:_SHOWN]}"
            return ImageConflict(id, reason, hard=True, used=True)
        if soft and tags and self.storage.images.references_of(id):
            return ImageConflict(id, "image is referenced in multiple repositories", hard=False, used=False)
        if soft and (user := self._user(id, running=False)):
            reason = f"image is being used by stopped container {user.container_id[:_SHOWN]}"
            return ImageConflict(id, reason, hard=False, used=True)
        return None

    def _user(self, id: Digest, *, running: bool) -> ImageUser | None:
        fitting = (user for user in self.users if user.image_id == id and user.running == running)
        return next(fitting, None)

    def prune(self, images: Iterable[Image], *, dangling_only: bool) -> None:
        """Remove each image that is not used; conflicts leave it where it is.

        The name a container was created by stays, so that of two names the one that is written somewhere is kept.
        """
        kept = {user.reference for user in self.users}
        for image in images:
            if image.id not in self.storage.images:
                continue  # went with one of its children
            references = self.storage.images.references_of(image.id)
            if dangling_only and any(reference.tag for reference in references):
                continue
            spare = [reference.familiar for reference in by_tag(references) if reference not in kept]
            for name in spare if references else [image.id]:
                self._try(name)

    def _try(self, name: str) -> None:
        try:
            self.remove(name, force=False, prune=True)
        except Conflict:
            return

    def sweep(self) -> int:
        """Give back the disk space; the layers that go are part of the answer. Returns bytes."""
        collected = self.storage.collect()
        if self.items:
            self.items.extend(ImageDeleteItem(deleted=chain_id) for chain_id in collected.layers)
        return collected.layers_size + collected.blobs_size


def is_id_of(name: str, id: Digest) -> bool:
    """Whether ``name`` is the image's ID or the beginning of it."""
    return id.startswith(name) or digests.encoded(id).startswith(name)


def is_single(references: Sequence[Reference]) -> bool:
    """Whether all references are of one repository, with one tag at most; False for none."""
    tagged = [reference for reference in references if reference.digest is None]
    if not references or len(tagged) > 1:
        return False
    return len({reference.name for reference in references}) == 1


def by_tag(references: Sequence[Reference]) -> list[Reference]:
    """Without the digests of repositories that have a tag: these go with the last tag."""
    tagged = {reference.name for reference in references if reference.tag}
    return [reference for reference in references if reference.tag or reference.name not in tagged]


def prune_candidates(storage: Storage, created_before: int | None) -> list[Image]:
    """Images that prune looks at: no intermediate ones, none too young. ``created_before`` in nanoseconds."""
    found = []
    for image in storage.images.all():
        if storage.images.is_folded(image.id):
            continue  # goes with the name of its index
        if not storage.images.references_of(image.id) and storage.images.children(image.id):
            continue
        if created_before is None or created_at(image.config.value.created) <= created_before:
            found.append(image)
    return found
