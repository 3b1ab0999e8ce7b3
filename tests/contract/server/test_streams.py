"""Answers that go on: logs, events, waiting, progress; and clients that leave."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sampan.api.containers import ContainerWaitResponse
from sampan.api.stdcopy import Stream, frame
from sampan.server.app import make_app
from sampan.server.listen import Server
from sampan.server.sockets import parse_address


@pytest.mark.parametrize(("version", "kind"), [("1.41", "raw"), ("1.42", "multiplexed")])
async def test_logs_are_frames_of_a_type_that_the_version_knows(client: Any, version: str, kind: str) -> None:
    _, headers, body = await client.call("GET", f"/v{version}/containers/web/logs?stdout=1&tail=5")
    assert headers["Content-Type"] == f"application/vnd.docker.{kind}-stream"
    assert body == frame(Stream.STDOUT, b"one\n") + frame(Stream.STDERR, b"two\n")


async def test_logs_want_a_stream(client: Any) -> None:
    status, _, body = await client.call("GET", "/containers/web/logs")
    assert (status, json.loads(body)["message"]) == (400, "must specify at least one of 'stdout' or 'stderr'")


async def test_a_client_that_leaves_ends_its_logs(client: Any, engine: Any) -> None:
    async with client.session.get("http://d/containers/web/logs?stdout=1&follow=1") as response:
        await response.content.readexactly(12)
    await asyncio.wait_for(engine.containers.log_closed.wait(), 5)


async def test_a_client_that_leaves_does_not_end_a_stop(client: Any, engine: Any) -> None:
    engine.containers.hold_stop.clear()
    with pytest.raises(asyncio.TimeoutError):
        await client.call("POST", "/containers/web/stop", timeout=aiohttp.ClientTimeout(total=0.05))
    assert not engine.containers.stopped.is_set()
    engine.containers.hold_stop.set()
    await asyncio.wait_for(engine.containers.stopped.wait(), 5)


async def test_a_client_that_leaves_in_the_middle_of_an_upload_ends_it(client: Any, engine: Any) -> None:
    _, writer = await client.connect()
    writer.write(b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\nhalf")
    await writer.drain()
    writer.transport.abort()
    assert (await client.call("GET", "/_ping"))[0] == 200
    assert engine.images.loaded == b""


async def test_a_client_that_ended_its_side_still_gets_its_answer(client: Any, engine: Any) -> None:
    engine.containers.hold_stop.clear()
    reader, writer = await client.connect()
    writer.write(b"POST /containers/web/stop HTTP/1.1\r\nHost: d\r\n\r\n")
    writer.write_eof()
    asyncio.get_running_loop().call_later(0.05, engine.containers.hold_stop.set)
    assert (await reader.read()).startswith(b"HTTP/1.1 204 No Content\r\n")
    writer.close()


async def test_a_server_that_stops_lets_changes_end_and_cuts_the_rest(engine: Any, tmp_path: Path) -> None:
    engine.containers.hold_stop.clear()
    server = Server(make_app(engine))
    path = str(tmp_path / "other.sock")
    await server.start([parse_address(f"unix://{path}")])
    connections = []
    for request in (
        b"GET /containers/web/logs?stdout=1&follow=1",
        b"POST /containers/web/attach?stream=1",
        b"POST /containers/web/stop",
    ):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request + b" HTTP/1.1\r\nHost: d\r\n\r\n")
        connections.append((reader, writer))
    await connections[1][0].readuntil(b"\r\n\r\n")
    asyncio.get_running_loop().call_later(0.7, engine.containers.hold_stop.set)
    await server.close()
    assert engine.containers.stopped.is_set()
    assert engine.containers.log_closed.is_set()
    for reader, writer in connections:
        await reader.read()
        writer.close()


async def test_wait_sends_its_head_before_the_container_ends(client: Any, engine: Any) -> None:
    async with client.session.post("http://d/containers/web/wait?condition=next-exit") as response:
        assert response.status == 200
        assert not engine.containers.exited.done()
        engine.containers.exited.set_result(ContainerWaitResponse(status_code=3))
        assert await response.json() == {"StatusCode": 3}
    assert engine.containers.calls == [("wait", ("next-exit",))]


async def test_wait_knows_three_conditions(client: Any) -> None:
    status, _, body = await client.call("POST", "/containers/web/wait?condition=bored")
    assert (status, json.loads(body)["message"]) == (400, 'invalid condition: "bored"')


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/jsonl"),
        ("application/json", "application/jsonl"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/jsonl", "application/jsonl"),
        ("application/json-seq", "application/json-seq"),
        ("application/x-ndjson;q=0.5, application/json-seq", "application/json-seq"),
        ("application/x-ndjson;q=0", "application/jsonl"),
        ("application/x-ndjson;q=?", "application/jsonl"),
    ],
)
async def test_events_are_negotiated(client: Any, accept: str, expected: str) -> None:
    _, headers, body = await client.call("GET", "/events", headers={"Accept": accept} if accept else {})
    assert headers["Content-Type"] == expected
    lines = body.decode().removesuffix("\n").split("\n")
    assert all(line.startswith("\x1e") for line in lines) is (expected == "application/json-seq")
    assert [json.loads(line.lstrip("\x1e"))["Action"] for line in lines] == ["create", "start"]


async def test_events_have_their_old_members_for_old_clients(client: Any) -> None:
    _, _, body = await client.call("GET", "/v1.51/events")
    created, started = map(json.loads, body.splitlines())
    assert (created["status"], created["id"], "from" in created) == ("create", "sha256:b", False)
    assert (started["status"], started["id"], started["from"]) == ("start", "a1" * 32, "busybox")
    _, _, body = await client.call("GET", "/v1.52/events")
    assert not {"status", "id", "from"} & set(json.loads(body.splitlines()[1]))
    _, _, body = await client.call("GET", "/v1.45/events")
    assert len(body.splitlines()) == 1


async def test_events_end_after_they_begin(client: Any) -> None:
    status, _, body = await client.call("GET", "/events?since=20&until=10")
    assert status == 400
    assert json.loads(body)["message"] == "`since` time (20) cannot be after `until` time (10)"


async def test_statistics_come_once_or_for_ever(client: Any) -> None:
    _, _, body = await client.call("GET", "/containers/web/stats?stream=0")
    assert len(body.splitlines()) == 1
    _, _, body = await client.call("GET", "/containers/web/stats")
    assert len(body.splitlines()) == 2


async def test_a_pull_that_cannot_begin_has_a_status(client: Any) -> None:
    status, _, body = await client.call("POST", "/images/create?fromImage=missing&tag=latest")
    assert (status, json.loads(body)["message"]) == (404, "No such image: missing:latest")


async def test_a_pull_that_fails_on_the_way_says_so_in_its_stream(client: Any) -> None:
    status, headers, body = await client.call("POST", "/images/create?fromImage=broken&tag=latest")
    last = json.loads(body.splitlines()[-1])
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert last == {"errorDetail": {"message": "No such image: a layer"}, "error": "No such image: a layer"}


async def test_what_nobody_expected_ends_a_progress_stream_with_words(client: Any) -> None:
    status, _, body = await client.call("POST", "/images/create?fromImage=unforeseen&tag=latest")
    assert (status, json.loads(body.splitlines()[-1])["error"]) == (200, "input/output error")


async def test_pull_progress_is_one_object_a_line(client: Any, engine: Any) -> None:
    _, _, body = await client.call("POST", "/images/create?fromImage=busybox&tag=latest&platform=linux/arm/v6")
    assert [json.loads(line)["status"] for line in body.splitlines()] == [
        "Pulling from library/busybox",
        "Downloading",
    ]
    options = engine.images.calls[0][1][0]
    assert (options.reference, options.all_tags, options.platform.variant) == ("busybox:latest", False, "v6")


DIGEST = "sha256:" + "f" * 64


@pytest.mark.parametrize(
    ("query", "reference", "all_tags"),
    [
        ("fromImage=a", "a", True),
        ("fromImage=a:", "a", True),
        ("fromImage=a:1", "a:1", False),
        ("fromImage=h:5000/a", "h:5000/a", True),
        (
            f"fromImage=a&tag={DIGEST}",
            f"a@{DIGEST}",
            False,
        ),
    ],
)
async def test_pull_without_tag_means_all_tags(
    client: Any, engine: Any, query: str, reference: str, all_tags: bool
) -> None:
    await client.call("POST", f"/images/create?{query}")
    options = engine.images.calls[0][1][0]
    assert (options.reference, options.all_tags) == (reference, all_tags)


async def test_an_import_takes_its_body(client: Any, engine: Any) -> None:
    await client.call("POST", "/images/create?fromSrc=-&repo=r&tag=t&changes=ENV%20A=b", b"tar")
    [(_, (options, body))] = engine.images.calls
    assert (options.repository, options.tag, options.message, options.changes) == (
        "r",
        "t",
        "Imported from -",
        ["ENV A=b"],
    )
    assert body == b"tar"


async def test_a_load_tells_its_failure_inside(client: Any, engine: Any) -> None:
    status, _, body = await client.call("POST", "/images/load", b"")
    assert (status, json.loads(body)["errorDetail"]["message"]) == (200, "No such image: empty")
    await client.call("POST", "/images/load", b"x" * 1_000_000)
    assert len(engine.images.loaded) == 1_000_000


async def test_save_takes_many_names(client: Any) -> None:
    _, headers, body = await client.call("GET", "/images/get?names=a&names=b")
    assert (headers["Content-Type"], body) == ("application/x-tar", b"saved a,b")


async def test_build_options_are_read_from_the_query(client: Any, engine: Any) -> None:
    query = (
        't=a&t=b&buildargs={"X":"1","Y":null}&labels={"l":"v"}&nocache=1&rm=0&memory=5&target=stage'
        '&cachefrom=["c"]&ulimits=[{"Name":"nofile","Hard":2,"Soft":1}]'
    )
    _, _, body = await client.call("POST", f"/build?{query}", b"context")
    [(_, (options, context))] = engine.builder.calls
    assert (options.tags, options.build_args, options.labels) == (["a", "b"], {"X": "1", "Y": None}, {"l": "v"})
    assert (options.no_cache, options.remove, options.memory, options.target) == (True, False, 5, "stage")
    assert (options.cache_from, options.ulimits[0].hard, context) == (["c"], 2, b"context")
    assert json.loads(body.splitlines()[-1]) == {"aux": {"ID": "sha256:built"}}


async def test_a_build_option_that_is_no_json_is_400(client: Any) -> None:
    status, _, body = await client.call("POST", "/build?buildargs={", b"context")
    assert status == 400
    assert json.loads(body)["message"].startswith("error reading build args: ")


async def test_old_clients_get_no_aux(client: Any) -> None:
    _, _, body = await client.call("POST", "/v1.29/build", b"context")
    assert b"aux" not in body
