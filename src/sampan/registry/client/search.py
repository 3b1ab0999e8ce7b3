"""Registry-wide questions: search (Docker's v1 API) and whether credentials are right.

GET https://index.docker.io/v1/search?q=&n=      {"results": [{"name", "description", "star_count", …}]}
GET https://<host>/v2/                           200 when the credentials are right
"""

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

import msgspec

from sampan.api.images import AuthConfig, ImageSearchResult
from sampan.errors import EngineError, InvalidParameter, Unauthorized
from sampan.oci.reference import DEFAULT_DOMAIN
from sampan.registry.client.failures import RegistryFailure, general_failure
from sampan.registry.client.hosts import INDEX_SERVER, Host, Hosts
from sampan.registry.client.transport import Ask, Transport

_LIMIT = 100
_BODY = 4 << 20


class _Result(msgspec.Struct):
    name: str = ""
    description: str | None = None
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _Results(msgspec.Struct):
    results: list[_Result] | None = None


def split_term(term: str) -> tuple[str, str]:
    """The registry's domain and what to search there: ``r.io:5000/x`` → (``r.io:5000``, ``x``)."""
    if "://" in term:
        raise InvalidParameter(f"invalid repository name: repository name ({term}) should not have a scheme")
    first, slash, rest = term.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (DEFAULT_DOMAIN if first == INDEX_SERVER else first), rest
    return DEFAULT_DOMAIN, term.removeprefix("library/")


async def search(
    transport: Transport, hosts: Hosts, term: str, limit: int, auth: AuthConfig | None
) -> Sequence[ImageSearchResult]:
    """Repositories that match, best first; raises InvalidParameter for a limit out of range."""
    if not 1 <= limit <= _LIMIT:
        raise InvalidParameter(f"limit {limit} is outside the range of [1, {_LIMIT}]")
    domain, words = split_term(term)
    host = _index(hosts, domain)
    ask = Ask("GET", f"/search?{urlencode({'q': words, 'n': limit})}")
    try:
        async with transport.request(host, auth or AuthConfig(), ask) as response:
            raw = await response.content.read(_BODY) if response.content_length is None else await response.read()
    except RegistryFailure as failure:
        raise EngineError(f"unexpected status code {failure.status}") from failure
    try:
        found = msgspec.json.decode(raw, type=_Results).results or []
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise EngineError(f"error from the search at {domain}: {error}") from error
    return [_shown(one, domain) for one in found[:limit]]


def _index(hosts: Hosts, domain: str) -> Host:
    """The host that searches for a registry: the registry itself, but for Docker Hub."""
    host = hosts.of(domain)[-1]
    root = f"https://{INDEX_SERVER}" if domain == DEFAULT_DOMAIN else host.url.removesuffix("/v2")
    return replace(host, url=f"{root}/v1")


def _shown(found: _Result, domain: str) -> ImageSearchResult:
    """Names of other registries carry their host, so that they can be pulled as shown."""
    return ImageSearchResult(
        star_count=found.star_count,
        is_official=found.is_official,
        name=found.name if domain == DEFAULT_DOMAIN else f"{domain}/{found.name}",
        is_automated=found.is_automated,
        description=found.description or "",
    )


def server_domain(address: str) -> str:
    """The registry a login is for: ``https://index.docker.io/v1/`` → ``docker.io``."""
    host = address.partition("://")[2] or address
    host = host.partition("/")[0]
    return DEFAULT_DOMAIN if host in ("", INDEX_SERVER, DEFAULT_DOMAIN, "registry-1.docker.io") else host


async def login(transport: Transport, hosts: Hosts, auth: AuthConfig) -> str:
    """Check credentials; returns an identity token where the registry gives one. Raises Unauthorized."""
    host = hosts.of(server_domain(auth.serveraddress))[-1]
    try:
        async with transport.request(host, auth, Ask("GET", "/")):
            return transport.authorizer(host, auth).refresh_token
    except RegistryFailure as failure:
        if failure.status == 401 and not failure.errors:
            raise Unauthorized(f"login attempt to {failure.url} failed with status: 401 Unauthorized") from failure
        if failure.status == 401:
            raise Unauthorized(f'Get "{failure.url}": {failure}') from failure
        raise general_failure(failure) from failure
