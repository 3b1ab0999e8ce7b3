"""Networks end to end: the docker CLI's flags and docker-py's calls on real containers."""

import json
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from docker.errors import APIError
from docker.models.containers import Container

Run = Callable[..., Container]
Shell = Callable[..., str]


def answer(port: int, host: str = "127.0.0.1") -> str:
    """What a published server says; empty while nobody listens."""
    try:
        with socket.create_connection((host, port), 3) as connection:
            return connection.recv(100).decode().strip()
    except ConnectionRefusedError:
        return ""


SERVER = "while true; do echo hello | nc -l -p 80; done"


def host_port(container: Container, port: str = "80/tcp") -> int:
    container.reload()
    return int(container.ports[port][0]["HostPort"])


def test_a_container_on_the_default_bridge_has_address_route_and_hosts_line(
    daemon: Any, run: Run, shell: Shell
) -> None:
    one = run(network_mode="bridge", hostname="web")
    one.reload()
    address = one.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert f"inet {address}/24" in shell(one, "ip addr show eth0")
    assert f"default via {daemon.subnet}.1" in shell(one, "ip route")
    assert f"{address}\tweb" in shell(one, "cat /etc/hosts")
    assert "nameserver" in shell(one, "cat /etc/resolv.conf")
    shell(one, f"ping -c 1 -W 2 {daemon.subnet}.1")


def test_names_aliases_and_links_resolve_on_a_user_network(run: Run, shell: Shell, network: Any) -> None:
    network("web")
    run(name="one", network_mode=None, network="web")
    two = run(name="two", network_mode=None, network="web")
    for name in ("one", "one.web", "two"):
        shell(two, f"ping -c 1 -W 2 {name}")
    assert "nameserver 127.0.0.11" in shell(two, "cat /etc/resolv.conf")


def test_the_cli_reaches_every_endpoint_setting(daemon: Any, client: Any, run: Run, shell: Shell, network: Any) -> None:
    made = daemon.cli(
        *(
            "network",
            "create",
            "--subnet",
            "10.231.7.0/24",
            "--gateway",
            "10.231.7.254",
            "--ip-range",
            "10.231.7.128/25",
        ),
        *("--aux-address", "router=10.231.7.129", "--label", "a=b", "-o", "com.docker.network.driver.mtu=1300", "plan"),
    )
    assert made.returncode == 0, made.stderr
    try:
        started = daemon.cli(
            *(
                "run",
                "-d",
                "--name",
                "one",
                "--network",
                "name=plan,alias=www,ip=10.231.7.9,mac-address=02:42:00:00:00:09",
            ),
            *("busybox", "sleep", "60"),
        )
        assert started.returncode == 0, started.stderr
        shown = json.loads(daemon.cli("inspect", "one").stdout)[0]["NetworkSettings"]["Networks"]["plan"]
        assert (shown["IPAddress"], shown["MacAddress"]) == ("10.231.7.9", "02:42:00:00:00:09")
        assert shown["DNSNames"][:2] == ["one", "www"]
        text = shell(client.containers.get("one"), "ip link show eth0; ip route")
        assert "mtu 1300" in text
        assert "default via 10.231.7.254" in text
        other = daemon.cli("run", "--rm", "--network", "plan", "busybox", "ping", "-c1", "-W2", "www")
        assert other.returncode == 0, other.stdout + other.stderr
        refused = daemon.cli("network", "rm", "plan")
        assert b'has active endpoints (name:"one"' in refused.stderr
    finally:
        daemon.cli("rm", "-f", "one")
        assert daemon.cli("network", "rm", "plan").returncode == 0


def test_a_running_container_is_connected_and_disconnected(run: Run, shell: Shell, network: Any) -> None:
    web = network("web")
    one, two = run(name="one", network_mode="bridge"), run(name="two", network_mode=None, network="web")
    web.connect(one, aliases=["late"])
    shell(two, "ping -c 1 -W 2 late")
    assert "eth1" in shell(one, "ip link")
    one.reload()
    assert set(one.attrs["NetworkSettings"]["Networks"]) == {"bridge", "web"}
    web.disconnect(one)
    assert "eth1" not in shell(one, "ip link")
    web.reload()
    assert [container.name for container in web.containers] == ["two"]


