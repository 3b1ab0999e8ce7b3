"""The image service: the image operations of the API; those with a registry at the other end are ``engine.registry``'s.

A method checks, acts in a worker thread where it touches the disk, and announces. The rules stand beside:

    image_list, image_views   what is shown        image_removal   what may be removed
    image_archives            load, save, import   image_making    import, commit
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from sampan.api.containers import ContainerConfig
from sampan.api.descriptor import AttestationStatement, DistributionInspect, OCIPlatform
from sampan.api.filters import Filters
from sampan.api.images import (
    AuthConfig,
    CommitOptions,
    ImageDeleteItem,
    ImageHistoryItem,
    ImageInspect,
    ImageListOptions,
    ImageRemoveOptions,
    ImageSearchResult,
    ImagesPruneReport,
    ImageSummary,
    ImportOptions,
    PullOptions,
    PushOptions,
)
from sampan.api.progress import Progress, status
from sampan.api.system import ImagesUsage
from sampan.api.times import parse_moment
from sampan.engine import image_archives, image_attestations, image_views
from sampan.engine.blocking import apart
from sampan.engine.events import Events
from sampan.engine.image_list import list_images
from sampan.engine.image_making import Commit, commit_image, committed_config
from sampan.engine.image_removal import Removal, prune_candidates
from sampan.engine.image_users import CommitSource, Containers
from sampan.engine.registry import Registries
from sampan.errors import Conflict, InvalidParameter, NotFound
from sampan.oci.descriptor import Descriptor
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference, new_name
from sampan.storage.images import Image
from sampan.storage.store import Storage

PRUNE_FILTERS = ("dangling", "label", "label!", "until")


class Images:
    """Images of one engine."""

    def __init__(self, storage: Storage, events: Events, containers: Containers, registries: Registries) -> None:
        self._storage = storage
        self._registries = registries
        self._events = events
        self._containers = containers
        self._removing = asyncio.Lock()
        self._pruning = False

    async def list(self, options: ImageListOptions) -> Sequence[ImageSummary]:
        """Newest first; ``shared_size`` and ``container_count`` fill in what is otherwise -1."""
        users = tuple(self._containers.image_users())
        return await asyncio.to_thread(list_images, self._storage, options, users)

    async def inspect(self, name: str, *, manifests: bool = False, platform: OCIPlatform | None = None) -> ImageInspect:
        """Everything about an image."""
        image = self._storage.images.resolve(name, platform_of(platform))
        shown = image_views.inspection(self._storage, image)
        if manifests:
            references = self._storage.images.references_of(image.id)
            users = tuple(self._containers.image_users())
            shown.manifests = image_views.manifests(self._storage, image, references, users)
        return shown

    async def history(self, name: str, *, platform: OCIPlatform | None = None) -> Sequence[ImageHistoryItem]:
        """Steps, newest first."""
        return image_views.history(self._storage, self._storage.images.resolve(name, platform_of(platform)))

    async def tag(self, name: str, repository: str, tag: str) -> None:
        """A further reference; ``tag`` empty is ``latest``."""
        try:
            image = self._storage.images.resolve(name)
        except InvalidParameter as error:
            raise NotFound(error.message) from error  # a name that none can have is one that none has
        reference = new_name(repository, tag)
        if reference is None:
            raise InvalidParameter("invalid reference format")
        if reference.familiar_name == "sha256":
            raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")
        self._tag(image, reference, name)

    def _tag(self, image: Image, reference: Reference, source: str = "") -> None:
        """Name the image, or all of the index that ``source`` names."""
        self._storage.images.tag(reference, self._target(image, source))
        self._announce("tag", image, reference.familiar)

    def _target(self, image: Image, source: str) -> Descriptor:
        try:
            named = self._storage.images.target(Reference.parse(source).tagged()) if source else None
        except InvalidParameter:
            named = None  # an ID
        return named or image.descriptor

    def _announce(self, action: str, image: Image, name: str) -> None:
        attributes = {**(image.config.value.config.labels or {}), "name": name}
        self._events.publish("image", action, image.id, attributes)

    async def remove(self, name: str, options: ImageRemoveOptions) -> Sequence[ImageDeleteItem]:
        """Untag, and delete what no reference is left of; or some platforms only. Conflict for images in use."""
        if options.platforms and not options.force:
            raise InvalidParameter(
                "Content will be removed from all images referencing this variant. Use --force to force delete."
            )
        async with self._removing:
            removal = self._removal()
            try:
                if options.platforms:
                    removal.remove_platforms(name, [_platform(platform) for platform in options.platforms])
                else:
                    removal.remove(name, force=options.force, prune=not options.no_prune)
            finally:
                self._announce_removal(removal)
                if removal.items:
                    await apart(removal.sweep)
        return removal.items

    def _removal(self) -> Removal:
        return Removal(self._storage, tuple(self._containers.image_users()))

    def _announce_removal(self, removal: Removal) -> None:
        for action, id, attributes in removal.events:
            self._events.publish("image", action, id, attributes)

    async def prune(self, filters: Filters) -> ImagesPruneReport:
        """Remove dangling images, or with ``dangling=false`` all unused ones; and what broken pulls have left."""
        filters.validate(PRUNE_FILTERS)
        dangling_only, until = filters.flag("dangling", default=True), _until(filters)
        if self._pruning:
            raise Conflict("a prune operation is already running")
        self._pruning = True
        try:
            async with self._removing:
                removal = self._removal()
                candidates = [
                    image
                    for image in prune_candidates(self._storage, until)
                    if filters.labels_and_none_of(image.config.value.config.labels)
                ]
                removal.prune(candidates, dangling_only=dangling_only)
                reclaimed = await apart(removal.sweep)
                reclaimed += await apart(self._storage.content.drop_ingests, time.time())
                self._announce_removal(removal)
        finally:
            self._pruning = False
        self._events.publish("image", "prune", "", {"reclaimed": str(reclaimed)})
        return ImagesPruneReport(images_deleted=removal.items or None, space_reclaimed=reclaimed)

    async def load(
        self, body: AsyncIterator[bytes], progress: Progress, *, quiet: bool, platforms: Sequence[OCIPlatform] = ()
    ) -> None:
        """Add the images of a docker-archive or OCI layout; one ``stream`` line for each (``Loaded image: …``)."""
        wanted = [_platform(platform) for platform in platforms]
        for one in await image_archives.load_images(self._storage, body, progress, quiet=quiet, platforms=wanted):
            self._announce("load", one.image, one.image.id)

    async def save(self, names: Sequence[str], *, platforms: Sequence[OCIPlatform] = ()) -> AsyncIterator[bytes]:
        """The images as one tar stream."""
        stream, images = await image_archives.save_images(
            self._storage, names, [_platform(platform) for platform in platforms]
        )
        for image in images:
            self._announce("save", image, image.id)
        return stream

    async def import_(self, options: ImportOptions, body: AsyncIterator[bytes], progress: Progress) -> None:
        """Make an image of a root file system; ends with a status that is the new image's identifier."""
        reference = new_name(options.repository, options.tag)
        image = await image_archives.import_archive(
            self._storage, options, platform_of(options.platform), body, progress
        )
        if reference is not None:
            self._tag(image, reference)
        self._announce("import", image, image.id)
        await progress.send(status(image.id))

    async def commit(self, options: CommitOptions, config: ContainerConfig | None) -> str:
        """Make an image of a container; ``config`` overrides the container's. Returns the image's identifier."""
        reference = new_name(options.repository, options.tag)
        async with self._containers.commit_source(options.container, pause=options.pause) as source:
            commit = Commit(
                key=source.key,
                base=self._storage.images.get(source.image_id) if source.image_id else None,
                config=committed_config(source.config, config, options.changes),
                container_id=source.container_id,
                author=options.author,
                comment=options.comment,
                created_by=" ".join(source.config.cmd or ()),
            )
            image = await apart(commit_image, self._storage, commit)
            self._committed(source, image, reference, options.comment)
        return image.id

    def _committed(self, source: CommitSource, image: Image, reference: Reference | None, comment: str) -> None:
        """Name the image and tell of it, before the container goes on."""
        self._announce("create", image, image.id)
        if reference is not None:
            self._tag(image, reference)
        named = {"comment": comment, "imageID": image.id, "imageRef": reference.familiar if reference else ""}
        self._events.publish("container", "commit", source.container_id, {**source.attributes, **named})

    async def pull(self, options: PullOptions, progress: Progress) -> None:
        """Fetch from a registry."""
        await self._registries.pull(options, progress)

    async def push(self, options: PushOptions, progress: Progress) -> None:
        """Send to a registry; ends with an ``aux`` PushResult for each tag."""
        await self._registries.push(options, progress)

    async def search(
        self, term: str, *, limit: int, filters: Filters, auth: AuthConfig | None
    ) -> Sequence[ImageSearchResult]:
        """Ask the registry named in ``term`` (none: the default) for repositories."""
        return await self._registries.search(term, limit=limit, filters=filters, auth=auth)

    async def distribution(self, name: str, auth: AuthConfig | None) -> DistributionInspect:
        """What the registry has under ``name``, without pulling it."""
        return await self._registries.distribution(name, auth)

    async def attestations(
        self, name: str, *, platforms: Sequence[OCIPlatform], types: Sequence[str], statement: bool
    ) -> Sequence[AttestationStatement]:
        """In-toto statements stored with the image."""
        if len(platforms) > 1:
            raise InvalidParameter("only one platform value is currently supported")
        image = self._storage.images.resolve(name, platform_of(platforms[0]) if platforms else None)
        return await asyncio.to_thread(image_attestations.statements, self._storage, image, types, with_body=statement)

    async def usage(self) -> ImagesUsage:
        """The images' part of ``docker system df``; layers that images share count once."""
        items = list(await self.list(ImageListOptions(all=True, shared_size=True, container_count=True)))
        total = sum(layer.size for layer in self._storage.snapshots.layers())
        used = sum(item.size - max(0, item.shared_size) for item in items if item.containers > 0)
        return ImagesUsage(
            active_count=sum(item.containers > 0 for item in items),
            items=items,
            reclaimable=max(0, total - used),
            total_count=len(items),
            total_size=total,
        )


def platform_of(platform: OCIPlatform | None) -> Platform | None:
    """A platform of a request."""
    return None if platform is None else _platform(platform)


def _platform(platform: OCIPlatform) -> Platform:
    return Platform(
        platform.architecture,
        platform.os,
        platform.os_version,
        tuple(platform.os_features),
        platform.variant,
    ).normalised()


def _until(filters: Filters) -> int | None:
    values = filters.get("until")
    if len(values) > 1:
        raise InvalidParameter("more than one until filter specified")
    try:
        return parse_moment(values[0], time.time_ns()) if values else None
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid value for 'until' filter: {error}") from error
