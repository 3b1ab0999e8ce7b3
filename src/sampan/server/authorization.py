"""Authorization plugins: Docker's protocol; every plugin is asked before each operation and again after it.

    request ─▶ AuthZPlugin.AuthZReq of each, in order ─▶ handler ─▶ AuthZPlugin.AuthZRes of each, in reverse ─▶ answer
                    │ Allow false: 403                                  │ Allow false: 403 in the answer's place
                    └ Err, or no answer: 500                            └ answers that stream are not asked about

Only JSON bodies are shown, never credentials. A body too large to be shown is refused: a plugin that decides without
having seen it would be deceived.

Source: https://docs.docker.com/engine/extend/plugins_authorization/
"""

import base64
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from aiohttp import web

from sampan.engine import plugins
from sampan.engine.plugins import Manifest, Places, PluginFailed
from sampan.errors import EngineError, Forbidden
from sampan.server.call import Call
from sampan.server.peer import Peer

SUBSYSTEM = "authz"
MAXIMUM_BODY = 1 << 20
"""Bytes of a body that plugins are shown, as in Docker."""
SECRET_HEADERS = frozenset({"x-registry-auth", "x-registry-config", "authorization"})
SECRET_OPERATIONS = frozenset({"system_auth"})
"""Operations whose body is a password."""


class Question(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Body of both calls; ``request_body`` and ``response_body`` are base64, as Go's JSON has bytes."""

    user: str = ""
    user_auth_n_method: str = ""
    request_method: str = ""
    request_uri: str = ""
    request_body: str = ""
    request_headers: dict[str, str] = {}
    request_peer_certificates: list[str] = []
    response_body: str = ""
    response_headers: dict[str, str] = {}
    response_status_code: int = 0


class Verdict(msgspec.Struct, rename="pascal"):
    """What a plugin answers."""

    allow: bool = False
    msg: str = ""
    err: str = ""


class Authorization:
    """The plugins of the configuration, in order; none is no step at all. A request has those it began with."""

    def __init__(self, names: Sequence[str] = (), places: Places | None = None) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._places = places or Places()

    def __bool__(self) -> bool:
        return bool(self._names)

    async def replace_plugins(self, names: Sequence[str]) -> None:
        """From now on ask these; raises EngineError, and goes on with those before, unless all can be asked."""
        await self._check(names)
        self._names = tuple(dict.fromkeys(names))

    async def check_plugins(self) -> None:
        """Raise EngineError unless every plugin is there and is one for authorization."""
        await self._check(self._names)

    async def _check(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                manifest = await plugins.call(self._places.address(name), "/Plugin.Activate", {}, Manifest)
            except EngineError as error:
                raise EngineError(f"Error validating authorization plugin: {name}: {error}") from error
            if SUBSYSTEM not in manifest.implements:
                raise EngineError(f"Error validating authorization plugin: {name} does not implement {SUBSYSTEM}")

    async def around(
        self, call: Call, peer: Peer, operation: str, handle: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Ask, ``handle``, ask again; raises Forbidden when denied, EngineError when a plugin fails."""
        question, names = await ask_about(call, peer, operation), self._names
        for name in names:
            await self._ask(name, "/AuthZPlugin.AuthZReq", question)
        response = await handle()
        taken_over = call.request.transport is None
        if isinstance(response, web.Response) and not response.prepared and not taken_over:
            complete(question, response)
            for name in reversed(names):
                await self._ask(name, "/AuthZPlugin.AuthZRes", question)
        return response

    async def _ask(self, name: str, method: str, question: Question) -> None:
        try:
            verdict = await plugins.call(self._places.address(name), method, question, Verdict)
        except (PluginFailed, plugins.PluginNotFound) as error:
            raise EngineError(f"plugin {name} failed with error: {method.lstrip('/')}: {error}") from error
        if verdict.err:
            raise EngineError(f"plugin {name} failed with error: {verdict.err}")
        if not verdict.allow:
            raise Forbidden(f"authorization denied by plugin {name}: {verdict.msg}")


async def ask_about(call: Call, peer: Peer, operation: str) -> Question:
    """The request as plugins see it; raises Forbidden for a JSON body that is too large to be shown."""
    request = call.request
    body = b""
    if is_json(request.headers.get("Content-Type", "")) and operation not in SECRET_OPERATIONS:
        body = await call.data()
    if len(body) > MAXIMUM_BODY:
        raise Forbidden(f"authorization denied: a body of more than {MAXIMUM_BODY} bytes cannot be shown to plugins")
    return Question(
        user=peer.name,
        user_auth_n_method="TLS" if peer.certificate else "",
        request_method=request.method,
        request_uri=request.raw_path,
        request_body=base64.b64encode(body).decode(),
        request_headers={name: value for name, value in request.headers.items() if name.lower() not in SECRET_HEADERS},
        request_peer_certificates=[base64.b64encode(peer.certificate.encode()).decode()] if peer.certificate else [],
    )


def complete(question: Question, response: web.Response) -> None:
    """Add the answer as plugins see it."""
    body = response.body if isinstance(response.body, bytes) else b""
    shown = is_json(response.headers.get("Content-Type", "")) and len(body) <= MAXIMUM_BODY
    question.response_status_code = response.status
    question.response_headers = dict(response.headers.items())
    question.response_body = base64.b64encode(body).decode() if shown else ""


def is_json(content_type: str) -> bool:
    """Whether a body is JSON."""
    return content_type.partition(";")[0].strip().lower() == "application/json"
