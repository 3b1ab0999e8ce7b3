"""The resolver in each container: who is found under which name, by whom, and what is asked of others."""

import dataclasses
import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from sampan.api import networks as n
from sampan.errors import EngineError, InvalidParameter

Laboratory = Any  # of conftest.py
NEIGHBOUR = "192.0.2.1"


async def ask(lab: Laboratory, sandbox: Any, name: str, kind: str = "A", *, tcp: bool = False) -> list[str]:
    """The answers in order, or the status where there are none."""
    query = DNSRecord.question(name, kind)
    raw = await lab.do(sandbox, lambda: query.send("127.0.0.11", 53, timeout=3, tcp=tcp))
    reply = DNSRecord.parse(raw)
    return [str(record.rdata) for record in reply.rr] or [RCODE.get(reply.header.rcode)]


async def network(lab: Laboratory, name: str, **fields: Any) -> None:
    await lab.networks.create(n.NetworkCreateRequest(name=name, **fields))


def aliased(name: str, *aliases: str) -> dict[str, n.EndpointSettings]:
    return {name: n.EndpointSettings(aliases=list(aliases))}


async def test_containers_are_found_by_every_name_they_have(lab: Laboratory) -> None:
    await network(lab, "web")
    one = await lab.start("one", "web", endpoints=aliased("web", "www"))
    two = await lab.start("two", "web")
    address = one.endpoints["web"].ip_address
    for name in ("one", "ONE", "one.web", "www", "www.web", one.container_id[:12]):
        assert await ask(lab, two, name) == [address], name
    assert await ask(lab, two, "one", tcp=True) == [address]
    assert await ask(lab, two, "one", "AAAA") == ["NOERROR"]
    reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    assert await ask(lab, two, reverse, "PTR") == ["one.web."]
    assert "\nnameserver 127.0.0.11\n" in two.resolv_conf


async def test_names_end_with_their_container(lab: Laboratory) -> None:
    await network(lab, "web", internal=True)
    one, two = await lab.start("one", "web"), await lab.start("two", "web")
    await lab.stop(one)
    assert await ask(lab, two, "one") == ["SERVFAIL"]


async def test_a_shared_alias_stands_for_all_who_have_it(lab: Laboratory) -> None:
    await network(lab, "web")
    servers = [await lab.start(f"s{i}", "web", endpoints=aliased("web", "pool")) for i in range(3)]
    client = await lab.start("client", "web")
    wanted = {server.endpoints["web"].ip_address for server in servers}
    answers = [await ask(lab, client, "pool") for _ in range(30)]
    assert all(set(answer) == wanted for answer in answers)
    assert {answer[0] for answer in answers} == wanted


async def test_names_do_not_leak_to_other_networks(lab: Laboratory) -> None:
    for name in ("web", "db"):
        await network(lab, name, internal=True)
    await lab.start("secret", "db")
    client = await lab.start("client", "web")
    for name in ("secret", "secret.db"):
        assert await ask(lab, client, name) == ["SERVFAIL"]
    await lab.networks.connect("db", n.NetworkConnectRequest(container="client"))
    assert await ask(lab, client, "secret") != ["SERVFAIL"]


async def test_ipv6_addresses_are_answered(lab: Laboratory) -> None:
    await network(lab, "dual", enable_ipv6=True)
    one, two = await lab.start("one", "dual"), await lab.start("two", "dual")
    assert await ask(lab, two, "one", "AAAA") == [one.endpoints["dual"].global_ipv6_address]


async def test_links_are_names_of_ones_own(lab: Laboratory) -> None:
    await network(lab, "web", internal=True)
    one = await lab.start("one", "web")
    two = await lab.start("two", "web", links=["one:store"])
    assert await ask(lab, two, "store") == [one.endpoints["web"].ip_address]
    assert await ask(lab, one, "store") == ["SERVFAIL"]


async def test_a_container_may_run_a_name_server_itself(lab: Laboratory) -> None:
    await network(lab, "web")
    one = await lab.start("one", "web")
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        bound = await lab.do(one, lambda kind=kind: bound_to_53(kind))
        bound.close()
    assert await ask(lab, one, "one") == [one.endpoints["web"].ip_address]


def bound_to_53(kind: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("0.0.0.0", 53))
    return made


