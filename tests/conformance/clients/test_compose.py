"""docker compose: a project with most of what a compose file can say, from up to down."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import compose
import docker
import pytest
from engine_daemon import wait_for

PROGRAM = Path(compose.__file__).parent / "docker-compose"
PROJECT = """
services:
  web:
    build:
      context: .
      dockerfile_inline: |
        FROM busybox
        RUN mkdir /www && echo v1 > /www/index.html
        CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
    init: true
    environment: {SETTING: "${SETTING:-one}"}
    ports: ["127.0.0.1::80"]
    expose: ["9000-9001"]
    depends_on:
      database: {condition: service_healthy, restart: true}
      prepare: {condition: service_completed_successfully}
    networks: {front: {aliases: [site]}, back: {}}
    volumes:
      - /kept
      - {type: volume, source: data, target: /part, volume: {subpath: prepared}}
      - {type: bind, source: ./shown, target: /shown, read_only: true}
    secrets: [token]
    configs: [{source: inline, target: /etc/inline.conf}]
    deploy: {resources: {limits: {memory: 64M, cpus: "0.5"}}}
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://site"], interval: 1s, start_period: 10s, start_interval: 100ms}
    post_start: [{command: ["touch", "/tmp/begun"]}]
  database:
    image: busybox
    init: true
    command: sleep 60
    healthcheck: {test: ["CMD", "true"], interval: 100ms}
    networks: [back]
  prepare:
    image: busybox
    command: mkdir -p /data/prepared
    volumes: [data:/data]
    network_mode: none
  neighbour:
    image: busybox
    init: true
    command: sleep 60
    network_mode: service:database
  tool: {image: busybox, profiles: [tools], network_mode: none}
networks: {front: {}, back: {internal: true}}
volumes: {data: {}}
secrets: {token: {file: ./token}}
configs: {inline: {content: "setting=${SETTING:-one}"}}
"""
Compose = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compose]:
    """Runs the program in the project's directory; the project is taken down at the end."""
    (tmp_path / "shown").mkdir()
    (tmp_path / "token").write_text("secret")

    def run(*arguments: str, **setting: str) -> "subprocess.CompletedProcess[str]":
        for name, value in setting.items():
            monkeypatch.setenv(name, value)
        command = [PROGRAM, "--progress", "plain", "-p", "tested", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False)

    yield run
    done = run("--profile", "*", "down", "-t", "0", "-v", "--rmi", "local", "--remove-orphans")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def up(tmp_path: Path, run_compose: Compose) -> Compose:
    """The project, up and healthy."""
    (tmp_path / "compose.yaml").write_text(PROJECT)
    done = run_compose("up", "-d", "--wait")
    assert done.returncode == 0, done.stderr
    return run_compose


def services(run: Compose) -> dict[str, str]:
    """Container of each service."""
    lines = run("ps", "-a", "--format", "json").stdout.splitlines()
    return {shown["Service"]: shown["ID"] for shown in map(json.loads, lines)}


def test_a_project_is_as_its_file_says(up: Compose, client: docker.DockerClient) -> None:
    inside = (
        "cat /run/secrets/token /etc/inline.conf; echo; ls -d /tmp/begun; nslookup database >/dev/null && echo found"
    )
    done = up("exec", "-T", "web", "sh", "-c", inside)
    assert done.stdout.split() == ["secretsetting=one", "/tmp/begun", "found"]
    assert up("exec", "-T", "web", "touch", "/shown/x").returncode == 1
    assert up("exec", "-T", "web", "touch", "/part/x").returncode == 0
    assert up("port", "web", "80").stdout.startswith("127.0.0.1:")
    web = client.containers.get(services(up)["web"])
    assert web.attrs["HostConfig"]["Memory"] == 64 << 20
    assert set(web.attrs["NetworkSettings"]["Ports"]) == {"80/tcp", "9000/tcp", "9001/tcp"}
    host_name = up("exec", "-T", "database", "hostname").stdout
    assert up("exec", "-T", "neighbour", "hostname").stdout == host_name


def test_only_what_changed_is_made_anew_and_keeps_its_volumes(up: Compose) -> None:
    before = services(up)
    assert up("exec", "-T", "web", "touch", "/kept/file").returncode == 0
    assert up("up", "-d", "--wait").returncode == 0
    assert services(up) == before
    assert up("up", "-d", "--wait", SETTING="two").returncode == 0
    after = services(up)
    assert {name for name in after if after[name] != before[name]} == {"web"}
    assert up("exec", "-T", "web", "sh", "-c", "ls /kept; echo $SETTING; cat /etc/inline.conf").stdout.split() == [
        *("file", "two", "setting=two")
    ]


def test_statuses_come_back(up: Compose) -> None:
    assert up("exec", "-T", "web", "sh", "-c", "exit 5").returncode == 5
    ran = up("run", "--rm", "-T", "tool", "sh", "-c", "echo ran; exit 6")
    assert (ran.stdout, ran.returncode) == ("ran\n", 6)
    assert up("up", "--no-deps", "--exit-code-from", "prepare", "prepare").returncode == 0
    assert up("stop", "-t", "0").returncode == up("start").returncode == up("kill").returncode == 0


def test_a_dependency_that_fails_stops_what_waits_for_it(tmp_path: Path, run_compose: Compose) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n  bad: {image: busybox, command: 'false', network_mode: none}\n  waits: {image: busybox, "
        "command: 'true', network_mode: none, depends_on: {bad: {condition: service_completed_successfully}}}\n"
    )
    done = run_compose("up", "-d")
    assert done.returncode == 1
    assert 'service "bad" didn\'t complete successfully: exit 1' in done.stderr


WATCHED = """
services:
  web:
    image: busybox
    init: true
    command: sleep 60
    network_mode: none
    build: {context: .}
    develop: {watch: [{action: sync, path: ./synced, target: /synced}]}
"""


def test_watched_files_are_written_and_deleted(tmp_path: Path, run_compose: Compose) -> None:
    (tmp_path / "synced").mkdir()
    (tmp_path / "compose.yaml").write_text(WATCHED)
    assert run_compose("up", "-d", "--no-build", "--pull", "never").returncode == 0
    command = [PROGRAM, "-p", "tested", "watch", "--no-up"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as watching:
        assert watching.stdout is not None
        assert b"Watch enabled" in watching.stdout.readline()
        try:
            (tmp_path / "synced" / "file").write_text("here")
            wait_for(lambda: synced(run_compose) == "file", 20)
            (tmp_path / "synced" / "file").unlink()
            wait_for(lambda: synced(run_compose) == "", 20)
        finally:
            watching.terminate()


def synced(run: Compose) -> str:
    """What the container has of the watched directory."""
    return run("exec", "-T", "web", "sh", "-c", "ls /synced 2>/dev/null || true").stdout.strip()
