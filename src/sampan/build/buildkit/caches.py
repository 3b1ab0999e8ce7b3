"""``--cache-from`` and ``--cache-to`` of BuildKit's clients.

    type=registry   ref=                an image that knows its steps (inline), or a cache, in a registry
    type=local      src=, dest=         a cache in a directory of the client's
    type=inline     --cache-to only     the image itself says what its steps were

mode=min (the default) or max, mounts=true, ignore-error=true: see ``build.exported``. What cannot be imported is told
of and is no error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from sampan.build.builder import Outcome
from sampan.build.buildkit.attributes import FALSE, TRUE
from sampan.build.buildkit.content import ClientContent
from sampan.build.buildkit.session import Session
from sampan.build.buildkit.status import StatusLog
from sampan.build.cache import Entry
from sampan.build.exported import CACHE_CONFIG, assemble_cache, decode
from sampan.build.imported import Imported, add_local
from sampan.build.request import ImageSource
from sampan.build.threads import in_thread
from sampan.errors import EngineError, InvalidParameter, NotFound, Unsupported
from sampan.oci import image_config, manifest
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest, parse
from sampan.oci.document import Document
from sampan.oci.manifest import Index, Manifest
from sampan.oci.platform import host
from sampan.oci.reference import Reference
from sampan.registry.client.pull import choose
from sampan.storage.leases import Lease
from sampan.storage.store import Storage

REGISTRY, LOCAL, INLINE = "registry", "local", "inline"
INLINE_ARGUMENT = "build-arg:BUILDKIT_INLINE_CACHE"
MANIFEST_KEY = "cache.manifest"
"""Where a client looks for what it writes to the ``index.json`` of a cache in a directory."""
KNOWN: Mapping[str, frozenset[str] | None] = {
    "mode": frozenset({"min", "max"}),
    "mounts": TRUE | FALSE,
    "ignore-error": TRUE | FALSE,
    "oci-mediatypes": TRUE,
    "image-manifest": TRUE,
    "compression": frozenset({"gzip"}),
    "force-compression": FALSE,
    "registry.insecure": FALSE,
    **dict.fromkeys(("ref", "dest", "tag", "reset"), None),
}
"""Attribute of an export → the values that can be had; None for any."""


class Registry(ImageSource, Protocol):
    """Base images, and documents and blobs of registries, with one client's credentials."""

    async def manifest(self, reference: Reference) -> Document[Manifest] | Document[Index]:
        """What the registry has under the reference. Raises EngineError."""

    async def fetch(self, reference: Reference, descriptor: Descriptor) -> None:
        """Bring a blob here. Raises EngineError."""

    async def put(self, reference: Reference, document: Document[Manifest]) -> None:
        """Send a manifest and what it points to. Raises EngineError."""


@dataclass(frozen=True, slots=True)
class RemoteBlobs:
    """The blobs of a repository, as a ``BlobSource``."""

    registry: Registry
    reference: Reference

    async def fetch(self, storage: Storage, lease: Lease, descriptor: Descriptor) -> None:
        """See ``build.imported.BlobSource``."""
        lease.hold(descriptor.digest)
        if descriptor.digest not in storage.content:
            await self.registry.fetch(self.reference, descriptor)


@dataclass(frozen=True, slots=True)
class ClientBlobs:
    """The blobs of a directory of the client's, as a ``BlobSource``."""

    content: ClientContent

    async def fetch(self, storage: Storage, lease: Lease, descriptor: Descriptor) -> None:
        """See ``build.imported.BlobSource``."""
        await self.content.fetch(storage, lease, descriptor)


def check_exports(entries: Any) -> None:
    """Refuse before the build what could not be exported after it. Raises Unsupported, InvalidParameter."""
    for entry in entries:
        if entry.Type not in (REGISTRY, LOCAL, INLINE):
            raise Unsupported(f"--cache-to type={entry.Type} is not supported: registry, local and inline are")
        for name, value in entry.Attrs.items():
            accepted = KNOWN.get(name, frozenset())
            if accepted is not None and value not in accepted:
                raise Unsupported(f"--cache-to type={entry.Type}: {name}={value} is not supported")
        if entry.Type == REGISTRY:
            Reference.parse(entry.Attrs["ref"])


def is_inline(entries: Any, options: Mapping[str, str]) -> bool:
    """Whether the image shall say what its own steps were."""
    return any(entry.Type == INLINE for entry in entries) or options.get(INLINE_ARGUMENT, "") in TRUE


