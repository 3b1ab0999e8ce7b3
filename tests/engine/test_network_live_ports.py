"""Ports published and withdrawn while a container runs: ``POST /containers/{id}/update`` and ``sampan update``."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from docker.errors import APIError
from docker.models.containers import Container

Run = Callable[..., Container]
SERVER = "while true; do echo hello | nc -l -p 80; done"
ECHO = "nc -ll -p 81 -e cat"


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of the host that nobody has right now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        number = one.getsockname()[1]
    yield number


def answer(port: int) -> str:
    """What a published server says; empty while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), 3) as connection:
            return connection.recv(100).decode().strip()
    except ConnectionRefusedError:
        return ""


def update(client: Any, container: Container, **body: Any) -> None:
    """POST the extension, which docker-py does not know."""
    response = client.api._post_json(client.api._url("/containers/{0}/update", container.id), data=body)
    client.api._raise_for_status(response)


def publish(client: Any, container: Container, **ports: str) -> None:
    bindings = {f"{port.strip('p')}/tcp": [{"HostIp": "", "HostPort": number}] for port, number in ports.items()}
    update(client, container, PortBindings=bindings)


def number_of(container: Container, port: str) -> int:
    container.reload()
    return int(container.ports[port][0]["HostPort"])


def test_a_running_container_gets_a_port_and_loses_it(
    run: Run, client: Any, daemon: Any, free_port: int, eventually: Any
) -> None:
    one = run(["sh", "-c", SERVER], name="one", network_mode="bridge")
    publish(client, one, p80=str(free_port))
    eventually(lambda: answer(free_port) == "hello")
    assert daemon.cli("port", "one").stdout.splitlines()[0] == f"80/tcp -> 0.0.0.0:{free_port}".encode()
    assert f"0.0.0.0:{free_port}->80/tcp".encode() in daemon.cli("ps").stdout
    publish(client, one)
    assert answer(free_port) == ""
    assert number_or_none(one) is None


def number_or_none(container: Container) -> object:
    container.reload()
    return container.ports.get("80/tcp")


def test_ports_that_stay_keep_their_number_and_their_connections(
    run: Run, client: Any, free_port: int, eventually: Any
) -> None:
    one = run(["sh", "-c", f"{ECHO} & {SERVER}"], network_mode="bridge", ports={"81/tcp": None})
    number = number_of(one, "81/tcp")
    with closing(connected(number, eventually)) as connection:
        publish(client, one, p80=str(free_port), p81="")
        assert number_of(one, "81/tcp") == number
        connection.sendall(b"still there")
        assert connection.recv(100) == b"still there"
        eventually(lambda: answer(free_port) == "hello")


def connected(port: int, eventually: Any) -> socket.socket:
    """A connection to an echo server that is coming up."""
    made: list[socket.socket] = []

    def attempt() -> bool:
        try:
            one = socket.create_connection(("127.0.0.1", port), 3)
        except ConnectionRefusedError:
            return False
        one.sendall(b"x")
        if one.recv(1) == b"x":
            made.append(one)
            return True
        one.close()
        return False

    eventually(attempt)
    return made[0]


def test_a_busy_port_changes_nothing(run: Run, client: Any, free_port: int, eventually: Any) -> None:
    one = run(["sh", "-c", SERVER], network_mode="bridge", ports={"80/tcp": free_port})
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        with pytest.raises(APIError, match="address already in use"):
            publish(client, one, p80=str(other.getsockname()[1]))
    assert number_of(one, "80/tcp") == free_port
    assert one.attrs["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] == str(free_port)
    eventually(lambda: answer(free_port) == "hello")


def test_ports_published_later_survive_restarts(
    daemon: Any, run: Run, client: Any, free_port: int, eventually: Any
) -> None:
    one = run(["sh", "-c", SERVER], network_mode="bridge")
    publish(client, one, p80=str(free_port))
    daemon.stop(9)
    daemon.start()
    eventually(lambda: answer(free_port) == "hello")
    with closing(daemon.client()) as again:
        container = again.containers.get(one.id)
        container.restart(timeout=0)
        eventually(lambda: answer(free_port) == "hello")
        container.remove(force=True)


def test_a_stopped_container_has_its_new_ports_when_it_starts(
    run: Run, client: Any, free_port: int, eventually: Any
) -> None:
    one = run(["sh", "-c", SERVER], network_mode="bridge")
    one.stop(timeout=0)
    publish(client, one, p80=str(free_port))
    assert answer(free_port) == ""
    one.start()
    eventually(lambda: answer(free_port) == "hello")


@pytest.mark.parametrize(
    ("mode", "bindings", "said"),
    [
        ("host", {"80/tcp": [{"HostPort": "1"}]}, "port publishing and the host type network mode"),
        ("none", {"80/tcp": [{"HostPort": "1"}]}, "port publishing and the none type network mode"),
        ("bridge", {"80/tcp": [{"HostPort": "99999"}]}, 'invalid port specification: "99999"'),
        ("bridge", {"80/icmp": [{}]}, "invalid proto: icmp"),
    ],
)
def test_what_cannot_be_published_is_refused(run: Run, client: Any, mode: str, bindings: Any, said: str) -> None:
    with pytest.raises(APIError, match=said) as caught:
        update(client, run(network_mode=mode), PortBindings=bindings)
    assert caught.value.status_code == 400


def test_limits_change_without_touching_ports(run: Run, client: Any) -> None:
    one = run(network_mode="bridge", ports={"80/tcp": None})
    number = number_of(one, "80/tcp")
    one.update(mem_limit="64m", memswap_limit="64m")
    assert number_of(one, "80/tcp") == number


def test_the_cli_publishes_and_withdraws(daemon: Any, run: Run, client: Any, free_port: int) -> None:
    one = run(name="one", network_mode="bridge", ports={"81/tcp": None})
    kept = number_of(one, "81/tcp")
    assert sampan(daemon, "update", "--publish", f"127.0.0.1:{free_port}:80", "one") == "one\n"
    shown = json.loads(daemon.cli("inspect", "one").stdout)[0]["NetworkSettings"]["Ports"]
    assert shown["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(free_port)}]
    sampan(daemon, "update", "--unpublish", "80", "one")
    assert (number_or_none(one), number_of(one, "81/tcp")) == (None, kept)


def sampan(daemon: Any, *words: str) -> str:
    command = [sys.executable, "-m", "sampan.cli.main", "-H", daemon.url, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def test_limits_and_ports_are_updated_together_or_not_at_all(run: Run, client: Any, free_port: int) -> None:
    one = run(["sleep", "60"], network_mode="bridge", mem_limit="64m")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", free_port))
        taken.listen()
        bindings = {"80/tcp": [{"HostIp": "", "HostPort": str(free_port)}]}
        with pytest.raises(APIError):
            update(client, one, Memory=32 << 20, PortBindings=bindings)
    one.reload()
    assert one.attrs["HostConfig"]["Memory"] == 64 << 20
    assert one.attrs["HostConfig"]["PortBindings"] in ({}, None)
    limit = one.exec_run(["cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"])
    assert str(64 << 20) in limit.output.decode()
