"""Images travel: pull, push, search, login and distribution inspect, as the Engine API knows them.

Each method is one operation of the API, with the signature of ``server.contract``. The work is done in
``registry.client``; here the user's words become values, and the outcome is announced.
"""

from collections.abc import Sequence

from sampan.api.descriptor import DistributionInspect, OCIDescriptor, OCIPlatform
from sampan.api.filters import Filters
from sampan.api.images import AuthConfig, AuthResponse, ImageSearchResult, PullOptions, PushOptions
from sampan.api.progress import Progress, status
from sampan.config import Config
from sampan.engine.events import Events
from sampan.errors import InvalidParameter, NotFound
from sampan.oci import image_config, manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.document import Document
from sampan.oci.manifest import Index, Manifest
from sampan.oci.platform import Platform
from sampan.oci.reference import DEFAULT_TAG, Reference
from sampan.registry.client import search as questions
from sampan.registry.client.download import Downloads
from sampan.registry.client.failures import RegistryFailure, general_failure, pull_failure
from sampan.registry.client.hosts import Hosts
from sampan.registry.client.pull import Puller
from sampan.registry.client.push import Pusher
from sampan.registry.client.remote import Remote
from sampan.registry.client.transport import Transport
from sampan.storage.images import Image
from sampan.storage.store import Storage

SEARCH_FILTERS = ("is-official", "is-automated", "stars")


