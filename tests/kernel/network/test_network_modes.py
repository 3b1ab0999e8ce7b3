"""Options of a bridge in their effects: gateway modes, no address of its own, no hiding, names of links."""

import asyncio
import subprocess
from typing import Any

import pytest

from sampan.api import networks as n
from sampan.api.ports import PortBinding

Laboratory = Any  # of conftest.py
BRIDGE = "com.docker.network.bridge."
HOST, NEIGHBOUR = "192.0.2.2", "192.0.2.1"


async def make(lab: Laboratory, internal: bool = False, **options: str) -> None:
    """A network called ``net``; options without what all of a bridge begin with."""
    given = {BRIDGE + name: value for name, value in options.items()}
    await lab.networks.create(n.NetworkCreateRequest(name="net", internal=internal, options=given))


async def serve(lab: Laboratory, name: str = "server", **fields: Any) -> tuple[Any, str]:
    """A container with servers at ports 80 and 81, and its address, to which the neighbour has a route."""
    server = await lab.start(name, "net", **fields)
    address = server.endpoints["net"].ip_address
    for port in (80, 81):
        await lab.serve(server, port)
    await lab.do(None, lambda: subprocess.check_call(["ip", "route", "replace", f"{address}/32", "via", HOST]))
    return server, address


async def addresses(link: str) -> str:
    return await asyncio.to_thread(subprocess.check_output, ["ip", "address", "show", "dev", link], text=True)


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        ("nat", ("TimeoutError", "TimeoutError")),
        ("nat-unprotected", (NEIGHBOUR, NEIGHBOUR)),
        ("routed", (NEIGHBOUR, "TimeoutError")),
    ],
)
async def test_what_a_neighbour_with_a_route_reaches(lab: Laboratory, mode: str, found: tuple[str, str]) -> None:
    await make(lab, gateway_mode_ipv4=mode)
    _, address = await serve(lab, ports={"80/tcp": [PortBinding(host_port="8080")]})
    assert (await lab.fetch(None, address, 80), await lab.fetch(None, address, 81)) == found


async def test_an_isolated_network_is_for_its_containers_alone(lab: Laboratory) -> None:
    await make(lab, internal=True, name="alone0", gateway_mode_ipv4="isolated")
    assert "inet " not in await addresses("alone0")
    _, address = await serve(lab)
    client = await lab.start("client", "net")
    assert await lab.fetch(client, address, 80) == client.endpoints["net"].ip_address
    assert client.endpoints["net"].gateway == ""
    assert await lab.fetch_here(address, 80) == "TimeoutError"


async def test_a_bridge_may_be_without_an_address(lab: Laboratory) -> None:
    await make(lab, name="bare0", inhibit_ipv4="true")
    assert "inet " not in await addresses("bare0")
    _, address = await serve(lab)
    client = await lab.start("client", "net")
    assert await lab.fetch(client, address, 80) == client.endpoints["net"].ip_address


async def test_addresses_that_are_not_hidden_are_seen_outside(lab: Laboratory) -> None:
    await make(lab, enable_ip_masquerade="false")
    client, address = await serve(lab, "client")
    await lab.serve(None, 8081)
    assert await lab.fetch(client, NEIGHBOUR, 8081) == address
