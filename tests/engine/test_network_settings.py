"""The daemon's settings for networks: where ports are published, whether it carries any itself, who talks to whom."""

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from docker.models.containers import Container

Run = Callable[..., Container]
Shell = Callable[..., str]
SERVER = ["sh", "-c", "while true; do echo hello | nc -l -p 80; done"]


@pytest.fixture(scope="module")
def daemon_arguments() -> tuple[str, ...]:
    return ("--ip", "127.0.0.1", "--userland-proxy=false", "--icc=false", "--mtu", "1400", "--dns", "192.0.2.53")


def answer(address: str, port: int) -> str:
    """What a server says; the error's name if it cannot be reached."""
    try:
        with socket.create_connection((address, port), 1) as connection:
            return connection.recv(100).decode().strip()
    except OSError as error:
        return type(error).__name__


def port_of(container: Container) -> tuple[str, int]:
    container.reload()
    (binding,) = container.ports["80/tcp"]
    return binding["HostIp"], int(binding["HostPort"])


def test_ports_are_published_at_the_default_address_alone(daemon: Any, run: Run, eventually: Any) -> None:
    address, port = port_of(run(SERVER, network_mode="bridge", ports={"80/tcp": None}))
    assert address == "127.0.0.1"
    eventually(lambda: answer(address, port) == "hello")
    assert answer(f"{daemon.subnet}.1", port) == "ConnectionRefusedError"


def test_a_network_may_have_an_address_of_its_own(daemon: Any, run: Run, network: Any, eventually: Any) -> None:
    network("web", options={"com.docker.network.bridge.host_binding_ipv4": f"{daemon.subnet}.1"})
    address, port = port_of(run(SERVER, network_mode="web", ports={"80/tcp": None}))
    assert address == f"{daemon.subnet}.1"
    eventually(lambda: answer(address, port) == "hello")
    assert answer("127.0.0.1", port) == "ConnectionRefusedError"


def test_without_a_proxy_what_is_not_translated_finds_nobody(run: Run) -> None:
    one = run(SERVER, network_mode="bridge", ports={"80/tcp": ("::1", None)})
    one.reload()
    port = int(one.ports["80/tcp"][0]["HostPort"])
    assert answer("::1", port) == "TimeoutError"
    with closing(socket.socket(socket.AF_INET6)) as other, pytest.raises(OSError, match="in use"):
        other.bind(("::1", port))


def test_containers_of_the_default_bridge_do_not_talk_to_each_other(run: Run, shell: Shell, network: Any) -> None:
    one, two = run(network_mode="bridge"), run(network_mode="bridge")
    one.reload()
    address = one.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert two.exec_run(["ping", "-c1", "-W1", address]).exit_code == 1
    network("web")
    three = run(name="three", network_mode="web")
    assert shell(run(network_mode="web"), "ping -c1 -W2 three >/dev/null && echo reached") == "reached"
    assert "mtu 1400" in shell(one, "ip link show eth0")
    assert "nameserver 192.0.2.53" in shell(one, "cat /etc/resolv.conf")
    assert three.status
