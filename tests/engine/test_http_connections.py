"""The API of a real daemon on raw connections: what is sent early, who ends first, what each version sees."""

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import docker
import pytest

from sampan.api.stdcopy import Demultiplexer, Stream

UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


def post(path: str, body: object = None, headers: str = UPGRADE) -> bytes:
    """A POST request as bytes."""
    data = b"" if body is None else json.dumps(body).encode()
    described = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n" if data else ""
    return f"POST {path} HTTP/1.1\r\nHost: d\r\n{headers}{described}\r\n".encode() + data


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def exchange(daemon: Any, request: bytes) -> tuple[str, bytes]:
    """Send ``request``, end the sending side, read to the end: head and body."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(daemon.socket))
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    return head.decode(errors="replace"), body


def streams(data: bytes) -> dict[Stream, bytes]:
    found: dict[Stream, bytes] = {}
    for stream, payload in Demultiplexer().feed(data):
        found[stream] = found.get(stream, b"") + payload
    return found


@pytest.fixture
def box(run: Callable[..., Any]) -> Any:
    """A running container."""
    return run("sleep 60")


def new_exec(client: docker.DockerClient, container: Any, command: list[str], **options: Any) -> str:
    created = client.api.exec_create(container.id, command, stdin=True, **options)
    return str(created["Id"])


def test_stdin_sent_with_the_request_reaches_the_process(daemon: Any, client: Any, box: Any) -> None:
    exec_id = new_exec(client, box, ["cat"])
    head, body = exchange(daemon, post(f"/exec/{exec_id}/start", {}) + b"early\n")
    assert head.startswith("HTTP/1.1 101 UPGRADED")
    assert streams(body) == {Stream.STDOUT: b"early\n"}


def test_output_that_comes_after_the_end_of_stdin_arrives(daemon: Any, client: Any, box: Any) -> None:
    exec_id = new_exec(client, box, ["sh", "-c", "wc -c; sleep 0.2; echo late >&2"])
    _, body = exchange(daemon, post(f"/exec/{exec_id}/start", {}) + b"x" * 100_000)
    assert streams(body) == {Stream.STDOUT: b"100000\n", Stream.STDERR: b"late\n"}


def test_without_upgrade_the_connection_is_raw_all_the_same(daemon: Any, client: Any, box: Any) -> None:
    exec_id = new_exec(client, box, ["cat"])
    head, body = exchange(daemon, post(f"/exec/{exec_id}/start", {}, headers="") + b"raw\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert streams(body) == {Stream.STDOUT: b"raw\n"}


def test_an_exec_that_does_not_exist_is_an_ordinary_404(daemon: Any) -> None:
    head, body = exchange(daemon, post("/exec/none/start", {}))
    assert head.startswith("HTTP/1.1 404 Not Found")
    assert json.loads(body) == {"message": "No such exec instance: none"}


async def test_a_websocket_talks_to_the_container(daemon: Any, client: Any) -> None:
    container = client.containers.create("busybox", ["cat"], stdin_open=True, network_mode="none")
    container.start()
    url = f"http://docker/containers/{container.id}/attach/ws?stream=1&stdin=1&stdout=1"
    connector = aiohttp.UnixConnector(str(daemon.socket))
    async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(url) as websocket:
        await websocket.send_bytes(b"over websocket\n")
        assert await websocket.receive_bytes(timeout=10) == b"over websocket\n"


def test_wait_answers_before_the_container_is_started(daemon: Any, client: Any) -> None:
    container = client.containers.create("busybox", ["sh", "-c", "exit 7"], network_mode="none")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(daemon.socket))
        connection.sendall(
            post(f"/containers/{container.id}/wait?condition=next-exit", headers="Connection: close\r\n")
        )
        assert connection.recv(12) == b"HTTP/1.1 200"
        container.start()
        assert b'{"StatusCode":7}' in read_all(connection)


@pytest.mark.parametrize("minor", [24, 30, 40, 41, 43, 44, 48, 51, 52, 55])
def test_every_version_creates_runs_and_inspects(daemon: Any, client: Any, minor: int) -> None:
    api = docker.APIClient(base_url=daemon.url, version=f"1.{minor}", timeout=20)
    try:
        host = api.create_host_config(network_mode="none")
        identifier = api.create_container("busybox", ["echo", "hello"], host_config=host)["Id"]
        api.start(identifier)
        assert api.wait(identifier)["StatusCode"] == 0
        assert api.logs(identifier) == b"hello\n"
        inspection = api.inspect_container(identifier)
        assert ("IPAddress" in inspection["NetworkSettings"]) is (minor < 52)
        assert [found["Id"] for found in api.containers(all=True)] == [identifier]
        assert "busybox:latest" in api.images()[0]["RepoTags"]
        api.remove_container(identifier)
    finally:
        api.close()


def test_many_clients_at_once_are_all_answered(daemon: Any, box: Any) -> None:
    request = f"GET /containers/{box.id}/json HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode()
    with ThreadPoolExecutor(50) as pool:
        heads = list(pool.map(lambda _: exchange(daemon, request)[0], range(500)))
    assert {head.partition("\r\n")[0] for head in heads} == {"HTTP/1.1 200 OK"}


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n",
        b"POST /exec/x/start HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage",
    ],
)
def test_garbage_ends_its_own_connection_only(daemon: Any, client: Any, garbage: bytes) -> None:
    head, _ = exchange(daemon, garbage)
    assert not head.startswith("HTTP/1.1 2")
    assert client.ping()
