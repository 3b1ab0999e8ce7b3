"""Base images for builds: those that are here, else pulled with the credentials that came with the build."""

from collections.abc import Mapping

from sampan.api.descriptor import OCIPlatform
from sampan.api.images import AuthConfig, PullOptions
from sampan.api.progress import Discard
from sampan.engine.registry import Registries
from sampan.errors import NoSuchImage
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.storage.images import Image
from sampan.storage.store import Storage

HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
"""Where clients keep the credentials of Docker's own registry."""


class BaseImages:
    """An ``ImageSource`` upon the image store and the registries."""

    def __init__(self, storage: Storage, registries: Registries, auths: Mapping[str, AuthConfig] | None = None) -> None:
        self._storage = storage
        self._registries = registries
        self._auths = auths or {}

    def using(self, auths: Mapping[str, AuthConfig]) -> "BaseImages":
        """The same, with one build's credentials."""
        return BaseImages(self._storage, self._registries, auths)

    async def image(self, name: str, platform: Platform, *, pull: bool) -> Image:
        """See ``build.request.ImageSource``."""
        if not pull:
            try:
                return self._storage.images.resolve(name, platform)
            except NoSuchImage:
                pass  # it is fetched below
        await self._fetch(Reference.parse(name).tagged(), platform)
        return self._storage.images.resolve(name, platform)

    async def _fetch(self, reference: Reference, platform: Platform) -> None:
        wanted = OCIPlatform(architecture=platform.architecture, os=platform.os, variant=platform.variant)
        key = HUB_KEY if reference.domain == HUB else reference.domain
        auth = self._auths.get(key)
        await self._registries.pull(PullOptions(reference=str(reference), platform=wanted, auth=auth), Discard())
