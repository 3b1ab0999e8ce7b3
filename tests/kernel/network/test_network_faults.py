"""The daemon dies, links vanish, namespaces end: what runs goes on, what is left over goes away."""

import asyncio
import dataclasses
import socket
import subprocess
from typing import Any

from sampan.api import networks as n
from sampan.api.ports import PortBinding

Laboratory = Any  # of conftest.py
HOST, NEIGHBOUR = "192.0.2.2", "192.0.2.1"


async def run(*command: str) -> str:
    """What a command says on the host."""
    return await asyncio.to_thread(subprocess.check_output, command, text=True)


async def test_running_containers_outlive_the_daemon_and_are_adopted(lab: Laboratory) -> None:
    await lab.networks.create(n.NetworkCreateRequest(name="web"))
    ports = {"80/tcp": [PortBinding(host_port="8080")]}
    server = await lab.start("server", "web", ports=ports)
    client = await lab.start("client", "web")
    await lab.serve(server)
    address = server.endpoints["web"].ip_address
    await lab.crash()
    listing = await lab.do(None, lambda: lab_fetch(HOST, 8080))
    assert listing == NEIGHBOUR
    networks = await lab.open()
    members = [replaced(lab.members[s.container_id], lab.pids[s.container_id]) for s in (server, client)]
    adopted = await networks.restore(members)
    again = adopted[server.container_id]
    assert again.endpoints["web"].ip_address == address
    assert {b.host_port for b in again.ports["80/tcp"] or []} == {"8080"}
    assert await lab.fetch(None, HOST, 8080) == NEIGHBOUR
    assert await lab.fetch(adopted[client.container_id], address, 80) == client.endpoints["web"].ip_address
    late = await lab.start("late", "web")
    assert late.endpoints["web"].ip_address not in (address, client.endpoints["web"].ip_address)


def lab_fetch(host: str, port: int) -> str:
    with socket.create_connection((host, port), 2) as connection:
        return connection.recv(100).decode()


def replaced(member: Any, pid: int) -> Any:
    return dataclasses.replace(member, pid=pid)


async def test_a_restart_gives_back_what_belongs_to_nobody(lab: Laboratory) -> None:
    sandbox = await lab.start("gone", ports={"80/tcp": [PortBinding(host_port="8080")]})
    await lab.crash()
    networks = await lab.open()
    assert await networks.restore([]) == {}
    assert "8080" not in await run("nft", "list", "ruleset")
    fresh = await lab.start("fresh", ports={"80/tcp": [PortBinding(host_port="8080")]})
    assert fresh.endpoints["bridge"].ip_address == sandbox.endpoints["bridge"].ip_address


async def test_networks_are_as_they_were_after_a_restart(lab: Laboratory) -> None:
    made = await lab.networks.create(n.NetworkCreateRequest(name="web", labels={"a": "b"}))
    before = await lab.networks.inspect("web")
    bridge = await lab.networks.inspect("bridge")
    await lab.crash()
    networks = await lab.open()
    await networks.restore([])
    assert await networks.inspect(made.id) == before
    assert await networks.inspect("bridge") == bridge


async def test_a_bridge_deleted_behind_our_back_comes_back(lab: Laboratory) -> None:
    await lab.networks.create(n.NetworkCreateRequest(name="web"))
    one = await lab.start("one", "web")
    await lab.serve(one)
    link = next(line.split(":")[1].strip() for line in (await run("ip", "-o", "link")).splitlines() if ": br-" in line)
    await run("ip", "link", "delete", link)
    two = await lab.start("two", "web")
    address = one.endpoints["web"].ip_address
    assert await lab.fetch(two, address, 80) == two.endpoints["web"].ip_address


async def test_a_network_whose_bridge_is_gone_can_be_removed(lab: Laboratory) -> None:
    await lab.networks.create(n.NetworkCreateRequest(name="web"))
    link = next(line.split(":")[1].strip() for line in (await run("ip", "-o", "link")).splitlines() if ": br-" in line)
    await run("ip", "link", "delete", link)
    await lab.networks.remove("web")


async def test_two_daemons_share_a_host(lab: Laboratory, tmp_path: Any) -> None:
    other_root = tmp_path / "other"
    other_root.mkdir()
    other = type(lab)(other_root, lab.neighbour)
    await other.open()
    mine = await lab.start("mine", ports={"80/tcp": [PortBinding(host_port="8080")]})
    theirs = await other.start("theirs", ports={"80/tcp": [PortBinding(host_port="8081")]})
    await lab.serve(mine)
    await other.serve(theirs)
    assert mine.endpoints["bridge"].gateway != theirs.endpoints["bridge"].gateway
    assert await lab.fetch(None, HOST, 8080) == NEIGHBOUR
    assert await lab.fetch(None, HOST, 8081) == NEIGHBOUR
    await other.stop(theirs)
    other.close()
    await other.networks.close()
    other.database.close()
    assert await lab.fetch(None, HOST, 8080) == NEIGHBOUR
