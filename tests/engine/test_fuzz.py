"""Garbage of every kind against a real daemon: each request has an answer that was foreseen, and nothing stays behind.

The bounded form is part of the suite; hours of it are ``SAMPAN_FUZZ_REQUESTS=1000000 SAMPAN_FUZZ_SEED=7 pytest …``.
"""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import docker
import pytest
from docker.errors import APIError
from engine_daemon import IMAGE, Daemon, busybox_tar
from fuzz_requests import CONTAINERS, ENDLESS, NETWORK, VOLUME, Fuzzer, Request

REQUESTS = int(os.environ.get("SAMPAN_FUZZ_REQUESTS", "1200"))
SEED = int(os.environ.get("SAMPAN_FUZZ_SEED", "1"))
CLIENTS = 4
ROUND = 50
"""Requests of a client after which what others look for is made again."""

UNFORESEEN = re.compile(r"level=error msg=\"[^\n]*Traceback[^\n]*")
"""Errors that nobody foresaw; those with a sentence of their own, dockerd's 500s, are one line."""


def exchange(daemon: Daemon, data: bytes, patience: float = 20.0) -> tuple[bytes, bool]:
    """What is answered to ``data``, and whether the answer has ended."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        connection.connect(str(daemon.socket))
        with suppress(ConnectionError):  # closed before all was sent; it may have said why
            connection.sendall(data)
        try:
            while piece := connection.recv(65536):
                answer += piece
        except TimeoutError:
            return answer, False
        except ConnectionError:
            pass
    return answer, True


def fault(daemon: Daemon, request: Request) -> str:
    """What is wrong with the answer to ``request``; empty if nothing is."""
    endless = request.operation in ENDLESS
    answer, ended = exchange(daemon, request.data, 0.1 if endless else 20)
    if not ended and not endless:
        return f"no end: {request.line}"
    if answer.startswith(b"HTTP/1.1 500") and b"internal error" in answer:
        return f"{request.line}: {answer[-300:]!r} for {request.data[-1000:]!r}"
    return ""


def furnish(daemon: Daemon) -> None:
    """Make what the requests name, as far as it is not there."""
    with closing(daemon.client()) as client:
        steps: tuple[Callable[[], object], ...] = (
            lambda: client.images.get(IMAGE),
            lambda: client.networks.create(NETWORK),
            lambda: client.volumes.create(VOLUME),
            lambda: client.containers.create(IMAGE, "sleep 10000", name=CONTAINERS[0], stop_signal="KILL"),
            lambda: client.containers.get(CONTAINERS[0]).start(),
            lambda: client.containers.create(IMAGE, "true", name=CONTAINERS[1], network_mode="none"),
        )
        for step in steps:
            with suppress(APIError):
                step()
        if not client.images.list(IMAGE):
            client.api.import_image_from_data(busybox_tar(), repository="busybox", tag="latest")


@pytest.fixture
def unforeseen(daemon: Daemon) -> Iterator[None]:
    """The daemon's log must not tell of errors that nobody foresaw."""
    before = len(daemon.log)
    yield
    found = UNFORESEEN.findall(daemon.log[before:])
    assert not found, found[0]


@pytest.fixture
def furnished(daemon: Daemon, client: docker.DockerClient) -> Iterator[None]:
    """What the requests name; all that they made is gone afterwards."""
    known = {network.id for network in client.networks.list()}
    furnish(daemon)
    yield
    for container in client.containers.list(all=True):
        with suppress(APIError):
            container.remove(force=True, v=True)
    for network in client.networks.list():
        if network.id not in known:
            network.remove()
    for volume in client.volumes.list():
        volume.remove(force=True)
    furnish(daemon)