def test_a_published_port_answers_and_is_gone_with_its_container(run: Run, eventually: Any) -> None:
    one = run(["sh", "-c", SERVER], network_mode="bridge", ports={"80/tcp": None})
    port = host_port(one)
    eventually(lambda: answer(port) == "hello")
    one.remove(force=True)
    assert answer(port) == ""


def test_a_busy_port_fails_the_start_in_dockers_words(client: Any, run: Run) -> None:
    one = run(network_mode="bridge", ports={"80/tcp": ("127.0.0.1", None)})
    port = host_port(one)
    two = client.containers.create("busybox", "sleep 60", ports={"80/tcp": ("127.0.0.1", port)})
    with pytest.raises(APIError, match=rf"Bind for 127\.0\.0\.1:{port} failed: port is already allocated"):
        two.start()
    two.reload()
    assert two.status == "created"
    one.remove(force=True)
    two.start()


def test_an_endpoint_of_an_internal_network_has_no_gateway(run: Run, network: Any) -> None:
    network("inner", internal=True)
    one = run(network_mode="inner")
    one.reload()
    shown = one.attrs["NetworkSettings"]["Networks"]["inner"]
    assert (bool(shown["IPAddress"]), shown["Gateway"]) == (True, "")


def test_containers_share_a_namespace(run: Run, shell: Shell) -> None:
    one = run(name="one", network_mode="bridge")
    two = run(network_mode="container:one")
    assert shell(one, "readlink /proc/1/ns/net") == shell(two, "readlink /proc/1/ns/net")


def test_networks_and_ports_survive_a_killed_daemon(
    daemon: Any, client: Any, run: Run, shell: Shell, eventually: Any
) -> None:
    client.networks.create("kept", labels={"a": "b"})
    one = run(["sh", "-c", SERVER], name="one", network_mode=None, network="kept", ports={"80/tcp": None})
    port = host_port(one)
    daemon.stop(9)
    eventually(lambda: answer(port) == "hello")
    daemon.start()
    eventually(lambda: answer(port) == "hello")
    with closing(daemon.client()) as again:
        container = again.containers.get("one")
        assert shell(container, "ping -c 1 -W 2 one.kept")
        container.remove(force=True)
        again.networks.get("kept").remove()


def test_prune_takes_what_nobody_uses(client: Any, run: Run, network: Any) -> None:
    for name in ("used", "unused"):
        network(name)
    run(network_mode=None, network="used")
    assert client.networks.prune()["NetworksDeleted"] == ["unused"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("network", "create", "bridge"), "operation is not permitted on predefined bridge network"),
        (("network", "create", "-d", "overlay", "x"), "not a swarm manager"),
        (("network", "create", "--scope", "swarm", "x"), "cannot create a swarm scoped network"),
        (("network", "create", "--config-from", "nosuch", "x"), 'configuration network "nosuch" does not exist'),
        (("network", "connect", "host", "nosuch"), "No such container: nosuch"),
        (
            ("network", "create", "--subnet", "{subnet}.0/25", "x"),
            "Pool overlaps with other one on this address space",
        ),
        (("network", "rm", "host"), "host is a pre-defined network and cannot be removed"),
        (("network", "inspect", "nosuch"), "network nosuch not found"),
        (("run", "--rm", "--network", "nosuch", "busybox", "true"), "network nosuch not found"),
        (("run", "--rm", "--ip", "{subnet}.9", "busybox", "true"), "supported on user-defined networks only"),
    ],
)
def test_errors_are_sentences(daemon: Any, client: Any, arguments: tuple[str, ...], said: str) -> None:
    result = daemon.cli(*(each.replace("{subnet}", daemon.subnet) for each in arguments))
    assert result.returncode != 0
    assert said in result.stderr.decode()
