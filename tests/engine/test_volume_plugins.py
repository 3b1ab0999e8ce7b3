"""Volumes of a plugin, end to end: a program that speaks Docker's plugin protocol on a socket, and the docker CLI."""

import json
import os
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path("/run/docker/plugins")


class Array(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A plugin whose volumes are directories under ``root``; remembers what it was asked."""

    daemon_threads = True

    def __init__(self, address: Path, root: Path) -> None:
        super().__init__(str(address), Call)
        self.root = root
        self.calls: list[str] = []

    def answer(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(call)
        path = self.root / body.get("Name", "")
        match call:
            case "Activate":
                return {"Implements": ["VolumeDriver"]}
            case "Create":
                path.mkdir()
            case "Remove":
                (path / "file").unlink(missing_ok=True)
                path.rmdir()
            case "Mount" | "Path":
                return {"Mountpoint": str(path)}
            case "Get" if path.is_dir():
                return {"Volume": {"Name": body["Name"], "Mountpoint": str(path), "Status": {"tier": "gold"}}}
            case "Get":
                return {"Err": "no such volume"}
            case "List":
                return {"Volumes": [{"Name": each.name, "Mountpoint": str(each)} for each in self.root.iterdir()]}
        return {"Err": ""}


class Call(BaseHTTPRequestHandler):
    """One call of the protocol: a POST with a JSON object each way."""

    server: Array

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        answer = json.dumps(self.server.answer(self.path.rpartition(".")[2], body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the client of a unix socket has no address to tell."""


@pytest.fixture
def array(tmp_path: Path) -> Iterator[tuple[str, Array]]:
    """The plugin's name, and the plugin."""
    made = not PLUGINS.exists()
    PLUGINS.mkdir(parents=True, exist_ok=True)
    name = f"array{os.getpid()}"
    address = PLUGINS / f"{name}.sock"
    (tmp_path / "array").mkdir()
    with Array(address, tmp_path / "array") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield name, server
        server.shutdown()
    address.unlink()
    if made:
        PLUGINS.rmdir()


def test_a_plugins_volume_is_made_mounted_shown_and_removed(
    daemon: Any, client: Any, array: tuple[str, Array], tmp_path: Path
) -> None:
    name, server = array

    def docker(*words: str) -> str:
        done = daemon.cli(*words)
        assert done.returncode == 0, done.stderr
        return str(done.stdout.decode().strip())

    docker("volume", "create", "-d", name, "-o", "tier=gold", "shelf")
    assert docker("volume", "inspect", "-f", "{{.Driver}} {{.Status.tier}}", "shelf") == f"{name} gold"
    assert docker("volume", "ls", "-q", "--filter", f"driver={name}") == "shelf"
    docker(
        "run", "--rm", "--volume-driver", name, "-v", "shelf:/data", "busybox", "sh", "-c", "mv /data/seed /data/file"
    )
    assert (tmp_path / "array" / "shelf" / "file").read_text() == "seed\n"
    mount = f"type=volume,source=shelf,target=/data,volume-driver={name}"
    assert docker("run", "--rm", "--mount", mount, "busybox", "cat", "/data/file") == "seed"
    assert server.calls.count("Mount") == server.calls.count("Unmount") >= 2
    refused = daemon.cli("volume", "create", "-d", "nosuch", "other")
    assert b'plugin "nosuch" not found' in refused.stderr
    docker("volume", "rm", "shelf")
    assert not (tmp_path / "array" / "shelf").exists()
