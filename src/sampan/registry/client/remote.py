"""One repository of a registry, as its HTTP API shows it: manifests, blobs, tags, uploads.

Reading asks the hosts in turn (mirrors first) and takes the first that has it; writing goes to the registry itself.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit

import aiohttp
import msgspec

from sampan.api.images import AuthConfig
from sampan.errors import DataLoss, EngineError, Unreachable
from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import Digest
from sampan.oci.document import SIZE_LIMIT
from sampan.oci.reference import Reference
from sampan.registry.client.failures import RegistryFailure
from sampan.registry.client.hosts import Host
from sampan.registry.client.transport import Ask, Body, Transport, repository_scope
from sampan.registry.protocol import CONTENT_DIGEST, Scope, next_page

ACCEPTED = ", ".join((types.OCI_INDEX, types.DOCKER_INDEX, types.OCI_MANIFEST, types.DOCKER_MANIFEST, "*/*;q=0.1"))
_TAGS_LIMIT = 100_000
_PAGES_LIMIT = 10_000


@dataclass(frozen=True)
class Fetched:
    """A manifest's bytes, as served, with what they were served as."""

    raw: bytes
    media_type: str
    digest: Digest

    @property
    def descriptor(self) -> Descriptor:
        """A descriptor of it."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.raw))


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class Remote:
    """The repository ``reference`` names (not its tag or digest) on ``hosts``, the registry itself last."""

    def __init__(
        self, transport: Transport, hosts: Sequence[Host], reference: Reference, auth: AuthConfig | None
    ) -> None:
        self._transport = transport
        self.reference = reference
        self.auth = auth or AuthConfig()
        self.hosts = hosts

    # Reading.

    @contextlib.asynccontextmanager
    async def _read(
        self, capability: str, method: str, path: str, headers: tuple[tuple[str, str], ...], good: frozenset[int]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response of the first host that has it; a mirror's failures only make it be passed over."""
        async with contextlib.AsyncExitStack() as stack:
            for host in [one for one in self.hosts if capability in one.capabilities]:
                name = host.repository(self.reference.path)
                ask = Ask(method, f"/{name}{path}", repository_scope(name, "pull"), headers, expected=good)
                auth = self.auth if not host.mirror else AuthConfig()
                try:
                    response = await stack.enter_async_context(self._transport.request(host, auth, ask))
                    break
                except EngineError:
                    if not host.mirror:
                        raise
            else:
                raise EngineError(f"no host of {self.reference.domain} is configured to {capability}")
            yield response

    async def manifest(self, reference: str) -> Fetched:
        """The manifest by tag or digest, verified; raises RegistryFailure, DataLoss, Unreachable."""
        headers = (("Accept", ACCEPTED),)
        path = f"/manifests/{reference}"
        try:
            async with self._read("resolve", "GET", path, headers, frozenset({200})) as response:
                raw = await _bounded(response)
        except aiohttp.ClientError as error:
            raise Unreachable(f"the registry broke off while sending {reference}: {error}") from error
        expected = reference if ":" in reference else response.headers.get(CONTENT_DIGEST, "")
        algorithm = digests.algorithm(digests.parse(expected)) if expected else "sha256"
        digest = digests.of(raw, algorithm)
        if expected and digest != expected:
            raise DataLoss(f"manifest verification failed for digest {expected}: the registry sent {digest}")
        return Fetched(raw, response.content_type, digest)

    async def head(self, reference: str) -> Descriptor | None:
        """What the tag means now, without its bytes; None when the registry does not say."""
        headers = (("Accept", ACCEPTED),)
        path = f"/manifests/{reference}"
        async with self._read("resolve", "HEAD", path, headers, frozenset({200})) as response:
            digest, size = response.headers.get(CONTENT_DIGEST), response.headers.get("Content-Length")
            if not digest or not size:
                return None
            return Descriptor(media_type=response.content_type, digest=digests.parse(digest), size=int(size))

    async def blob_size(self, digest: Digest) -> int:
        """Bytes of a blob; raises RegistryFailure, also when the registry does not say."""
        async with self._read("pull", "HEAD", f"/blobs/{digest}", (), frozenset({200})) as response:
            size = response.headers.get("Content-Length", "")
            if not size.isdigit():
                raise RegistryFailure(response.status, [], str(response.url))
            return int(size)

    @contextlib.asynccontextmanager
    async def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """The blob's bytes from ``offset``; from its URLs when the registry does not keep it."""
        headers = (("Range", f"bytes={offset}-"),) if offset else ()
        good = frozenset({200, 206})
        if descriptor.media_type in types.NONDISTRIBUTABLE_TYPES and descriptor.urls:
            ask = Ask("GET", descriptor.urls[0], headers=headers, expected=good)
            opened = self._transport.request(Host(descriptor.urls[0]), AuthConfig(), ask)
        else:
            opened = self._read("pull", "GET", f"/blobs/{descriptor.digest}", headers, good)
        async with opened as response:
            # A host that ignores the range sends it all: pass over what is here already.
            yield _pieces(response, 0 if response.status == 206 else offset)

    async def tags(self) -> list[str]:
        """All tags, page by page; raises RegistryFailure."""
        found: list[str] = []
        path: str | None = "/tags/list"
        asked: set[str] = set()  # a registry may lead in a circle
        while path and path not in asked and len(found) < _TAGS_LIMIT and len(asked) < _PAGES_LIMIT:
            asked.add(path)
            async with self._read("resolve", "GET", path, (), frozenset({200})) as response:
                found += _tags(await _bounded(response), str(response.url))
                link = next_page(response.headers.get("Link", ""))
            query = urlsplit(link).query if link else ""
            path = f"/tags/list?{query}" if query else None
        return found

    # Writing.

    @property
    def _own(self) -> Host:
        return self.hosts[-1]

    def _scopes(self, *more: Scope) -> tuple[Scope, ...]:
        return (*repository_scope(self._own.repository(self.reference.path), "pull", "push"), *more)

    def _write(
        self,
        method: str,
        path: str,
        good: int,
        body: Body | None = None,
        *more: Scope,
        headers: tuple[tuple[str, str], ...] = (),
        also: int = 0,
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        expected = frozenset({good, also or good})
        ask = Ask(method, path, self._scopes(*more), headers, body, expected)
        return self._transport.request(self._own, self.auth, ask)

    def _path(self, rest: str) -> str:
        return f"/{self._own.repository(self.reference.path)}{rest}"

    async def has_blob(self, digest: Digest) -> bool:
        """Whether the repository has the blob."""
        async with self._write("HEAD", self._path(f"/blobs/{digest}"), 200, also=404) as response:
            return response.status == 200

    async def mount_or_begin(self, digest: Digest, source: Reference | None) -> str | None:
        """None when the blob was mounted from ``source``, else the URL of an upload that was begun."""
        query = ""
        more: tuple[Scope, ...] = ()
        if source is not None:
            query = "?" + urlencode({"mount": digest, "from": source.path})
            more = repository_scope(source.path, "pull")
        headers = (("Content-Length", "0"),)
        path = self._path(f"/blobs/uploads/{query}")
        async with self._write("POST", path, 202, None, *more, headers=headers, also=201) as response:
            return None if response.status == 201 else _location(response)

    async def upload(self, location: str, body: Body, size: int, digest: Digest) -> None:
        """Send the whole blob to an upload and finish it."""
        headers = (("Content-Type", "application/octet-stream"), ("Content-Length", str(size)))
        async with self._write("PATCH", location, 202, body, headers=headers) as response:
            location = _location(response)
        joint = "&" if "?" in location else "?"
        finish = f"{location}{joint}{urlencode({'digest': digest})}"
        async with self._write("PUT", finish, 201, None, headers=(("Content-Length", "0"),), also=204):
            return

    async def put_manifest(self, reference: str, raw: bytes, media_type: str) -> None:
        """Store a manifest under a tag or digest."""
        headers = (("Content-Type", media_type),)
        path = self._path(f"/manifests/{reference}")
        async with self._write("PUT", path, 201, lambda: raw, headers=headers, also=200):
            return


def _tags(raw: bytes, url: str) -> list[str]:
    try:
        return msgspec.json.decode(raw, type=_Tags).tags or []
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise EngineError(f"the registry sent no list of tags for {url}: {error}") from error


def _location(response: aiohttp.ClientResponse) -> str:
    location = response.headers.get("Location", "")
    if not location:
        raise RegistryFailure(response.status, [], str(response.url))
    return urljoin(str(response.url), location)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body; raises DataLoss when it is larger than any document may be."""
    raw = bytearray()
    async for piece in response.content.iter_any():
        raw += piece
        if len(raw) > SIZE_LIMIT:
            raise DataLoss(f"the registry sent more than {SIZE_LIMIT} bytes for {response.url}")
    return bytes(raw)


async def _pieces(response: aiohttp.ClientResponse, skip: int) -> AsyncIterator[bytes]:
    """The body without its first ``skip`` bytes; raises Unreachable when it breaks off."""
    try:
        async for piece in response.content.iter_any():
            if skip >= len(piece):
                skip -= len(piece)
                continue
            yield piece[skip:]
            skip = 0
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(f"the connection to {response.url.host} broke: {error}") from error