class Registries:
    """The engine's door to registries; ``close`` it."""

    def __init__(self, config: Config, storage: Storage, events: Events) -> None:
        self._storage = storage
        self._events = events
        self._transport = Transport(config)
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Take over mirrors, trust and limits; what is under way ends under those it began with."""
        self._hosts = Hosts(config)
        slots, attempts = config.max_concurrent_downloads, config.max_download_attempts
        self._downloads = Downloads(self._storage.content, slots, attempts)
        self._puller = Puller(self._storage, self._downloads)
        self._pusher = Pusher(self._storage, config.max_concurrent_uploads)

    def _remote(self, reference: Reference, auth: AuthConfig | None) -> Remote:
        return Remote(self._transport, self._hosts.of(reference.domain), reference, auth)

    async def pull(self, options: PullOptions, progress: Progress) -> Sequence[Image]:
        """Bring the image (or every tag of the repository) here; returns what was pulled.

        Raises NotFound, Unauthorized, InvalidParameter, DataLoss, Unavailable with the sentences docker users know.
        """
        reference = Reference.parse(options.reference)
        remote = self._remote(reference, options.auth)
        platform = _platform(options.platform)
        wanted = await self._wanted(remote, reference, all_tags=options.all_tags)
        pulled = []
        for one in wanted:
            pulled.append(await self._puller.pull(remote, one, platform, progress))
            self._announce("pull", one.familiar, one.familiar_name, pulled[-1].image)
        outcome = "Downloaded newer image" if any(one.newer for one in pulled) else "Image is up to date"
        name = reference.familiar if options.all_tags else wanted[0].familiar
        await progress.send(status(f"Status: {outcome} for {name}"))
        return [one.image for one in pulled]

    async def _wanted(self, remote: Remote, reference: Reference, *, all_tags: bool) -> list[Reference]:
        """The references a pull is about."""
        if not all_tags:
            # A tag beside a digest says nothing: the digest alone decides.
            return [reference.with_digest(reference.digest) if reference.digest else reference.tagged()]
        if not reference.is_name_only:
            raise InvalidParameter("tag can't be used with --all-tags/-a")
        try:
            return [reference.with_tag(tag) for tag in await remote.tags()]
        except RegistryFailure as failure:
            if failure.status == 404:
                raise NotFound(f"repository {reference.familiar_name} not found: {failure}") from failure
            raise pull_failure(failure, reference) from failure

    async def push(self, options: PushOptions, progress: Progress) -> None:
        """Send a tag, or every local tag of the repository; ends with an ``aux`` PushResult for each."""
        name = Reference.parse(options.name)
        if name.digest is not None:
            raise InvalidParameter("cannot push a digest reference")
        tag = options.tag or name.tag
        if tag or not options.all_tags:
            wanted = [name.with_tag(tag or DEFAULT_TAG)]
        else:
            wanted = [reference for reference, _ in self._storage.images.references(name.name) if reference.tag]
        remote = self._remote(name, options.auth)
        await progress.send(status(f"The push refers to repository [{name.name}]"))
        if not wanted:
            raise NotFound(f"An image does not exist locally with the tag: {name.familiar_name}")
        for reference in wanted:
            await self._pusher.push(remote, reference, _platform(options.platform), progress)
            named = self._storage.images.target(reference)
            members = self._storage.images.members(named.digest) if named else []
            self._announce("push", reference.familiar, reference.familiar_name, members[0] if members else None)

    async def push_target(self, reference: Reference, target: Descriptor, auth: AuthConfig | None) -> None:
        """Send ``target`` under the tag of ``reference``, or under its digest where that has none. As ``push``."""
        await self._pusher.push_target(self._remote(reference, auth), reference, target)
        self._announce("push", reference.familiar, reference.familiar_name, None)

    async def manifest(self, reference: Reference, auth: AuthConfig | None) -> Document[Manifest] | Document[Index]:
        """What the registry has under ``reference``; nothing is kept. Raises as ``pull``."""
        remote = self._remote(reference, auth)
        try:
            fetched = await remote.manifest(reference.digest or reference.tag or DEFAULT_TAG)
        except RegistryFailure as failure:
            raise pull_failure(failure, reference) from failure
        return manifest.decode(fetched.raw, fetched.media_type)

    async def fetch(self, reference: Reference, descriptor: Descriptor, auth: AuthConfig | None) -> None:
        """Bring one blob of the repository here. Raises as ``pull``."""
        try:
            async with self._downloads.join(self._remote(reference, auth), descriptor) as download:
                await download.wait()
        except RegistryFailure as failure:
            raise pull_failure(failure, reference) from failure

    async def put(self, reference: Reference, document: Document[Manifest], auth: AuthConfig | None) -> None:
        """Send a manifest, with what it points to, under the tag of ``reference``. Raises as ``push``."""
        await self._pusher.send(self._remote(reference, auth), reference, document)

    def _announce(self, action: str, id: str, name: str, image: Image | None) -> None:
        labels = (image.config.value.config.labels or {}) if image else {}
        self._events.publish("image", action, id, {**labels, "name": name})

    async def search(
        self, term: str, *, limit: int, filters: Filters, auth: AuthConfig | None
    ) -> Sequence[ImageSearchResult]:
        """Repositories whose name matches, by the registry's search; a ``limit`` of 0 is 25."""
        filters.validate(SEARCH_FILTERS)
        stars = _stars(filters)
        official = filters.flag("is-official") if "is-official" in filters else None
        automated = filters.flag("is-automated") if "is-automated" in filters else None
        found = await questions.search(self._transport, self._hosts, term, limit or 25, auth)
        return [
            one
            for one in found
            if one.star_count >= stars and official in (None, one.is_official) and automated in (None, one.is_automated)
        ]

    async def authenticate(self, auth: AuthConfig) -> AuthResponse:
        """Check credentials against their ``serveraddress``; raises Unauthorized."""
        token = await questions.login(self._transport, self._hosts, auth)
        return AuthResponse(status="Login Succeeded", identity_token=token)

    async def distribution(self, name: str, auth: AuthConfig | None) -> DistributionInspect:
        """What the registry has under ``name``: descriptor and platforms, nothing is pulled."""
        reference = Reference.parse(name).tagged()
        remote = self._remote(reference, auth)
        try:
            fetched = await remote.manifest(reference.digest or reference.tag or DEFAULT_TAG)
            document = manifest.decode(fetched.raw, fetched.media_type)
            platforms = await self._platforms(remote, document.value)
        except RegistryFailure as failure:
            raise general_failure(failure) from failure
        kind = manifest.media_type(fetched.raw)
        descriptor = OCIDescriptor(media_type=kind, digest=fetched.digest, size=len(fetched.raw))
        return DistributionInspect(descriptor=descriptor, platforms=[_shown(one) for one in platforms])

    async def _platforms(self, remote: Remote, value: Manifest | Index) -> list[Platform]:
        if isinstance(value, Index):
            return [entry.platform for entry in value.manifests if entry.platform]
        if not value.is_image:
            return []
        raw = bytearray()
        async with remote.blob(value.config) as pieces:
            async for piece in pieces:
                raw += piece
                if len(raw) > value.config.size:
                    break
        return [image_config.decode(bytes(raw)).value.platform]

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()


def _stars(filters: Filters) -> int:
    values = filters.get("stars")
    for value in values:
        if not value.lstrip("+-").isdecimal():
            wrong = f'strconv.Atoi: parsing "{value}": invalid syntax'
            raise InvalidParameter(f"invalid filter 'stars={value}': {wrong}")
    return max(map(int, values), default=0)


def _platform(platform: OCIPlatform | None) -> Platform | None:
    """A platform of a request."""
    if platform is None:
        return None
    return Platform(
        platform.architecture, platform.os, platform.os_version, tuple(platform.os_features), platform.variant
    ).normalised()


def _shown(platform: Platform) -> OCIPlatform:
    return OCIPlatform(
        architecture=platform.architecture,
        os=platform.os,
        os_version=platform.os_version,
        os_features=list(platform.os_features),
        variant=platform.variant,
    )
