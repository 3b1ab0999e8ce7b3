"""Base images for builds: those that are here, else pulled with the credentials that came with the build."""

from collections.abc import Awaitable, Callable, Mapping

from sampan.api.descriptor import OCIPlatform
from sampan.api.images import AuthConfig, PullOptions
from sampan.api.progress import Discard
from sampan.build.buildkit.session import HUB, HUB_KEY
from sampan.engine.registry import Registries
from sampan.errors import NotFound
from sampan.oci.descriptor import Descriptor
from sampan.oci.document import Document
from sampan.oci.manifest import Index, Manifest
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.storage.images import Image
from sampan.storage.store import Storage

Credentials = Callable[[str], Awaitable[AuthConfig | None]]
"""``await credentials(domain)``: what to show the registry, None for nothing."""


async def nobody(domain: str) -> AuthConfig | None:
    """No credentials."""
    return None


class BaseImages:
    """An ``ImageSource`` upon the image store and the registries; ``push`` is the way back."""

    def __init__(self, storage: Storage, registries: Registries, credentials: Credentials = nobody) -> None:
        self._storage = storage
        self._registries = registries
        self._credentials = credentials

    def asking(self, credentials: Credentials) -> "BaseImages":
        """The same, with credentials that a build's client is asked for when they are needed."""
        return BaseImages(self._storage, self._registries, credentials)

    def using(self, auths: Mapping[str, AuthConfig]) -> "BaseImages":
        """The same, with the credentials that came with a build, by the names clients give registries."""

        async def known(domain: str) -> AuthConfig | None:
            return auths.get(HUB_KEY if domain == HUB else domain)

        return self.asking(known)

    async def image(self, name: str, platform: Platform, *, pull: bool) -> Image:
        """See ``build.request.ImageSource``."""
        if not pull:
            try:
                return self._storage.images.resolve(name, platform)
            except NotFound:
                pass  # not at all, or not of this platform: it is fetched below
        await self._fetch(Reference.parse(name).tagged(), platform)
        return self._storage.images.resolve(name, platform)

    async def _fetch(self, reference: Reference, platform: Platform) -> None:
        wanted = OCIPlatform(architecture=platform.architecture, os=platform.os, variant=platform.variant)
        auth = await self._credentials(reference.domain)
        await self._registries.pull(PullOptions(reference=str(reference), platform=wanted, auth=auth), Discard())

    async def manifest(self, reference: Reference) -> Document[Manifest] | Document[Index]:
        """See ``build.buildkit.caches.Registry``."""
        return await self._registries.manifest(reference, await self._credentials(reference.domain))

    async def fetch(self, reference: Reference, descriptor: Descriptor) -> None:
        """See ``build.buildkit.caches.Registry``."""
        await self._registries.fetch(reference, descriptor, await self._credentials(reference.domain))

    async def put(self, reference: Reference, document: Document[Manifest]) -> None:
        """See ``build.buildkit.caches.Registry``."""
        await self._registries.put(reference, document, await self._credentials(reference.domain))

    async def push(self, reference: Reference, target: Descriptor) -> None:
        """Send the image or the index ``target`` to the registry of ``reference``, under its tag or its digest."""
        await self._registries.push_target(reference, target, await self._credentials(reference.domain))
