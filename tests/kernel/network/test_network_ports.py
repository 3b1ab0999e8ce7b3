"""Published ports: from everywhere, by every form, held against others, changed while the container runs."""

import asyncio
import socket
import subprocess
from typing import Any

import msgspec
import pytest

from sampan.api import networks as n
from sampan.api.ports import PortBinding, PortMap
from sampan.errors import EngineError, InvalidParameter

Laboratory = Any  # of conftest.py
HOST, NEIGHBOUR = "192.0.2.2", "192.0.2.1"


async def run(*command: str) -> str:
    """What a command says on the host."""
    return await asyncio.to_thread(subprocess.check_output, command, text=True)


TABLE = ("nft", "list", "ruleset")


def published(*bindings: str) -> PortMap:
    """``8080:80/tcp`` or ``127.0.0.1:8080:80/tcp`` as a map."""
    ports: PortMap = {}
    for binding in bindings:
        host, port, container = ("", *binding.split(":"))[-3:]
        listed = ports.setdefault(container, [])
        assert listed is not None
        listed.append(PortBinding(host_ip=host, host_port=port))
    return ports


async def test_a_published_port_is_reached_from_everywhere_and_sees_its_clients(lab: Laboratory) -> None:
    server = await lab.start("server", ports=published("8080:80/tcp"))
    client = await lab.start("client")
    await lab.serve(server)
    assert await lab.fetch(None, HOST, 8080) == NEIGHBOUR
    assert await lab.fetch_here("127.0.0.1", 8080) == "172.17.0.1"
    assert await lab.fetch_here(HOST, 8080) == HOST
    assert await lab.fetch_here("::1", 8080) == "172.17.0.1"
    assert await lab.fetch(client, HOST, 8080) == "172.17.0.1"
    assert await lab.fetch(server, HOST, 8080) == "172.17.0.1"


async def test_another_network_reaches_a_published_port_by_its_own_address(lab: Laboratory) -> None:
    await lab.networks.create(n.NetworkCreateRequest(name="web"))
    server = await lab.start("server", ports=published("8080:80/tcp"))
    client = await lab.start("client", "web")
    await lab.serve(server)
    assert await lab.fetch(client, HOST, 8080) == client.endpoints["web"].ip_address


async def test_a_port_published_on_loopback_is_not_seen_by_neighbours(lab: Laboratory) -> None:
    server = await lab.start("server", ports=published("127.0.0.1:8080:80/tcp"))
    await lab.serve(server)
    assert await lab.fetch_here("127.0.0.1", 8080) == "172.17.0.1"
    assert await lab.fetch(None, HOST, 8080) == "ConnectionRefusedError"


async def test_containers_never_reach_the_hosts_loopback(lab: Laboratory) -> None:
    client = await lab.start("client")
    with await asyncio.to_thread(socket.create_server, ("127.0.0.1", 9090)):
        await lab.do(
            client, lambda: subprocess.run(["ip", "route", "add", "127.0.0.1", "via", "172.17.0.1"], check=False)
        )
        assert await lab.fetch(client, "127.0.0.1", 9090) != "nothing"


async def test_udp_is_published_too(lab: Laboratory) -> None:
    server = await lab.start("server", ports=published("5353:53/udp"))
    bound = await lab.do(server, lambda: bound_datagram(53))
    with bound, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(b"question", (HOST, 5353))
        data, address = await asyncio.to_thread(bound.recvfrom, 100)
        bound.sendto(b"answer to " + data, address)
        assert await asyncio.to_thread(client.recv, 100) == b"answer to question"


