"""Docker's authorization plugin protocol: a real plugin on a unix socket decides about requests and answers."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sampan.engine.plugins import Places
from sampan.errors import EngineError
from sampan.server.app import make_app
from sampan.server.authorization import MAXIMUM_BODY, Authorization
from sampan.server.listen import Server
from sampan.server.sockets import parse_address


class SamplePlugin:
    """Allows everything but what ``answers`` says; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.implements = ["authz"]

    async def handle(self, request: web.Request) -> web.Response:
        method = request.path.rpartition(".")[2]
        if method == "Activate":
            return web.json_response({"Implements": self.implements})
        self.asked.append((method, json.loads(await request.read())))
        return web.json_response(self.answers.get(method, {"Allow": True}))


@pytest.fixture
async def plugin(tmp_path: Path) -> AsyncIterator[SamplePlugin]:
    sample = SamplePlugin()
    app = web.Application(client_max_size=8 << 20)
    app.router.add_post("/{method:.*}", sample.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "guard.sock")).start()
    yield sample
    await runner.cleanup()


@pytest.fixture
def authorization(tmp_path: Path) -> Authorization:
    return Authorization(["guard"], Places(tmp_path, ()))


@pytest.fixture
async def guarded(
    engine: Any, tmp_path: Path, plugin: SamplePlugin, authorization: Authorization
) -> AsyncIterator[aiohttp.ClientSession]:
    await authorization.check_plugins()
    path = tmp_path / "api.sock"
    server = Server(make_app(engine, authorization=authorization))
    await server.start([parse_address(f"unix://{path}")])
    async with aiohttp.ClientSession("http://d", connector=aiohttp.UnixConnector(str(path))) as session:
        yield session
    await server.close()


async def test_a_plugin_sees_request_and_answer(guarded: Any, plugin: SamplePlugin, engine: Any) -> None:
    body = {"Image": "busybox", "Cmd": ["true"]}
    headers = {"X-Registry-Auth": "c2VjcmV0", "X-Trace": "7"}
    async with guarded.post("/v1.50/containers/create?name=web", json=body, headers=headers) as response:
        assert response.status == 201
    (first, request), (second, answer) = plugin.asked
    assert (first, second) == ("AuthZReq", "AuthZRes")
    assert (request["RequestMethod"], request["RequestUri"]) == ("POST", "/v1.50/containers/create?name=web")
    assert json.loads(base64.b64decode(request["RequestBody"])) == body
    assert request["RequestHeaders"]["X-Trace"] == "7"
    assert "X-Registry-Auth" not in request["RequestHeaders"]
    assert "User" not in request
    assert answer["ResponseStatusCode"] == 201
    assert "Id" in json.loads(base64.b64decode(answer["ResponseBody"]))
    assert engine.containers.calls[0][1][0].cmd == ["true"]


async def test_a_denied_request_is_not_done(guarded: Any, plugin: SamplePlugin, engine: Any) -> None:
    plugin.answers["AuthZReq"] = {"Allow": False, "Msg": "not on Sundays"}
    async with guarded.post("/containers/web/start") as response:
        assert response.status == 403
        assert await response.json() == {"message": "authorization denied by plugin guard: not on Sundays"}
    assert engine.containers.calls == []


async def test_a_denied_answer_is_not_shown(guarded: Any, plugin: SamplePlugin) -> None:
    plugin.answers["AuthZRes"] = {"Allow": False, "Msg": "secret"}
    async with guarded.get("/containers/json") as response:
        assert (response.status, await response.json()) == (
            403,
            {"message": "authorization denied by plugin guard: secret"},
        )


async def test_a_failing_plugin_denies(guarded: Any, plugin: SamplePlugin) -> None:
    plugin.answers["AuthZReq"] = {"Err": "database is down"}
    async with guarded.get("/_ping") as response:
        assert response.status == 500
        assert (await response.json())["message"] == "plugin guard failed with error: database is down"


async def test_a_plugin_that_is_gone_denies(guarded: Any, tmp_path: Path) -> None:
    (tmp_path / "guard.sock").unlink()
    async with guarded.get("/info") as response:
        assert response.status == 500
        assert (await response.json())["message"].startswith("plugin guard failed with error: AuthZPlugin.AuthZReq: ")


async def test_a_body_too_large_to_be_shown_is_refused(guarded: Any, plugin: SamplePlugin, engine: Any) -> None:
    body = {"Image": "busybox", "Cmd": ["x" * MAXIMUM_BODY]}
    async with guarded.post("/containers/create", json=body) as response:
        assert response.status == 403
        assert "cannot be shown" in (await response.json())["message"]
    assert (plugin.asked, engine.containers.calls) == ([], [])


async def test_a_streamed_body_passes_unseen_and_whole(guarded: Any, plugin: SamplePlugin, engine: Any) -> None:
    data = b"t" * (3 << 20)
    headers = {"Content-Type": "application/x-tar"}
    async with guarded.put("/containers/web/archive?path=/", data=data, headers=headers) as response:
        assert response.status == 200
    assert engine.containers.uploaded == data
    assert "RequestBody" not in plugin.asked[0][1]


async def test_a_streamed_answer_is_asked_about_once(guarded: Any, plugin: SamplePlugin) -> None:
    async with guarded.get("/containers/web/logs?stdout=1") as response:
        assert len(await response.read()) > 0
    assert [method for method, _ in plugin.asked] == ["AuthZReq"]


async def test_http2_without_a_request_is_refused(guarded: Any, tmp_path: Path, engine: Any) -> None:
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    assert engine.builder.calls == []


async def test_a_daemon_does_not_start_with_a_plugin_of_another_kind(
    plugin: SamplePlugin, authorization: Authorization, tmp_path: Path
) -> None:
    plugin.implements = ["VolumeDriver"]
    with pytest.raises(EngineError, match="guard does not implement authz"):
        await authorization.check_plugins()
    with pytest.raises(EngineError, match='Error validating authorization plugin: none: plugin "none" not found'):
        await Authorization(["none"], Places(tmp_path, ())).check_plugins()
