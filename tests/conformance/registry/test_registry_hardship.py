"""The registry in hard times: killed at any moment of pushes, its disk full, clients that stall."""

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registry_process import Process, ours_in

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Pusher:
    """Pushes images by hand; ``promised`` is what the registry has acknowledged: path → bytes."""

    def __init__(self, address: str) -> None:
        self.connection = http.client.HTTPConnection(address, timeout=10)
        self.promised: dict[str, bytes] = {}

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer

    def blob(self, data: bytes) -> dict[str, Any]:
        """Upload in two chunks and a PUT."""
        place = self.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]
        half = len(data) // 2
        self.ask("PATCH", place, data[:half])
        self.ask("PATCH", place, data[half:])
        if self.ask("PUT", f"{place}?digest={sha256(data)}").status == 201:
            self.promised[f"/v2/app/blobs/{sha256(data)}"] = data
        return {"digest": sha256(data), "size": len(data)}

    def image(self, tag: str) -> None:
        config, layer = self.blob(os.urandom(50)), self.blob(os.urandom(200_000))
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **config},
            "layers": [{"mediaType": LAYER, **layer}],
        }
        raw = json.dumps(value).encode()
        if self.ask("PUT", f"/v2/app/manifests/{tag}", raw, **{"Content-Type": MANIFEST}).status == 201:
            self.promised[f"/v2/app/manifests/{tag}"] = raw

    def until_killed(self, name: str) -> None:
        """Image after image, while there is somebody to take them."""
        with contextlib.suppress(OSError, http.client.HTTPException, KeyError, TypeError):
            for number in range(1000):
                self.image(f"{name}-{number}")


def test_a_registry_killed_at_any_moment_keeps_what_it_promised(tmp_path: Path) -> None:
    chance = random.Random(7)
    registry = ours_in(tmp_path / "root")
    promised: dict[str, bytes] = {}
    for life in range(3):
        registry.start()
        pushers = [Pusher(registry.address) for _ in range(3)]
        threads = [
            threading.Thread(target=pusher.until_killed, args=(f"{life}-{number}",))
            for number, pusher in enumerate(pushers)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.2 + chance.random() / 2)
        registry.kill()
        for thread, pusher in zip(threads, pushers, strict=True):
            thread.join()
            promised |= pusher.promised
    assert len(promised) > 10
    (tmp_path / "config.json").write_text('{"gc": {"interval": "1s", "grace": "1s"}}')
    registry.argv += ["--config", str(tmp_path / "config.json")]
    registry.start()
    time.sleep(2.5)  # two collections: they take what was half done, and nothing else
    reader = Pusher(registry.address)
    for path, content in promised.items():
        if "/manifests/" not in path and not any(path[-64:].encode() in raw for raw in promised.values()):
            continue  # a blob whose manifest did not make it is garbage by now
        reader.connection.request("GET", path)
        answer = reader.connection.getresponse()
        assert (answer.status, answer.read()) == (200, content), path
    registry.kill(signal.SIGTERM)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Process]:
    """A registry with 8 MB of disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    registry = ours_in(disk / "root")
    registry.start()
    yield registry
    registry.kill()
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_nothing_of_the_upload_stays(small: Process) -> None:
    pusher = Pusher(small.address)
    pusher.image("before")
    large = os.urandom(9 << 20)
    for _ in range(2):
        place = pusher.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]
        pusher.connection.request("PATCH", place, large)
        answer = pusher.connection.getresponse()
        assert (answer.status, json.loads(answer.read())["errors"][0]["message"]) == (
            507,
            "no space left on the registry's disk",
        )
        pusher.connection.close()
    pusher.image("after")
    assert set(pusher.promised) >= {"/v2/app/manifests/before", "/v2/app/manifests/after"}


def test_a_client_that_stalls_is_let_go_and_its_upload_goes_on(serve_ours: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"limits": {"patience": 0.3}}')
    registry = serve_ours("--config", str(tmp_path / "config.json"))
    pusher, data = Pusher(registry.address), os.urandom(100_000)
    place = pusher.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]
    host, port = registry.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as stalled:
        head = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        stalled.sendall(head.encode() + data[:40_000])
        assert stalled.recv(100).startswith(b"HTTP/1.1 408 ")
        while stalled.recv(65536):
            pass
    assert pusher.ask("GET", place).headers["Range"] == "0-39999"
    assert pusher.ask("PATCH", place, data[40_000:]).status == 202
    assert pusher.ask("PUT", f"{place}?digest={sha256(data)}").status == 201


NONSENSE = (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"PATCH " + b"/" * 70_000, bytes(100))


@pytest.mark.parametrize("head", NONSENSE, ids=("tls", "version", "long", "zeros"))
def test_what_is_no_request_ends_its_connection_only(ours: Any, head: bytes) -> None:
    host, port = ours.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client, contextlib.suppress(ConnectionError):
        client.sendall(head + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert Pusher(ours.address).ask("GET", "/v2/").status == 200
