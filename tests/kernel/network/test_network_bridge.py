"""Containers on bridges: who reaches whom, with which addresses."""

import asyncio
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sampan.api import networks as n
from sampan.api.filters import Filters
from sampan.errors import Conflict, EngineError, Forbidden, InvalidParameter, NoSuchNetwork, NotFound, Unsupported
from sampan.linux.rtnetlink import Link, Rtnetlink

Laboratory = Any  # of conftest.py
HOST, NEIGHBOUR = "192.0.2.2", "192.0.2.1"


def create(name: str, **fields: object) -> n.NetworkCreateRequest:
    return n.NetworkCreateRequest(name=name, **fields)  # type: ignore[arg-type]


def subnet(text: str, **fields: object) -> n.IPAM:
    return n.IPAM(config=[n.IPAMConfig(subnet=text, **fields)])  # type: ignore[arg-type]


async def test_containers_of_one_network_reach_each_other_and_the_outside(lab: Laboratory) -> None:
    one, two = await lab.start("one"), await lab.start("two")
    await lab.serve(one)
    address = one.endpoints["bridge"].ip_address
    assert await lab.fetch(two, address, 80) == two.endpoints["bridge"].ip_address
    assert await lab.fetch(two, HOST, 80) == "ConnectionRefusedError"
    listener = await lab.do(None, lambda: socket.create_server((NEIGHBOUR, 81)))
    with listener:
        await lab.do(one, lambda: socket.create_connection((NEIGHBOUR, 81), 2).close())
        assert listener.accept()[1][0] == HOST


async def test_networks_are_isolated_from_each_other_and_from_neighbours(lab: Laboratory) -> None:
    await lab.networks.create(create("web"))
    inside, outside = await lab.start("inside", "web"), await lab.start("outside")
    await lab.serve(inside)
    address = inside.endpoints["web"].ip_address
    assert await lab.fetch(outside, address, 80) == "TimeoutError"
    await lab.do(None, lambda: subprocess.run(["ip", "route", "add", f"{address}/32", "via", HOST], check=True))
    assert await lab.fetch(None, address, 80) == "TimeoutError"


async def test_an_internal_network_has_no_way_out(lab: Laboratory) -> None:
    await lab.networks.create(create("vault", internal=True))
    one, two = await lab.start("one", "vault"), await lab.start("two", "vault")
    await lab.serve(one)
    assert await lab.fetch(two, one.endpoints["vault"].ip_address, 80) == two.endpoints["vault"].ip_address
    assert await lab.fetch(two, NEIGHBOUR, 80) == "OSError"


async def test_without_inter_container_communication_only_the_host_is_reached(lab: Laboratory) -> None:
    options = {"com.docker.network.bridge.enable_icc": "false"}
    await lab.networks.create(create("quiet", options=options))
    one, two = await lab.start("one", "quiet"), await lab.start("two", "quiet")
    await lab.serve(one)
    assert await lab.fetch(two, one.endpoints["quiet"].ip_address, 80) in ("TimeoutError", "OSError")
    assert await lab.fetch_here(one.endpoints["quiet"].ip_address, 80) != "TimeoutError"
    assert await lab.fetch(two, HOST, 80) == "ConnectionRefusedError"


async def test_both_address_families_work_together(lab: Laboratory) -> None:
    await lab.networks.create(create("dual", enable_ipv6=True))
    one, two = await lab.start("one", "dual"), await lab.start("two", "dual")
    endpoint = one.endpoints["dual"]
    assert endpoint.ip_address
    assert endpoint.global_ipv6_prefix_len == 64
    listener = await lab.do(one, lambda: socket.create_server(("::", 80), family=socket.AF_INET6))
    with listener:
        address = (endpoint.global_ipv6_address, 80)
        await lab.do(two, lambda: socket.create_connection(address, 2).close())
        assert listener.accept()[1][0] == two.endpoints["dual"].global_ipv6_address
    shown = await lab.do(one, lambda: subprocess.check_output(["ip", "-6", "address", "show", "scope", "link"]))
    assert shown.decode().count("inet6 fe80::42:") == 1  # made of the MAC 02:42:…


