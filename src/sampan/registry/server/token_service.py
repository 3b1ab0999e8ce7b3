"""The token service: GET and POST /token.

    GET  /token?service=&scope=&scope=&account=&offline_token=true        Basic or anonymous
    POST /token  grant_type=password       service=  scope=  username=  password=  access_type=offline
    POST /token  grant_type=refresh_token  service=  scope=  refresh_token=

Both answer ``{"token", "access_token", "expires_in", "issued_at"}`` and, when asked, ``refresh_token``. A token grants
the part of the scopes that the user may have, possibly nothing.

Sources: https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/.
"""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from aiohttp import web

from sampan.registry.protocol import Code, Scope, parse_scopes
from sampan.registry.server import answers
from sampan.registry.server.access import Access
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.registry import Registry
from sampan.registry.streams import awaited

if TYPE_CHECKING:
    from sampan.registry.server.tokens import Tokens

_PATIENCE = 30.0
_FORM_LIMIT = 64 << 10
_CATALOG = "*"


async def token_get(registry: Registry, request: web.BaseRequest) -> web.Response:
    """A token for whom Basic authentication says, or for anyone."""
    tokens = _tokens(registry)
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    user = await registry.access.login(value) if scheme.lower() == "basic" else ""
    offline = bool(user) and request.query.get("offline_token") in ("true", "1")
    return _answer(registry.access, tokens, user, request.query.getall("scope", []), offline)


async def token_post(registry: Registry, request: web.BaseRequest) -> web.Response:
    """A token for a password or a refresh token in a form (OAuth 2)."""
    tokens = _tokens(registry)
    form = await _form(request)
    user = await _grant(registry.access, tokens, form)
    offline = form.get("access_type") == "offline" or form.get("grant_type") == "refresh_token"
    return _answer(registry.access, tokens, user, form.get("scope", "").split(), offline)


def _tokens(registry: Registry) -> "Tokens":
    if registry.access.tokens is None:
        raise Refusal(Code.UNSUPPORTED, status=404, message="this registry has no token service")
    return registry.access.tokens


async def _form(request: web.BaseRequest) -> dict[str, str]:
    body = bytearray()
    async for piece in awaited(request.content, _PATIENCE):
        body += piece
        if len(body) > _FORM_LIMIT:
            raise Refusal(Code.UNSUPPORTED, status=413, message="the form is too long")
    values = parse_qs(body.decode("utf-8", "replace"))
    return {name: " ".join(given) if name == "scope" else given[0] for name, given in values.items()}


async def _grant(access: Access, tokens: "Tokens", form: dict[str, str]) -> str:
    """The user the form proves to be."""
    kind = form.get("grant_type")
    if kind == "password":
        return await access.check(form.get("username", ""), form.get("password", ""))
    if kind != "refresh_token":
        raise Refusal(Code.UNSUPPORTED, status=400, message=f"unsupported grant_type {kind!r}")
    user = tokens.verify_refresh(form.get("refresh_token", ""))
    if user is None or not access.knows(user):
        raise Refusal(Code.UNAUTHORIZED, message="the refresh token is not valid")
    return user


def _answer(access: Access, tokens: "Tokens", user: str, scopes: list[str], offline: bool) -> web.Response:
    granted = [_limit(access, user, scope) for scope in parse_scopes(" ".join(scopes))]
    token = tokens.access(user, [scope for scope in granted if scope.actions])
    issued = datetime.fromtimestamp(int(time.time()), UTC).isoformat().replace("+00:00", "Z")
    answer = {"token": token, "access_token": token, "expires_in": tokens.lifetime, "issued_at": issued}
    return answers.json({**answer, "refresh_token": tokens.refresh(user)} if offline else answer)


def _limit(access: Access, user: str, scope: Scope) -> Scope:
    """The part of the scope the user may have."""
    if scope.type == "registry":
        allowed = scope.actions if user and scope.name == "catalog" else frozenset[str]()
        return Scope(scope.type, scope.name, allowed)
    wanted = scope.actions if _CATALOG not in scope.actions else frozenset({"pull", "push", "delete"})
    if scope.type != "repository":
        wanted = frozenset()
    return Scope(scope.type, scope.name, frozenset(one for one in wanted if access.rules_allow(user, scope.name, one)))