def test_requests_at_random_are_answered_as_foreseen(daemon: Daemon, unforeseen: None, furnished: None) -> None:
    def one_client(seed: int) -> list[str]:
        fuzzer, found = Fuzzer(seed), []
        for number in range(REQUESTS // CLIENTS):
            if number % ROUND == 0:
                furnish(daemon)
            found.append(fault(daemon, fuzzer.request()))
        return [one for one in found if one]

    with ThreadPoolExecutor(CLIENTS) as pool:
        faults = [one for found in pool.map(one_client, range(SEED, SEED + CLIENTS)) for one in found]
    assert not faults, "\n".join(faults[:20])


JSON_CREATE = "POST /containers/create HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n"


def create(body: bytes) -> bytes:
    """A request that creates a container."""
    return f"{JSON_CREATE}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode()


TRUE = {"Image": "busybox", "Cmd": ["true"]}
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
ATTACH = b"GET /containers/fuzz-running/attach/ws?stream=1&stdout=1&stdin=1 HTTP/1.1\r\nHost: d\r\n"
EXEC = b"POST /exec/x/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Host: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: f\r\n\r\n"

HOSTILE: dict[str, tuple[bytes, bytes]] = {
    # what it is: request, how the answer begins; nothing where the connection is just closed
    "10 MB of string": (create(b'{"Image":"' + b"a" * 10_000_000 + b'"}'), b""),
    "deep lists": (create(b"[" * 100_000), b"HTTP/1.1 400"),
    "deep structs": (create(b'{"a":' * 100_000), b"HTTP/1.1 400"),
    "broken UTF-8": (create(b'{"Image":"busybox\xff\xfe"}'), b"HTTP/1.1 400"),
    "half a surrogate": (create(b'{"Image":"busybox","Env":["A=\\ud800"]}'), b"HTTP/1.1 400"),
    "NUL in a word": (create(b'{"Image":"busybox","Cmd":["a\\u0000b"],"Env":["A=\\u0000"]}'), b"HTTP/1.1 "),
    "a number of 100,000 digits": (
        create(b'{"Image":"busybox","HostConfig":{"Memory":1' + b"0" * 100_000 + b"}}"),
        b"HTTP/1.1 400",
    ),
    "not a number": (create(b'{"Image":"busybox","HostConfig":{"Memory":NaN}}'), b"HTTP/1.1 400"),
    "20,000 variables": (
        create(json.dumps({**TRUE, "Env": [f"A{n}=" for n in range(20_000)]}).encode()),
        b"HTTP/1.1 201",
    ),
    "5,000 binds": (
        create(json.dumps({**TRUE, "HostConfig": {"Binds": [f"/tmp:/b{n}" for n in range(5000)]}}).encode()),
        b"HTTP/1.1 201",
    ),
    "a version of 20 digits": (get("/v99999999999999999999.1/info"), b"HTTP/1.1 400"),
    "a version of 5,000 digits": (get(f"/v1.{'9' * 5000}/info"), b"HTTP/1.1 400"),
    "NUL for a name": (get("/containers/%00/json"), b"HTTP/1.1 404"),
    "a path for a name": (get("/volumes/..%2f..%2fetc"), b"HTTP/1.1 301"),
    "half a surrogate for a name": (get("/images/%ed%a0%80/json"), b"HTTP/1.1 40"),
    "deep filters": (get("/containers/json?filters=" + "[" * 30_000), b"HTTP/1.1 400"),
    "two lengths": (EXEC + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", b"HTTP/1.0 400"),
    "a length and chunks": (EXEC + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n", b"HTTP/1.0 400"),
    "a chunk of 20 digits": (EXEC + CHUNKED + b"ffffffffffffffffffff\r\n0\r\n\r\n", b"HTTP/1.0 400"),
    "1 MB of header": (PING + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", b"HTTP/1.1 200"),
    "2 MB of header": (PING + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n", b"HTTP/1.1 431"),
    "a header without end": (PING + b"X: " + b"a" * 20_000_000, b"HTTP/1.1 431"),
    "a line without end": (b"GET /" + b"a" * 20_000_000, b"HTTP/1.1 431"),
    "2,000 headers": (PING + b"X: a\r\n" * 2_000 + b"\r\n", b"HTTP/1.1 200"),
    "200,000 headers": (PING + b"X: a\r\n" * 200_000 + b"\r\n", b"HTTP/1.1 431"),
    "1 MB of head before a connection is taken": (EXEC + b"X: " + b"a" * 1_000_000, b""),
    "2 MB of head before a connection is taken": (EXEC + b"X: " + b"a" * 2_000_000, b"HTTP/1.1 431"),
    "a websocket's key that is none": (ATTACH + WEBSOCKET + b"x\r\n\r\n", b"HTTP/1.1 400"),
    "no websocket at all": (ATTACH + b"Connection: close\r\n\r\n", b"HTTP/1.1 400"),
    "frames that are none": (ATTACH + WEBSOCKET + b"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + b"\xff" * 500, b"HTTP/1.1 101"),
    "a frame of 4 exabytes": (
        ATTACH + WEBSOCKET + b"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x82\xff" + (2**62).to_bytes(8, "big") + b"x" * 99,
        b"HTTP/1.1 101",
    ),
    "no HTTP/2 behind the preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000, b""),
    "no gRPC behind the upgrade": (b"POST /grpc HTTP/1.1\r\n" + UPGRADE + b"\xff" * 1000, b"HTTP/1.1 101"),
    "no session behind the upgrade": (b"POST /session HTTP/1.1\r\n" + UPGRADE + b"\xff" * 1000, b"HTTP/1.1 101"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_ends_its_own_connection_only(
    daemon: Daemon, client: docker.DockerClient, unforeseen: None, furnished: None, data: bytes, expected: bytes
) -> None:
    answer, _ = exchange(daemon, data, 1)
    assert answer.startswith(expected)
    assert client.ping()


@pytest.mark.parametrize("length", [b"1000000", b"99999999999999999", b"9" * 5000])
def test_a_long_body_that_never_comes_does_not_keep_the_connection(
    daemon: Daemon, client: docker.DockerClient, eventually: Callable[..., None], length: bytes
) -> None:
    assert daemon.process is not None
    files = Path(f"/proc/{daemon.process.pid}/fd")
    before = len(list(files.iterdir()))
    for _ in range(20):
        exchange(daemon, EXEC + b"Content-Length: " + length + b"\r\n\r\n{", 0.01)
    eventually(lambda: len(list(files.iterdir())) < before + 5)


def test_a_long_body_is_still_read_to_its_end(daemon: Daemon, client: docker.DockerClient) -> None:
    body = b'{"Detach":false,"Console":"' + b"x" * 200_000 + b'"}'
    head = EXEC + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer, ended = exchange(daemon, head + body)
    assert ended
    assert answer.startswith(b"HTTP/1.1 404")


def test_half_requests_held_open_do_not_hinder_others(daemon: Daemon, client: docker.DockerClient) -> None:
    held: list[socket.socket] = []
    try:
        for number in range(300):
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(str(daemon.socket))
            held[-1].sendall(b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Le"[: 10 + number % 50])
        assert client.ping()
        assert client.containers.list() == []
    finally:
        for connection in held:
            connection.close()