class Caches:
    """The caches of one client: ``registry`` has its credentials, ``session`` its directories."""

    def __init__(self, storage: Storage, registry: Registry, session: Session, log: StatusLog) -> None:
        self._storage = storage
        self._registry = registry
        self._session = session
        self._log = log

    async def load(self, entries: Any) -> Imported:
        """What the caches of ``--cache-from`` hold. Raises Unsupported for a kind that cannot be had."""
        found, seen = Imported(), set[str]()
        for entry in entries:
            if entry.Type not in (REGISTRY, LOCAL, INLINE):
                raise Unsupported(f"--cache-from type={entry.Type} is not supported: registry and local are")
            name = entry.Attrs["src"] if entry.Type == LOCAL else entry.Attrs["ref"]
            if name in seen:
                continue
            seen.add(name)
            try:
                async with self._log.vertex(f"importing cache manifest from {name}"):
                    await (self._load_local(entry, found) if entry.Type == LOCAL else self._load_remote(name, found))
            except EngineError:
                continue
        return found

    async def _load_remote(self, name: str, found: Imported) -> None:
        """A cache or an image in a registry; where there is none, an image that is here."""
        reference = Reference.parse(name).tagged()
        source = RemoteBlobs(self._registry, reference)
        try:
            document = await self._registry.manifest(reference)
            if isinstance(document.value, Index):
                entry = choose(document.value, host())
                document = await self._registry.manifest(reference.with_digest(entry.digest))
        except EngineError:
            try:
                image = self._storage.images.resolve(name)
            except NotFound:
                image = None
            if image is None:
                raise
            add_local(found, image)
            return
        await self._add(found, document, source)

    async def _load_local(self, entry: Any, found: Imported) -> None:
        content = self._session.content(f"local:{entry.Attrs['src']}")
        document = manifest.decode(await content.read(parse(entry.Attrs.get("digest", ""))))
        await self._add(found, document, ClientBlobs(content))

    async def _add(
        self, found: Imported, document: Document[Manifest] | Document[Index], source: RemoteBlobs | ClientBlobs
    ) -> None:
        if isinstance(document.value, Index):
            raise InvalidParameter("the build cache is an index: only caches in a manifest can be imported")
        config, layers = document.value.config, document.value.layers
        with self._storage.leases.take() as lease:
            await source.fetch(self._storage, lease, config)
            raw = await in_thread(self._storage.content.read, Digest(config.digest))
        if config.media_type == CACHE_CONFIG:
            found.add_cache(decode(raw), layers, source)
        else:
            found.add_image(image_config.decode(raw).value, layers, source)

    async def export(self, entries: Any, outcomes: tuple[Outcome, ...]) -> dict[str, str]:
        """Send caches where ``--cache-to`` wants them; returns what the client is told. Raises EngineError.

        What a client is told of a cache it writes to its directories, so those come last.
        """
        answer: dict[str, str] = {}
        for number, entry in enumerate(sorted(entries, key=lambda entry: bool(entry.Type == LOCAL))):
            if entry.Type == INLINE:
                continue
            try:
                name = "exporting cache to " + ("registry" if entry.Type == REGISTRY else "client directory")
                shown = self._log.vertex(name, id=f"cache exporter {number}")
                async with shown as activity, activity.task("preparing build cache for export"):
                    answer |= await self._send(entry, outcomes)
            except EngineError:
                if entry.Attrs.get("ignore-error", "") not in TRUE:
                    raise
        return answer

    async def _send(self, entry: Any, outcomes: tuple[Outcome, ...]) -> dict[str, str]:
        with self._storage.leases.take() as lease:
            steps = _steps(outcomes, everything=entry.Attrs.get("mode") == "max")
            with_mounts = entry.Attrs.get("mounts", "") in TRUE
            mounts = {id: path for one in outcomes for id, path in one.mounts.items() if with_mounts and path.is_dir()}
            document = await in_thread(assemble_cache, self._storage, lease, steps, mounts)
            if entry.Type == REGISTRY:
                await self._registry.put(Reference.parse(entry.Attrs["ref"]).tagged(), document)
            else:
                content = self._session.content(f"local:{entry.Attrs['dest']}")
                await content.send(self._storage, document)
        return {MANIFEST_KEY: msgspec.json.encode(manifest.describe(document)).decode()}


def _steps(outcomes: tuple[Outcome, ...], *, everything: bool) -> dict[str, Entry]:
    return {
        key: entry for outcome in outcomes for key, entry in outcome.used.items() if everything or key in outcome.own
    }
