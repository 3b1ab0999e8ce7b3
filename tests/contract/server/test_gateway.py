"""Versions, routes, errors, headers, bodies: what every operation shares."""

import asyncio
import base64
import json
from typing import Any

import pytest

from sampan.errors import EngineError
from sampan.server import connection

COMMON = {"Api-Version": "1.55", "Docker-Experimental": "false", "Ostype": "linux"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/_ping", "/v1.24/_ping", "/v1.55/_ping"])
async def test_ping_tells_what_clients_negotiate_by(client: Any, method: str, path: str) -> None:
    status, headers, body = await client.call(method, path)
    assert status == 200
    assert body == (b"OK" if method == "GET" else b"")
    for name, value in {**COMMON, "Builder-Version": "2", "Swarm": "inactive", "Pragma": "no-cache"}.items():
        assert headers[name] == value
    assert headers["Content-Length"] == ("2" if method == "GET" else "0")
    assert headers["Server"].startswith("Docker/")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1.56/info", "client version 1.56 is too new. Maximum supported API version is 1.55"),
        ("/v2.0/info", "client version 2.0 is too new. Maximum supported API version is 1.55"),
    ],
)
async def test_newer_versions_are_refused(client: Any, path: str, message: str) -> None:
    status, headers, body = await client.call("GET", path)
    assert status == 400
    assert json.loads(body) == {"message": message}
    assert headers["Api-Version"] == "1.55"


@pytest.mark.parametrize("version", ["1.23", "1.0", "0.9"])
async def test_a_client_of_old_is_refused_in_plain_text(client: Any, version: str) -> None:
    status, headers, body = await client.call("GET", f"/v{version}/info")
    assert (status, headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert body.decode() == (
        f"client version {version} is too old. Minimum supported API version is 1.24, "
        "please upgrade your client to a newer version\n"
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1.40"),
        ("GET", "/v5.0.0/libpod/info"),
        ("GET", "/nope"),
        ("DELETE", "/info"),
        ("GET", "/containers/a/b/json"),
    ],
)
async def test_what_is_not_served_is_404(client: Any, method: str, path: str) -> None:
    status, _, body = await client.call(method, path)
    assert (status, body) == (404, b'{"message":"page not found"}\n')


async def test_options_are_answered_anywhere(client: Any) -> None:
    assert (await client.call("OPTIONS", "/containers/json"))[0] == 200


@pytest.mark.parametrize("path", ["/swarm", "/nodes", "/services/x", "/tasks", "/secrets", "/configs/y"])
async def test_swarm_answers_as_a_node_outside_a_swarm(client: Any, path: str) -> None:
    status, _, body = await client.call("GET", path)
    assert status == 503
    assert json.loads(body)["message"].startswith("This node is not a swarm manager.")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/swarm/init", 501),
        ("POST", "/swarm/leave", 503),
        ("POST", "/plugins/pull", 501),
        ("GET", "/plugins/org/p/json", 404),
        ("GET", "/containers/web/checkpoints", 501),
        ("POST", "/containers/web/start?checkpoint=c", 501),
    ],
)
async def test_what_is_outside_says_so(client: Any, method: str, path: str, status: int) -> None:
    answer, _, body = await client.call(method, path)
    assert answer == status
    assert json.loads(body)["message"]


async def test_there_are_no_plugins(client: Any) -> None:
    assert await client.json("GET", "/plugins") == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "invalid JSON: EOF"),
        (b"{", "invalid JSON: unexpected EOF"),
        (b"{} {}", "unexpected content after JSON"),
        (
            b'{"HostConfig":{"Memory":"1g"}}',
            "invalid JSON: json: cannot unmarshal string into Go struct field .HostConfig.Memory of type int64",
        ),
        (b"[]", "invalid JSON: json: cannot unmarshal array into Go value of type struct"),
    ],
)
async def test_a_bad_body_is_400_and_says_where(client: Any, body: bytes, message: str) -> None:
    headers = {"Content-Type": "application/json"}
    status, _, answer = await client.call("POST", "/containers/create", body, headers=headers)
    assert (status, json.loads(answer)) == (400, {"message": message})


async def test_a_container_must_be_described(client: Any) -> None:
    status, _, body = await client.call("POST", "/containers/create", {"HostConfig": {"Memory": 5}})
    assert status == 400
    assert json.loads(body)["message"] == "config cannot be empty in order to create a container"


async def test_what_nobody_foresaw_is_500_and_json(client: Any, engine: Any) -> None:
    engine.containers.top = None
    for _ in range(2):
        status, headers, body = await client.call("GET", "/containers/web/top")
        assert (status, json.loads(body)) == (
            500,
            {"message": "internal error: TypeError: the daemon's log tells where"},
        )
        assert headers["Api-Version"] == "1.55"
    engine.containers.attach = None
    status, _, _ = await client.call("POST", "/containers/web/attach")
    assert status == 500


async def test_a_body_of_another_type_is_refused(client: Any) -> None:
    headers = {"Content-Type": "text/plain"}
    status, _, body = await client.call("POST", "/containers/create", b"{}", headers=headers)
    assert status == 400
    expected = "unsupported Content-Type header (text/plain): must be 'application/json'"
    assert json.loads(body)["message"] == expected


async def test_a_body_without_end_is_not_read_to_the_end(client: Any) -> None:
    headers = {"Content-Type": "application/json"}
    status, _, body = await client.call("POST", "/containers/create", b" " * (5 << 20), headers=headers)
    assert status == 400
    assert b"request body too large" in body


async def test_an_unknown_filter_is_400(client: Any) -> None:
    status, _, body = await client.call("GET", '/containers/json?filters={"colour":["red"]}')
    assert (status, json.loads(body)) == (400, {"message": "invalid filter 'colour'"})