@pytest.mark.parametrize("number", [0, 3])
async def test_an_endpoint_tells_its_neighbours_as_often_as_asked(lab: Laboratory, number: int) -> None:
    options = {"com.docker.network.advertise_addr_nmsgs": str(number), "com.docker.network.advertise_addr_ms": "100"}
    await lab.networks.create(create("net", options=options))
    listener = await lab.start("listener", "net")
    heard = await lab.do(listener, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ARP)))
    with heard:
        heard.settimeout(3)
        told = await lab.start("told", "net")
        wanted = socket.inet_aton(told.endpoints["net"].ip_address)
        for _ in range(number):
            await asyncio.to_thread(await_announcement, heard, wanted)
        heard.settimeout(0.5)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(await_announcement, heard, wanted)


ETH_P_ARP = 0x0806


def await_announcement(heard: socket.socket, address: bytes) -> None:
    """Return once somebody has told everyone that ``address`` is his (RFC 5227: sender and target are the same)."""
    while True:
        packet = heard.recv(100)
        if packet[14:18] == packet[24:28] == address:
            return


async def test_an_ipv6_only_network_has_no_ipv4_address(lab: Laboratory) -> None:
    await lab.networks.create(create("six", enable_ipv4=False, enable_ipv6=True))
    sandbox = await lab.start("one", "six")
    assert sandbox.endpoints["six"].ip_address == ""
    assert sandbox.endpoints["six"].global_ipv6_address


async def test_wanted_addresses_and_macs_are_given_and_no_one_elses(lab: Laboratory) -> None:
    await lab.networks.create(create("net", ipam=subnet("10.9.0.0/24")))

    def wish(address: str, mac: str = "") -> dict[str, n.EndpointSettings]:
        config = n.EndpointIPAMConfig(ipv4_address=address)
        return {"net": n.EndpointSettings(ipam_config=config, mac_address=mac)}

    sandbox = await lab.start("one", "net", endpoints=wish("10.9.0.77", "02:00:00:00:00:07"))
    shown = sandbox.endpoints["net"]
    assert (shown.ip_address, shown.gateway, shown.mac_address) == ("10.9.0.77", "10.9.0.1", "02:00:00:00:00:07")
    with pytest.raises(Forbidden, match=r"Address already in use: 10\.9\.0\.77"):
        await lab.start("two", "net", endpoints=wish("10.9.0.77"))
    with pytest.raises(InvalidParameter, match=r"no configured subnet contains IP address 10\.8\.0\.1"):
        await lab.start("three", "net", endpoints=wish("10.8.0.1"))
    with pytest.raises(InvalidParameter, match="user-specified IP address is supported on user-defined networks only"):
        await lab.start("four", endpoints={"bridge": wish("172.17.0.9")["net"]})
    with pytest.raises(InvalidParameter, match="invalid MAC address"):
        await lab.start("five", "net", endpoints=wish("", "01:00:00:00:00:01"))


async def test_an_exhausted_subnet_says_so_and_recovers(lab: Laboratory) -> None:
    await lab.networks.create(create("tiny", ipam=subnet("10.9.0.0/29")))
    sandboxes = [await lab.start(f"c{number}", "tiny") for number in range(5)]
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        await lab.start("last", "tiny")
    await lab.stop(sandboxes[2])
    again = await lab.start("again", "tiny")
    assert again.endpoints["tiny"].ip_address == sandboxes[2].endpoints["tiny"].ip_address


async def test_a_running_container_is_connected_and_disconnected(lab: Laboratory) -> None:
    await lab.networks.create(create("web"))
    one, two = await lab.start("one"), await lab.start("two", "web")
    await lab.serve(one)
    await lab.networks.connect("web", n.NetworkConnectRequest(container="one"))
    address = one.endpoints["web"].ip_address
    assert await lab.fetch(two, address, 80) == two.endpoints["web"].ip_address
    assert address in one.hosts
    with pytest.raises(Forbidden, match="endpoint with name one already exists in network web"):
        await lab.networks.connect("web", n.NetworkConnectRequest(container="one"))
    await lab.networks.disconnect("web", n.NetworkDisconnectRequest(container="one"))
    assert await lab.fetch(two, address, 80) in ("TimeoutError", "OSError")
    assert lab.told == [("web", address), ("web", None)]
    with pytest.raises(EngineError, match="is not connected to network web"):
        await lab.networks.disconnect("web", n.NetworkDisconnectRequest(container="one"))