def bound_datagram(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.settimeout(2)
    bound.bind(("0.0.0.0", port))
    return bound


async def test_ipv6_is_published_to_containers_that_have_it(lab: Laboratory) -> None:
    await lab.networks.create(n.NetworkCreateRequest(name="dual", enable_ipv6=True))
    server = await lab.start("server", "dual", ports=published("8080:80/tcp"))
    listener = await lab.do(server, lambda: socket.create_server(("::", 80), family=socket.AF_INET6))
    endpoint = server.endpoints["dual"]
    with listener:
        address = (endpoint.ipv6_gateway, 8080)
        await asyncio.to_thread(lambda: socket.create_connection(address, 2).close())
        assert listener.accept()[1][0] == endpoint.ipv6_gateway


async def test_random_ports_and_ranges_find_free_ones(lab: Laboratory) -> None:
    first = await lab.start("first", ports=published("7000-7001:80/tcp"))
    second = await lab.start("second", ports=published("7000-7001:80/tcp", ":81/tcp"))
    assert {binding.host_port for binding in first.ports["80/tcp"]} == {"7000"}
    assert {binding.host_port for binding in second.ports["80/tcp"]} == {"7001"}
    (random_port,) = {binding.host_port for binding in second.ports["81/tcp"]}
    assert 32768 <= int(random_port) <= 60999
    with pytest.raises(EngineError, match=r"Bind for 0\.0\.0\.0:7000 failed: port is already allocated"):
        await lab.start("third", ports=published("7000-7001:80/tcp"))


async def test_publish_all_takes_the_exposed_ports(lab: Laboratory) -> None:
    sandbox = await lab.start("one", exposed=["80/tcp", "53/udp"], publish_all=True)
    assert {key: bool(value) for key, value in sandbox.ports.items()} == {"53/udp": True, "80/tcp": True}
    plain = await lab.start("two", exposed=["80/tcp"])
    assert plain.ports == {"80/tcp": None}


async def test_sctp_is_translated_though_this_kernel_has_no_such_sockets(lab: Laboratory) -> None:
    await lab.start("server", ports=published("9000:80/sctp"))
    assert "sctp . 9000 : 172.17.0.2 . 80" in await run(*TABLE)


async def test_a_busy_port_is_an_error_and_the_container_is_not_half_started(lab: Laboratory) -> None:
    with (
        await asyncio.to_thread(socket.create_server, ("0.0.0.0", 8080)),
        pytest.raises(EngineError, match=r"driver failed programming external connectivity on endpoint late .*in use"),
    ):
        await lab.start("late", ports=published("8081:81/tcp", "8080:80/tcp"))
    assert (await lab.networks.inspect("bridge")).containers == {}
    again = await lab.start("again", ports=published("8080:80/tcp", "8081:81/tcp"))
    assert again.endpoints["bridge"].ip_address == "172.17.0.2"


async def test_a_port_is_free_again_after_the_container_stopped(lab: Laboratory) -> None:
    sandbox = await lab.start("one", ports=published("8080:80/tcp"))
    assert await asyncio.to_thread(is_taken, 8080)
    await lab.stop(sandbox)
    assert not await asyncio.to_thread(is_taken, 8080)
    assert "8080" not in await run(*TABLE)


def is_taken(port: int) -> bool:
    try:
        socket.create_server(("0.0.0.0", port)).close()
    except OSError:
        return True
    return False


async def test_an_allow_list_keeps_other_sources_out(lab: Laboratory) -> None:
    label = {"com.sampan.publish.allow.80/tcp": "10.0.0.0/8"}
    server = await lab.start("server", ports=published("8080:80/tcp", "8081:81/tcp"), labels=label)
    await lab.serve(server, 80)
    await lab.serve(server, 81)
    assert await lab.fetch(None, HOST, 8080) == "TimeoutError"
    assert await lab.fetch(None, HOST, 8081) == NEIGHBOUR
    with pytest.raises(InvalidParameter, match="invalid label"):
        await lab.start("bad", ports=published("8082:80/tcp"), labels={"com.sampan.publish.allow": "everyone"})


async def test_a_proxied_network_obeys_the_hosts_input_policy(lab: Laboratory) -> None:
    options = {"com.sampan.network.publish": "proxy"}
    await lab.networks.create(n.NetworkCreateRequest(name="polite", options=options))
    server = await lab.start("server", "polite", ports=published("8080:80/tcp"))
    await lab.serve(server)
    assert await lab.fetch(None, HOST, 8080) == server.endpoints["polite"].gateway
    policy = "table inet polite { chain input { type filter hook input priority 0; tcp dport 8080 drop; }; }"
    await run("nft", policy)
    try:
        assert await lab.fetch(None, HOST, 8080) == "TimeoutError"
    finally:
        await run("nft", "delete table inet polite")


async def test_a_routed_network_opens_published_ports_without_translation(lab: Laboratory) -> None:
    options = {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
    await lab.networks.create(n.NetworkCreateRequest(name="routed", options=options))
    server = await lab.start("server", "routed", ports=published("8080:80/tcp"))
    await lab.serve(server, 80)
    await lab.serve(server, 81)
    address = server.endpoints["routed"].ip_address
    await lab.do(None, lambda: subprocess.run(["ip", "route", "add", f"{address}/32", "via", HOST], check=True))
    assert await lab.fetch(None, address, 80) == NEIGHBOUR
    assert await lab.fetch(None, address, 81) == "TimeoutError"


async def restarted(lab: Laboratory, **settings: object) -> None:
    """The same host with a daemon of other settings."""
    await lab.networks.close()
    lab.database.close()
    lab.config = msgspec.structs.replace(lab.config, **settings)
    await lab.open()


async def reach_directly(lab: Laboratory, server: Any) -> tuple[str, str]:
    """What the neighbour, which has a route to the container, finds at its ports 80 (published) and 81."""
    (endpoint,) = server.endpoints.values()
    address = endpoint.ip_address
    await lab.do(None, lambda: subprocess.check_call(["ip", "route", "replace", f"{address}/32", "via", HOST]))
    for port in (80, 81):
        await lab.serve(server, port)
    return await lab.fetch(None, address, 80), await lab.fetch(None, address, 81)


async def test_a_trusted_link_reaches_published_ports_at_the_containers_address(lab: Laboratory) -> None:
    for name, link in (("trusting", "wan0"), ("other", "wan1")):
        options = {"com.docker.network.bridge.trusted_host_interfaces": f"lo:{link}"}
        await lab.networks.create(n.NetworkCreateRequest(name=name, options=options))
    server = await lab.start("server", "trusting", ports=published("8080:80/tcp"))
    assert await reach_directly(lab, server) == (NEIGHBOUR, "TimeoutError")
    server = await lab.start("second", "other", ports=published("8081:80/tcp"))
    assert await reach_directly(lab, server) == ("TimeoutError", "TimeoutError")


async def test_a_daemon_may_let_everyone_reach_published_ports_directly(lab: Laboratory) -> None:
    await restarted(lab, allow_direct_routing=True)
    server = await lab.start("server", ports=published("8080:80/tcp"))
    assert await reach_directly(lab, server) == (NEIGHBOUR, "TimeoutError")
    assert await lab.fetch(None, HOST, 8080) == NEIGHBOUR


async def test_marked_packets_come_to_every_port(lab: Laboratory) -> None:
    await restarted(lab, bridge_accept_fwmark="0x1/0x3")
    rules = "table ip marks { chain in { type filter hook prerouting priority -200; iifname wan0 meta mark set 5; }; }"
    await run("nft", rules)
    server = await lab.start("server")
    assert await reach_directly(lab, server) == (NEIGHBOUR, NEIGHBOUR)
    await run("nft", "delete", "table", "ip", "marks")


async def test_the_outside_sees_the_address_that_a_network_chose(lab: Laboratory) -> None:
    chosen = "192.0.2.77"
    await run("ip", "address", "add", f"{chosen}/24", "dev", "wan0")
    await lab.networks.create(n.NetworkCreateRequest(name="web", options={"com.docker.network.host_ipv4": chosen}))
    client, usual = await lab.start("client", "web"), await lab.start("usual")
    await lab.serve(None, 80)
    assert await lab.fetch(client, NEIGHBOUR, 80) == chosen
    assert await lab.fetch(usual, NEIGHBOUR, 80) == HOST


async def test_ports_change_while_the_container_runs(lab: Laboratory) -> None:
    server = await lab.start("server", ports=published("8080:80/tcp"))
    await lab.serve(server)
    await lab.networks.publish(server.container_id, published("8081:80/tcp"))
    assert await lab.fetch(None, HOST, 8081) == NEIGHBOUR
    assert await lab.fetch(None, HOST, 8080) == "ConnectionRefusedError"
    assert {binding.host_port for binding in server.ports["80/tcp"]} == {"8081"}
    with (
        await asyncio.to_thread(socket.create_server, ("0.0.0.0", 8082)),
        pytest.raises(EngineError, match="in use"),
    ):
        await lab.networks.publish(server.container_id, published("8082:80/tcp"))
    assert await lab.fetch(None, HOST, 8081) == NEIGHBOUR


async def test_published_ports_survive_a_flushed_ruleset(lab: Laboratory) -> None:
    server = await lab.start("server", ports=published("8080:80/tcp"))
    await lab.serve(server)
    await run("nft", "flush", "ruleset")
    while "8080" not in await run(*TABLE):  # noqa: ASYNC110 the deadline is the test's own
        await asyncio.sleep(0.02)
    assert await lab.fetch(None, HOST, 8080) == NEIGHBOUR
