"""HTTP to registries: TLS per host, authentication, redirects, retries, proxies from the environment.

A request is tried again, a bounded number of times, when the connection fails or the registry says it is busy (429,
502, 503, 504), after as long as Retry-After says or twice as long as last time. A host that may speak plain HTTP is
tried with TLS first; what answered is remembered.
"""

import asyncio
import contextlib
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from sampan import __version__
from sampan.api.images import AuthConfig
from sampan.config import Config
from sampan.errors import Unreachable
from sampan.registry.client.auth import Authorizer, Reply
from sampan.registry.client.failures import NotReached, RegistryFailure, told
from sampan.registry.client.hosts import Host
from sampan.registry.protocol import Scope, decode_errors, parse_challenges

_BUSY = frozenset({429, 502, 503, 504})
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_SMALL_BODY = 1 << 20
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=120)
_READ_BUFFER = 1 << 20

Body = Callable[[], AsyncIterator[bytes] | bytes]
"""Makes a request's body; called again for each attempt."""


@dataclass(frozen=True)
class Ask:
    """One request: ``path`` is below the host's API root or a whole URL; ``expected`` are the good statuses."""

    method: str
    path: str
    scopes: tuple[Scope, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: Body | None = None
    expected: frozenset[int] = frozenset({200})


class Transport:
    """Connections to any number of hosts. ``close`` it, or use it as an async context manager."""

    def __init__(self, config: Config | None = None, attempts: int = 0, first_delay: float = _FIRST_DELAY) -> None:
        config = config or Config()
        self._attempts = attempts or config.max_download_attempts
        self._first_delay = first_delay
        self._proxies = _proxies(config)
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[Host, ssl.SSLContext] = {}
        self._plain: set[str] = set()
        self._authorizers: dict[tuple[str, str, str, str], Authorizer] = {}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT,
                headers={"User-Agent": f"sampan/{__version__}"},
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
                connector=aiohttp.TCPConnector(limit=64, limit_per_host=16),
            )
        return self._session

    def authorizer(self, host: Host, auth: AuthConfig) -> Authorizer:
        """The user's authentication with the host, shared by all requests."""
        key = (host.url, auth.username, auth.password, auth.identitytoken or auth.registrytoken)
        if key not in self._authorizers:

            async def fetch(method: str, url: str, headers: dict[str, str], form: Any = None) -> Reply:
                return await self._fetch(host, method, url, headers, form)

            self._authorizers[key] = Authorizer(auth, fetch)
        return self._authorizers[key]

    async def _fetch(self, host: Host, method: str, url: str, headers: dict[str, str], form: Any) -> Reply:
        """One plain request for a token."""
        async with self._exchange(host, method, url, headers, form) as response:
            return Reply(response.status, await response.content.read(_SMALL_BODY))

    @contextlib.asynccontextmanager
    async def request(self, host: Host, auth: AuthConfig, ask: Ask) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send and give the response with a good status, its body unread.

        Raises RegistryFailure for others, Unauthorized, Unreachable.
        """
        async with contextlib.AsyncExitStack() as stack:
            for attempt in range(1, self._attempts + 1):
                last = attempt == self._attempts
                try:
                    response = await stack.enter_async_context(self._authorized(host, auth, ask))
                except Unreachable as error:
                    if last or isinstance(error, NotReached):
                        raise
                    await asyncio.sleep(self._delay(attempt, None))
                    continue
                if last or response.status not in _BUSY:
                    break
                await stack.aclose()
                await asyncio.sleep(self._delay(attempt, response.headers.get("Retry-After")))
            if response.status not in ask.expected:
                raise await _failure(response)
            yield response

    def _delay(self, attempt: int, retry_after: str | None) -> float:
        """Seconds to wait before the next attempt."""
        own = self._first_delay * 2.0 ** (attempt - 1)
        return min(max(own, _retry_after(retry_after)), _LONGEST_DELAY)

    @contextlib.asynccontextmanager
    async def _authorized(self, host: Host, auth: AuthConfig, ask: Ask) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to the request, after answering a challenge at most once."""
        authorizer = self.authorizer(host, auth)
        async with self._once(host, authorizer, ask) as response:
            if response.status != 401:
                yield response
                return
            challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
            if not challenges or authorizer.auth.registrytoken:
                yield response
                return
        await authorizer.answer(challenges, ask.scopes)
        async with self._once(host, authorizer, ask) as response:
            yield response

    @contextlib.asynccontextmanager
    async def _once(self, host: Host, authorizer: Authorizer, ask: Ask) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {**host.headers, **dict(ask.headers)}
        url = ask.path if "://" in ask.path else host.url + ask.path
        # A body's or upload's own URL may be on another machine: that one is not told who we are.
        authorization = authorizer.header(ask.scopes) if _same_origin(url, host.url) else None
        if authorization:
            headers["Authorization"] = authorization
        body = ask.body() if ask.body else None
        async with self._exchange(host, ask.method, url, headers, body) as response:
            yield response

    @contextlib.asynccontextmanager
    async def _exchange(
        self, host: Host, method: str, url: str, headers: dict[str, str], body: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange, by plain HTTP where the host allows that and TLS failed."""
        if host.plain_http and (urlsplit(url).netloc in self._plain):
            url = _as_plain(url)
        try:
            response = await self._send(host, method, url, headers, body)
        except aiohttp.ClientConnectorError as error:
            if not (host.plain_http and url.startswith("https:")):
                raise NotReached(told(method, url, error)) from error
            response = await self._send_plain(host, method, url, headers, body, error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(told(method, url, error)) from error
        async with response:
            yield response

    async def _send_plain(
        self, host: Host, method: str, url: str, headers: dict[str, str], body: Any, first: Exception
    ) -> aiohttp.ClientResponse:
        plain = _as_plain(url)
        try:
            response = await self._send(host, method, plain, headers, body)
        except aiohttp.ClientConnectorError as error:
            raise NotReached(told(method, url, first)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(told(method, plain, error)) from error
        self._plain.add(urlsplit(url).netloc)
        return response

    async def _send(
        self, host: Host, method: str, url: str, headers: dict[str, str], body: Any
    ) -> aiohttp.ClientResponse:
        if host not in self._contexts:
            self._contexts[host] = await asyncio.to_thread(host.tls)
        follow = method in ("GET", "HEAD")
        return await self._open().request(
            method,
            url,
            headers=headers,
            data=body,
            ssl=self._contexts[host],
            proxy=self._proxy(url),
            allow_redirects=follow,
        )

    def _proxy(self, url: str) -> str | None:
        parts = urlsplit(url)
        if _bypassed(parts.hostname or "", parts.port, self._proxies.get("no", "")):
            return None
        return self._proxies.get(parts.scheme) or None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _failure(response: aiohttp.ClientResponse) -> RegistryFailure:
    try:
        body = await response.content.read(_SMALL_BODY)
    except aiohttp.ClientError:
        body = b""
    return RegistryFailure(response.status, decode_errors(body), str(response.url))


def _retry_after(text: str | None) -> float:
    """Seconds a Retry-After header asks for: a number, or a date."""
    if not text:
        return 0.0
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _same_origin(url: str, other: str) -> bool:
    return urlsplit(url).netloc == urlsplit(other).netloc


def _as_plain(url: str) -> str:
    return "http:" + url.removeprefix("https:") if url.startswith("https:") else url


def _proxies(config: Config) -> dict[str, str]:
    """Proxies by scheme: the daemon's configuration, else the environment; ``no`` is who goes without."""
    environment = urllib.request.getproxies_environment()
    own = {"http": config.proxies.http_proxy, "https": config.proxies.https_proxy, "no": config.proxies.no_proxy}
    return {**environment, **{name: value for name, value in own.items() if value}}


def _bypassed(host: str, port: int | None, exceptions: str) -> bool:
    """Whether ``host`` goes without a proxy: itself, loopback, or a name's domain among ``exceptions``."""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return True
    return any(_covers(one.strip(), host, port) for one in exceptions.split(",") if one.strip())


def _covers(exception: str, host: str, port: int | None) -> bool:
    name = exception.removeprefix("*").removeprefix(".")
    return not name or name in (host, f"{host}:{port}") or host.endswith(f".{name}")


def repository_scope(name: str, *actions: str) -> tuple[Scope, ...]:
    """Scope of a request about a repository."""
    return (Scope("repository", name, frozenset(actions)),)