async def test_keys_match_in_any_case_and_null_is_nothing(client: Any, engine: Any) -> None:
    body = {"image": "busybox", "cmd": "true", "hostconfig": {"MEMORY": 5, "binds": None}, "Unknown": 1}
    answer = await client.json("POST", "/containers/create?name=n", body)
    assert answer == {"Id": "a1" * 32, "Warnings": []}
    [(_, (request, name, platform))] = engine.containers.calls
    assert (request.image, request.cmd, request.host_config.memory) == ("busybox", ["true"], 5)
    assert (name, platform) == ("n", None)


async def test_what_changed_nothing_is_304(client: Any) -> None:
    assert (await client.call("POST", "/containers/web/start"))[0] == 204
    assert (await client.call("POST", "/containers/web/start"))[0] == 304


async def test_a_number_that_is_none_is_400(client: Any) -> None:
    status, _, body = await client.call("POST", "/containers/web/stop?t=soon")
    assert (status, json.loads(body)["message"]) == (400, 'strconv.Atoi: parsing "soon": invalid syntax')
    assert (await client.call("POST", "/containers/web/resize?h=x&w=1"))[0] == 400


async def test_stop_passes_signal_and_timeout(client: Any, engine: Any) -> None:
    await client.call("POST", "/containers/web/stop?t=3&signal=SIGINT")
    await client.call("POST", "/v1.41/containers/web/stop?signal=SIGINT")
    assert [arguments for _, arguments in engine.containers.calls] == [("SIGINT", 3), ("", None)]


async def test_image_names_may_have_slashes(client: Any, engine: Any) -> None:
    await client.json("GET", "/images/localhost:5000/team/app:1/json")
    assert engine.images.calls[0][1][0] == "localhost:5000/team/app:1"


async def test_credentials_come_in_a_header(client: Any, engine: Any) -> None:
    header = base64.urlsafe_b64encode(b'{"username":"u","password":"p?>~"}').decode()
    await client.call("GET", "/distribution/a/b/json", headers={"X-Registry-Auth": header})
    await client.call("GET", "/distribution/a/b/json", headers={"X-Registry-Auth": "%%%"})
    assert engine.images.calls[0][1][1].password == "p?>~"
    assert engine.images.calls[1][1][1] is None


async def test_a_thousand_requests_at_once_are_all_answered(client: Any) -> None:
    answers = await asyncio.gather(*(client.call("GET", "/containers/json") for _ in range(1000)))
    assert {status for status, _, _ in answers} == {200}


async def test_garbage_instead_of_http_is_refused_and_the_server_goes_on(client: Any) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00", b"POST /containers/web/attach garbage\r\n\r\n", b"G" * 100_000):
        reader, writer = await client.connect()
        writer.write(garbage)
        writer.write_eof()
        assert not (await reader.read()).startswith(b"HTTP/1.1 2")
        writer.close()
    assert (await client.call("GET", "/_ping"))[0] == 200


async def test_an_archive_tells_what_the_path_is(client: Any) -> None:
    status, headers, body = await client.call("GET", "/containers/web/archive?path=/etc/hosts")
    assert (status, headers["Content-Type"], body) == (200, "application/x-tar", b"tar of /etc/hosts")
    stat = json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"]))
    assert stat == {"name": "hosts", "size": 3, "mode": 420, "mtime": "2026-01-01T00:00:00Z", "linkTarget": ""}
    status, headers, _ = await client.call("HEAD", "/containers/web/archive?path=/etc/hosts")
    assert (status, "X-Docker-Container-Path-Stat" in headers) == (200, True)
    assert (await client.call("GET", "/containers/web/archive"))[0] == 400


async def test_an_uploaded_archive_reaches_the_engine_whole(client: Any, engine: Any) -> None:
    data = b"x" * 3_000_000
    assert (await client.call("PUT", "/containers/web/archive?path=/", data))[0] == 200
    assert engine.containers.uploaded == data


async def test_commit_tells_its_override_from_none(client: Any, engine: Any) -> None:
    for body in (None, {}, {"Cmd": ["sh"]}):
        answer = await client.json("POST", "/commit?container=web&repo=r&tag=t&pause=0", body)
        assert answer == {"Id": "sha256:" + "c" * 64}
    configs = [config for _, (_, config) in engine.images.calls]
    assert configs[:2] == [None, None]
    assert configs[2].cmd == ["sh"]
    options = engine.images.calls[0][1][0]
    assert (options.repository, options.tag, options.pause) == ("r", "t", False)


async def test_a_client_that_does_not_get_its_first_request_together_is_let_go(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FIRST_REQUEST", 0.05)
    reader, writer = await asyncio.open_unix_connection(str(client.path))
    writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_client_that_asked_once_may_be_idle_for_long(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_REQUEST", 0.05)
    reader, writer = await asyncio.open_unix_connection(str(client.path))
    for _ in range(2):
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\nOK"), 5)).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.15)
    writer.close()


async def test_what_an_unforeseen_error_says_is_for_the_log_alone(
    client: Any, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def top(*_: object) -> None:
        raise ValueError("password hunter2")

    engine.containers.top = top
    status, _, body = await client.call("GET", "/containers/web/top")
    assert status == 500
    assert b"hunter2" not in body
    assert b"Traceback" not in body
    assert "hunter2" in caplog.text


async def test_a_foreseen_500_is_one_line_in_the_log(
    client: Any, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def top(*_: object) -> None:
        raise EngineError("the disk is gone")

    engine.containers.top = top
    with caplog.at_level("INFO"):
        status, _, body = await client.call("GET", "/containers/web/top")
    assert (status, json.loads(body)) == (500, {"message": "the disk is gone"})
    assert [(record.levelname, record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("ERROR", "GET /containers/web/top: the disk is gone", None)
    ]