async def test_the_gateway_is_that_of_the_highest_priority(lab: Laboratory) -> None:
    for name in ("alpha", "beta"):
        await lab.networks.create(create(name))

    async def gateway(beta: int) -> str:
        endpoints = {"alpha": n.EndpointSettings(), "beta": n.EndpointSettings(gw_priority=beta)}
        sandbox = await lab.start(f"c{beta}", "alpha", endpoints=endpoints)
        routes = await lab.do(sandbox, lambda: subprocess.check_output(["ip", "route"], text=True))
        return next(name for name, e in sandbox.endpoints.items() if f"default via {e.gateway} " in routes)

    assert await gateway(0) == "alpha"
    assert await gateway(1) == "beta"


async def test_a_network_in_use_is_not_removed(lab: Laboratory) -> None:
    await lab.networks.create(create("web"))
    sandbox = await lab.start("one", "web")
    with pytest.raises(Forbidden, match=r'network web has active endpoints \(name:"one" id:"[0-9a-f]{12}"\)'):
        await lab.networks.remove("web")
    assert (await lab.networks.prune(Filters())).networks_deleted is None
    await lab.stop(sandbox)
    assert (await lab.networks.prune(Filters())).networks_deleted == ["web"]
    with pytest.raises(NoSuchNetwork, match="network web not found"):
        await lab.networks.remove("web")


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        (create(""), InvalidParameter, "name is empty"),
        (create("x" * 300), InvalidParameter, "expected at most 255"),
        (create(" "), InvalidParameter, "name is empty"),
        (create("host"), Forbidden, "operation is not permitted on predefined host network"),
        (create("n", driver="ipvlan"), Unsupported, "ipvlan networks need a kernel with CONFIG_IPVLAN"),
        (create("n", driver="overlay"), Forbidden, "not a swarm manager"),
        (create("n", driver="weave"), NotFound, 'plugin "weave" not found'),
        (create("n", driver="host"), Forbidden, 'only one instance of "host" network is allowed'),
        (create("n", ipam=subnet("10.9.0.0")), InvalidParameter, "expected an address with prefix length"),
        (create("n", ipam=subnet("10.9.0.1/24")), InvalidParameter, "it should be 10.9.0.0/24"),
        (create("n", ipam=subnet("10.9.0.0/24", gateway="10.8.0.1")), InvalidParameter, "invalid gateway"),
        (create("n", ipam=subnet("10.9.0.0/24", ip_range="10.8.0.0/25")), InvalidParameter, "invalid ip-range"),
        (create("n", ipam=subnet("172.17.0.0/24")), Forbidden, "Pool overlaps with other one"),
        (create("n", options={"com.docker.network.driver.mtu": "9"}), InvalidParameter, "invalid MTU number: 9"),
        (create("n", options={"com.docker.network.bridge.name": "x" * 16}), InvalidParameter, "interface name"),
        (create("n", options={"com.docker.network.bridge.name": "wan0"}), InvalidParameter, "is not a bridge"),
        (create("n", driver="macvlan"), EngineError, "use -o parent=LINK"),
    ],
    ids=lambda value: value.name[:20] + value.driver if isinstance(value, n.NetworkCreateRequest) else None,
)
async def test_bad_requests_are_refused_and_leave_nothing(
    lab: Laboratory, request_: n.NetworkCreateRequest, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        await lab.networks.create(request_)
    assert sorted(network.name for network in await lab.networks.list(Filters())) == ["bridge", "host", "none"]


async def test_a_name_is_taken_once(lab: Laboratory) -> None:
    await lab.networks.create(create("web"))
    with pytest.raises(Conflict, match="network with name web already exists"):
        await lab.networks.create(create("web"))


async def test_predefined_networks_stay(lab: Laboratory) -> None:
    for name in ("bridge", "host", "none"):
        with pytest.raises(Forbidden, match=f"{name} is a pre-defined network and cannot be removed"):
            await lab.networks.remove(name)


async def test_settings_come_from_a_configuration_network(lab: Laboratory) -> None:
    await lab.networks.create(create("plan", config_only=True, ipam=subnet("10.9.0.0/24")))
    await lab.networks.create(create("real", config_from=n.ConfigReference(network="plan")))
    assert (await lab.networks.inspect("real")).ipam.config[0].subnet == "10.9.0.0/24"
    with pytest.raises(Forbidden, match="cannot create endpoint on configuration-only network"):
        await lab.start("one", "plan")
    with pytest.raises(Forbidden, match='configuration network "plan" is in use'):
        await lab.networks.remove("plan")


async def test_macvlan_puts_a_container_beside_the_host(lab: Laboratory) -> None:
    await lab.networks.create(
        create("lan", driver="macvlan", ipam=subnet("192.0.2.0/24", gateway="192.0.2.1"), options={"parent": "wan0"})
    )
    config = n.EndpointIPAMConfig(ipv4_address="192.0.2.50")
    sandbox = await lab.start("one", "lan", endpoints={"lan": n.EndpointSettings(ipam_config=config)})
    await lab.serve(sandbox)
    assert await lab.fetch(None, "192.0.2.50", 80) == NEIGHBOUR


async def test_a_macvlan_that_comes_first_has_the_first_name_and_the_bridge_the_second(lab: Laboratory) -> None:
    await lab.networks.create(
        create("lan", driver="macvlan", ipam=subnet("192.0.2.0/24", gateway="192.0.2.1"), options={"parent": "wan0"})
    )
    await lab.networks.create(create("web", ipam=subnet("10.9.0.0/24")))
    on_lan = n.EndpointSettings(ipam_config=n.EndpointIPAMConfig(ipv4_address="192.0.2.50"))
    sandbox = await lab.start("one", "lan", endpoints={"lan": on_lan, "web": n.EndpointSettings()})
    with Rtnetlink() as outside:
        indices = {outside.link("wan0").ifindex}  # type: ignore[union-attr]
    links = await lab.do(sandbox, lambda: Rtnetlink().links())
    kinds = {link.name: link.kind for link in links if link.name != "lo"}
    assert kinds == {"eth0": "macvlan", "eth1": "veth"}
    assert {link.parent for link in links if link.kind == "macvlan"} == indices


async def test_of_changes_made_together_the_first_failure_is_raised_and_the_rest_done(lab: Laboratory) -> None:
    sandbox = await lab.start("one")

    def change() -> Link | None:
        with Rtnetlink() as inner:
            index = inner.index("eth0")
            with pytest.raises(OSError, match="link_set: No such device"), inner.batch():
                inner.link_set(999, up=True)
                inner.link_set(index, mtu=1400)
                inner.link_set(998, up=True)
            assert inner.index("missing0") == 0
            return inner.link("eth0")

    link = await lab.do(sandbox, change)
    assert link
    assert link.mtu == 1400


async def test_none_has_a_loopback_and_host_the_hosts_links(lab: Laboratory) -> None:
    alone, hosted = await lab.start("alone", "none"), await lab.start("hosted", "host")
    names = await lab.do(alone, lambda: {name for _, name in socket.if_nameindex()})
    assert names == {"lo"}
    assert "wan0" in await lab.do(hosted, lambda: {name for _, name in socket.if_nameindex()})


async def test_inspect_shows_running_containers_and_how_full_the_pool_is(lab: Laboratory) -> None:
    await lab.networks.create(create("web", ipam=subnet("10.9.0.0/24")))
    sandbox = await lab.start("one", "web")
    shown = await lab.networks.inspect("web")
    assert shown.containers[sandbox.container_id].ipv4_address == "10.9.0.2/24"
    assert shown.status
    assert shown.status.ipam.subnets["10.9.0.0/24"].ips_in_use == 4
    assert lab.events == ["create", "connect"]


async def test_forwarding_ipv6_does_not_cost_the_host_its_router(lab: Laboratory) -> None:
    forwards, listens = (Path("/proc/sys/net/ipv6/conf", name) for name in ("all/forwarding", "wan0/accept_ra"))
    forwards.write_text("0")
    listens.write_text("1")
    await lab.networks.create(create("six", enable_ipv6=True))
    assert (forwards.read_text(), listens.read_text()) == ("1\n", "2\n")
