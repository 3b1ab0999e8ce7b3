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


NETWORKED = """
services:
  one:
    image: busybox
    command: sleep 60
    stop_grace_period: 0s
    hostname: host1
    domainname: example.org
    networks:
      front:
        aliases: [shared]
        ipv4_address: 10.205.77.10
        ipv6_address: "fd55:77::10"
        mac_address: "02:42:0a:cd:4d:0a"
        gw_priority: 1
        interface_name: lan0
      back: {}
      outside: {driver_opts: {com.docker.network.endpoint.sysctls: "net.ipv4.conf.IFNAME.log_martians=1"}}
    links: ["many:other"]
    extra_hosts: ["gate:host-gateway", "far:192.0.2.1"]
    dns: [192.0.2.53]
    dns_search: [example.org]
    dns_opt: [timeout:1]
    ports: ["127.0.0.1::80", {target: 81, protocol: udp, host_ip: 127.0.0.1}]
    volumes:
      - {type: volume, source: named, target: /data, volume: {nocopy: true}}
      - {type: volume, source: limited, target: /limited}
      - {type: tmpfs, target: /scratch, tmpfs: {size: 1048576, mode: 0o1770}}
      - {type: image, source: busybox, target: /image, image: {subpath: data}}
    shm_size: 32m
    sysctls: {net.ipv4.ip_unprivileged_port_start: 0}
    ulimits: {nofile: {soft: 1000, hard: 2000}}
    cgroup: private
    device_cgroup_rules: ["c 1:3 mr"]
    annotations: {said: so}
    post_start: [{command: ["touch", "/begun"], user: root}]
    pre_stop: [{command: ["touch", "/data/stopping"]}]
  many:
    image: busybox
    command: sleep 60
    stop_grace_period: 0s
    deploy: {replicas: 3}
    networks: {front: {aliases: [shared]}}
networks:
  front:
    attachable: true
    enable_ipv6: true
    driver_opts: {com.docker.network.driver.mtu: "1400"}
    labels: {kind: test}
    ipam:
      config:
        - subnet: 10.205.77.0/24
          ip_range: 10.205.77.128/25
          gateway: 10.205.77.1
          aux_addresses: {router: 10.205.77.128}
        - {subnet: "fd55:77::/64"}
  back: {internal: true}
  outside: {external: true, name: tested-outside}
volumes:
  named: {labels: {kind: test}}
  limited: {driver_opts: {type: tmpfs, device: tmpfs, o: size=1m}}
"""


@pytest.fixture
def networked(tmp_path: Path, client: docker.DockerClient, run_compose: Compose) -> Iterator[Compose]:
    """A project of networks and volumes, up; beside it a network that is not its own."""
    outside = client.networks.create("tested-outside")
    (tmp_path / "compose.yaml").write_text(NETWORKED)
    done = run_compose("up", "-d", "--wait")
    assert done.returncode == 0, done.stderr
    yield run_compose
    assert run_compose("down", "-t", "0", "-v").returncode == 0
    outside.remove()


def test_networks_and_volumes_are_as_their_file_says(networked: Compose, client: docker.DockerClient) -> None:
    def said(script: str) -> list[str]:
        return networked("exec", "-T", "one", "sh", "-c", script).stdout.split()

    front = client.networks.get("tested_front").attrs
    assert (front["Attachable"], front["EnableIPv6"], front["Labels"]["kind"]) == (True, True, "test")
    assert client.networks.get("tested_back").attrs["Internal"]
    assert {"inet", "10.205.77.10/24", "fd55:77::10/64", "1400"} <= set(said("ip addr show lan0"))
    assert said("ip route")[:5] == ["default", "via", "10.205.77.1", "dev", "lan0"]
    assert said("cat /proc/sys/net/ipv4/conf/*/log_martians").count("1") == 1
    others = set(said("nslookup -type=a shared 127.0.0.11 | grep -o '10.205.77.[0-9]*'"))
    assert others == {"10.205.77.10", "10.205.77.129", "10.205.77.130", "10.205.77.131"}
    assert said("nslookup -type=a other 127.0.0.11 | grep -c 10.205.77.1") != ["0"]
    assert {"gate", "192.0.2.1", "host1.example.org"} <= set(said("cat /etc/hosts"))
    assert said("grep -v '#' /etc/resolv.conf")[:4] == ["nameserver", "127.0.0.11", "search", "example.org"]
    assert said("ls -a /data /image") == ["/data:", ".", "..", "/image:", ".", "..", "seed"]
    assert said("grep -cE ' /(limited|scratch) .*size=1024k| /dev/shm .*size=32768k' /proc/mounts") == ["3"]
    assert said("ulimit -n; ls /begun") == ["1000", "/begun"]
    host_config = client.containers.get(services(networked)["one"]).attrs["HostConfig"]
    assert (host_config["Annotations"], host_config["DeviceCgroupRules"]) == ({"said": "so"}, ["c 1:3 mr"])


def test_every_verb_works_on_a_project(networked: Compose, client: docker.DockerClient, tmp_path: Path) -> None:
    def states(service: str) -> list[str]:
        shown = networked("ps", "-a", "--format", "{{.State}}", service)
        return shown.stdout.split()

    assert networked("port", "--protocol", "udp", "one", "81").stdout.startswith("127.0.0.1:")
    for words in (("top", "one"), ("stats", "--no-stream"), ("images",), ("logs", "one"), ("ls",), ("volumes",)):
        assert networked(*words).returncode == 0, words
    (tmp_path / "file").write_text("carried")
    assert networked("cp", "file", "one:/tmp/file").returncode == 0
    assert networked("cp", "one:/tmp/file", "back").returncode == 0
    assert (tmp_path / "back").read_text() == "carried"
    assert networked("pause", "many").returncode == 0
    assert states("many") == ["paused"] * 3
    assert networked("unpause", "many").returncode == networked("restart", "-t", "0", "many").returncode == 0
    for number in (5, 1):
        assert networked("up", "-d", "--scale", f"many={number}").returncode == 0
        assert states("many") == ["running"] * number
    ran = networked("run", "--rm", "-T", "--service-ports", "--use-aliases", "many", "echo", "ran")
    assert (ran.stdout, ran.returncode) == ("ran\n", 0)
    assert networked("-f", "compose.yaml", "stop", "one").returncode == 0  # without a file there are no hooks
    volume = client.containers.run("busybox", "ls /v", volumes=["tested_named:/v"], network_mode="none", remove=True)
    assert volume == b"stopping\n"
    assert networked("start", "one").returncode == networked("rm", "-f", "-s", "many").returncode == 0
    assert states("many") == []