def answer_all(server: socket.socket, address: str) -> None:
    """A name server that knows one address for everything, but nothing of ``bad.``."""
    with suppress(OSError):
        while True:
            data, client = server.recvfrom(1000)
            query = DNSRecord.parse(data)
            reply = query.reply()
            if str(query.q.qname) == "bad.":
                reply.header.rcode = RCODE.NXDOMAIN
            else:
                reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(address)))
            server.sendto(reply.pack(), client)


async def upstream(lab: Laboratory) -> socket.socket:
    server: socket.socket = await lab.do(None, lambda: bound_to_53(socket.SOCK_DGRAM))
    threading.Thread(target=answer_all, args=(server, "198.51.100.7"), daemon=True).start()
    return server


async def test_other_names_are_asked_upstream_and_a_dead_server_is_passed_over(lab: Laboratory) -> None:
    await network(lab, "web")
    with await upstream(lab):
        one = await lab.start("one", "web", dns=["192.0.2.99", NEIGHBOUR])
        refused = await lab.start("two", "web", dns=["127.0.0.1", NEIGHBOUR])
        assert await ask(lab, refused, "example.org") == ["198.51.100.7"]
        assert await ask(lab, one, "bad") == ["NXDOMAIN"]


async def test_names_are_served_again_after_a_restart(lab: Laboratory) -> None:
    await network(lab, "web")
    one = await lab.start("one", "web")
    await lab.crash()
    networks = await lab.open()
    member = dataclasses.replace(lab.members[one.container_id], pid=lab.pids[one.container_id])
    again = (await networks.restore([member]))[one.container_id]
    assert await ask(lab, again, "one") == [one.endpoints["web"].ip_address]


async def test_rubbish_is_answered_or_ignored_and_the_resolver_lives(lab: Laboratory) -> None:
    await network(lab, "web")
    one = await lab.start("one", "web")

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            for data in (b"", b"x", b"\xff" * 11, b"\xff" * 12, b"\0" * 600):
                channel.sendto(data, ("127.0.0.11", 53))
        with socket.create_connection(("127.0.0.11", 53)) as stream:
            stream.sendall(b"\xff\xffrubbish")

    await lab.do(one, send)
    assert await ask(lab, one, "one") == [one.endpoints["web"].ip_address]


async def test_the_default_bridge_has_the_hosts_servers_and_legacy_links(lab: Laboratory) -> None:
    one = await lab.start("db", exposed=["5432/tcp"], environment=["PGDATA=/data", "PATH=/bin"])
    two = await lab.start("web", links=["db:store"], dns=["192.0.2.7"], dns_search=["example.org"])
    address = one.endpoints["bridge"].ip_address
    assert "127.0.0.11" not in one.resolv_conf
    assert "\nnameserver 192.0.2.7\nsearch example.org\n" in two.resolv_conf
    assert f"{address}\tstore {one.container_id[:12]} db\n" in two.hosts
    assert "STORE_NAME=/web/store" in two.environment
    assert f"STORE_PORT_5432_TCP_ADDR={address}" in two.environment
    assert "STORE_ENV_PGDATA=/data" in two.environment
    assert not any("PATH" in variable for variable in two.environment)


async def test_a_container_starts_with_all_its_links_and_outlives_them(lab: Laboratory) -> None:
    await lab.networks.create(n.NetworkCreateRequest(name="other"))
    away = await lab.start("away", "other")
    with pytest.raises(EngineError, match=f"container {away.container_id} not attached to default bridge network"):
        await lab.start("early", links=["away:x"])
    with pytest.raises(InvalidParameter, match="Cannot link to a non running container: /db AS /early/x"):
        await lab.start("early", links=["db:x"])
    one = await lab.start("db")
    two = await lab.start("web", links=[f"{one.container_id}:store"])
    assert "\tstore " in two.hosts
    await lab.stop(one)
    await lab.networks.connect("other", n.NetworkConnectRequest(container="web"))
    assert "\tstore " not in two.hosts
    members = [
        dataclasses.replace(lab.members[one], pid=lab.pids[one]) for one in (two.container_id, away.container_id)
    ]
    await lab.crash()
    adopted = await (await lab.open()).restore(members)
    assert set(adopted) == {two.container_id, away.container_id}


async def test_host_gateway_is_the_hosts_address_on_the_bridge(lab: Laboratory) -> None:
    one = await lab.start("one", extra_hosts=["host.docker.internal:host-gateway", "six=[2001:db8::1]"])
    assert "172.17.0.1\thost.docker.internal\n" in one.hosts
    assert "2001:db8::1\tsix\n" in one.hosts
