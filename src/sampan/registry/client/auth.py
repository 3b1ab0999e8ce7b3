"""Authentication: answers a registry's challenge, and remembers tokens until they expire.

    401 WWW-Authenticate: Basic …     → Authorization: Basic base64(user:password)
    401 WWW-Authenticate: Bearer …    → GET realm?service=&scope=  (Basic or nothing)       → Bearer token
                                        POST realm grant_type=refresh_token  (identity token)

Source: https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/.
"""

import base64
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode

import msgspec

from sampan.api.images import AuthConfig
from sampan.errors import EngineError, Unauthorized
from sampan.registry.client.failures import NoCredentials, RegistryFailure
from sampan.registry.protocol import Challenge, Scope, decode_errors

CLIENT_ID = "docker"
_DEFAULT_LIFETIME = 60
_MARGIN = 10


class TokenAnswer(msgspec.Struct):
    """What a token service gives; lifetime in seconds."""

    token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires_in: int = 0


@dataclass(frozen=True)
class Reply:
    """A small HTTP answer."""

    status: int
    body: bytes


class Fetch(Protocol):
    """One plain HTTP request, redirects followed, body bounded."""

    async def __call__(
        self, method: str, url: str, headers: dict[str, str], form: dict[str, str] | None = None
    ) -> Reply: ...


@dataclass
class Authorizer:
    """One user's authentication with one host."""

    auth: AuthConfig
    fetch: Fetch
    refresh_token: str = ""
    _challenge: Challenge | None = None
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)

    def header(self, scopes: Iterable[Scope]) -> str | None:
        """The Authorization header for a request, as far as it is known without asking anyone."""
        if self.auth.registrytoken:
            return f"Bearer {self.auth.registrytoken}"
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return self._basic()
        token, expires = self._tokens.get(_key(scopes), ("", 0.0))
        return f"Bearer {token}" if token and expires > time.monotonic() else None

    def _basic(self) -> str | None:
        if not self.auth.username:
            return None
        return "Basic " + base64.b64encode(f"{self.auth.username}:{self.auth.password}".encode()).decode()

    async def answer(self, challenges: list[Challenge], scopes: Iterable[Scope]) -> None:
        """Do what the challenges ask, so that ``header`` knows; raises Unauthorized when it cannot be done."""
        known = [one for one in challenges if one.scheme in ("bearer", "basic")]
        if not known:
            raise Unauthorized("unauthorized: the registry offers no way to authenticate that is known here")
        self._challenge = min(known, key=lambda one: one.scheme != "bearer")
        if self._challenge.scheme == "bearer":
            await self._get_token(self._challenge, list(scopes))
        elif self._basic() is None:
            raise NoCredentials

    async def _get_token(self, challenge: Challenge, scopes: list[Scope]) -> None:
        realm = challenge.parameters.get("realm", "")
        if not realm.startswith(("http://", "https://")):
            raise Unauthorized(f"unauthorized: the registry names no token service: {realm!r}")
        wanted = list(map(str, scopes)) or challenge.parameters.get("scope", "").split()
        service = challenge.parameters.get("service", "")
        if self.auth.identitytoken:
            reply = await self._refresh(realm, service, wanted)
        else:
            reply = await self._ask(realm, service, wanted)
        answer = _decode(reply, realm)
        lifetime = max(answer.expires_in or _DEFAULT_LIFETIME, _DEFAULT_LIFETIME) - _MARGIN
        self._tokens[_key(scopes)] = (answer.token or answer.access_token, time.monotonic() + lifetime)
        self.refresh_token = answer.refresh_token or self.refresh_token

    async def _ask(self, realm: str, service: str, scopes: list[str]) -> Reply:
        query = [("service", service), *(("scope", scope) for scope in scopes)]
        headers = {}
        if basic := self._basic():
            headers["Authorization"] = basic
            query += [("account", self.auth.username), ("client_id", CLIENT_ID), ("offline_token", "true")]
        joint = "&" if "?" in realm else "?"
        return await self.fetch("GET", f"{realm}{joint}{urlencode(query)}", headers)

    async def _refresh(self, realm: str, service: str, scopes: list[str]) -> Reply:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT_ID,
            "refresh_token": self.auth.identitytoken,
            "scope": " ".join(scopes),
        }
        return await self.fetch("POST", realm, {}, form)


def _key(scopes: Iterable[Scope]) -> str:
    return " ".join(sorted(map(str, scopes)))


def _decode(reply: Reply, realm: str) -> TokenAnswer:
    if reply.status != 200:
        raise RegistryFailure(reply.status, decode_errors(reply.body), realm)
    try:
        answer = msgspec.json.decode(reply.body, type=TokenAnswer)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise EngineError(f"the token service {realm} gave an answer that cannot be read: {error}") from error
    if not (answer.token or answer.access_token):
        raise Unauthorized("authorization server did not include a token in the response")
    return answer
