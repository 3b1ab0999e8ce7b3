"""An authorization plugin as a process of its own, found by its socket, deciding about the docker CLI."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_daemon import wait_for

IMAGE = "busybox:latest"
NAME = "sampan-test-guard"
PLUGINS = Path("/run/docker/plugins")
PLUGIN = """
import base64, http.server, json, os, socketserver, sys

class Guard(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.loads(base64.b64decode(asked.get("RequestBody", "")) or "{}")
        privileged = (body.get("HostConfig") or {}).get("Privileged")
        answer = {"Implements": ["authz"]} if self.path == "/Plugin.Activate" else {
            "Allow": not privileged, "Msg": "no privileged containers"}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def address_string(self):
        return "daemon"
    def log_message(self, *_):
        pass

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

Server(sys.argv[1], Guard).serve_forever()
"""


@pytest.fixture(scope="module")
def plugin() -> "Iterator[subprocess.Popen[bytes]]":
    """The plugin, running."""
    PLUGINS.mkdir(parents=True, exist_ok=True)
    path = PLUGINS / f"{NAME}.sock"
    path.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-c", PLUGIN, str(path)])
    deadline = time.monotonic() + 10
    while not path.is_socket():
        assert time.monotonic() < deadline, "the plugin does not listen"
        time.sleep(0.02)
    yield process
    process.terminate()
    process.wait(10)
    path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def configuration(daemon_root: Path) -> Path:
    """The daemon's configuration file: it asks the plugin."""
    path = daemon_root / "daemon.json"
    path.write_text(json.dumps({"authorization-plugins": [NAME]}))
    return path


@pytest.fixture(scope="module")
def daemon_arguments(plugin: Any, configuration: Path) -> tuple[str, ...]:
    """The daemon reads the file."""
    return ("--config-file", str(configuration))


def test_what_the_plugin_allows_works_streams_and_all(daemon: Any, client: Any) -> None:
    ran = daemon.cli("run", "-i", "--rm", "--net", "none", IMAGE, "cat", input=b"through\n")
    assert (ran.returncode, ran.stdout) == (0, b"through\n")


def test_what_the_plugin_denies_is_refused_in_its_words(daemon: Any, client: Any) -> None:
    ran = daemon.cli("create", "--privileged", IMAGE)
    assert ran.returncode == 1
    assert f"authorization denied by plugin {NAME}: no privileged containers" in ran.stderr.decode()
    assert client.containers.list(all=True) == []


def test_a_daemon_whose_plugin_is_missing_does_not_start(refusal_to_start: Any) -> None:
    said = refusal_to_start("--authorization-plugin", "sampan-test-none")
    assert 'Error validating authorization plugin: sampan-test-none: plugin "sampan-test-none" not found' in said


def test_a_reload_takes_plugins_away_and_brings_them_back_unless_they_cannot_be_asked(
    daemon: Any, client: Any, configuration: Path
) -> None:
    def reloaded(plugins: list[str], told: str) -> None:
        before = daemon.log.count(told)
        configuration.write_text(json.dumps({"authorization-plugins": plugins}))
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: daemon.log.count(told) > before)

    create = ("create", "--privileged", "--net", "none", IMAGE, "true")
    reloaded([], "Reloaded configuration")
    assert daemon.cli(*create).returncode == 0
    reloaded([NAME], "Reloaded configuration")
    assert daemon.cli(*create).returncode == 1
    reloaded(["sampan-test-none"], "Error reloading configuration: Error validating authorization plugin")
    assert daemon.cli(*create).returncode == 1
