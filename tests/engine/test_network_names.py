"""Names as real clients ask for them: dig in containers' namespaces, against the resolver at 127.0.0.11.

A container that is a name server itself is dnsmasq's job elsewhere; here a small server of dnslib plays it, in the
namespace of a real container.
"""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from docker.models.containers import Container

Run = Callable[..., Container]
Shell = Callable[..., str]

SERVER = """
import socket, sys
from dnslib import A, QTYPE, RCODE, RR, TXT, DNSRecord
socket_ = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)  # and of IPv4
socket_.bind(("::", 53))
print("ready", flush=True)
while True:
    data, client = socket_.recvfrom(4096)
    query = DNSRecord.parse(data)
    reply, name = query.reply(), str(query.q.qname).split(".")[0]
    if name in ("servfail", "refused", "nxdomain"):
        reply.header.rcode = getattr(RCODE, name.upper())
    elif query.q.qtype == 65:
        reply.header.rcode = RCODE.NOTAUTH
    elif name == "big":
        reply.add_answer(*(RR(query.q.qname, QTYPE.TXT, rdata=TXT("x" * 200)) for _ in range(15)))
    else:
        reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(sys.argv[1])))
    socket_.sendto(reply.pack(), client)
"""


def inside(container: Container, *command: str) -> list[str]:
    """The words that run a command of the host in the container's network namespace."""
    container.reload()
    return ["nsenter", f"--net=/proc/{container.attrs['State']['Pid']}/ns/net", *command]


def dig(container: Container, *words: str) -> list[str]:
    """What ``dig +short`` prints, sorted."""
    command = inside(container, "dig", "@127.0.0.11", "+short", "+time=3", "+tries=1", *words)
    return sorted(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\n"))[1:]


def status(container: Container, *words: str) -> str:
    """The answer's status: NOERROR, NXDOMAIN, …"""
    command = inside(container, "dig", "@127.0.0.11", "+time=5", "+tries=1", *words)
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return text.partition("status: ")[2].partition(",")[0]


@contextmanager
def name_server(container: Container, address: str = "198.51.100.7") -> Iterator[str]:
    """A name server in the container's namespace; its address."""
    command = inside(container, sys.executable, "-c", SERVER, address)
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (own,) = (each["IPAddress"] for each in container.attrs["NetworkSettings"]["Networks"].values())
        yield own
    finally:
        process.kill()
        process.communicate()


def address(container: Container, network: str = "web", family: str = "IPAddress") -> str:
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"][network][family])


def joined(client: Any, name: str, network: str, *aliases: str, **options: Any) -> Container:
    """A running container on a network, with aliases."""
    settings = client.api.create_endpoint_config(aliases=list(aliases))
    return client.containers.run(
        *("busybox", "sleep 60"),
        detach=True,
        name=name,
        stop_signal="SIGKILL",
        network=network,
        networking_config={network: settings},
        **options,
    )


def test_names_aliases_short_ids_and_reverse_names(client: Any, run: Run, network: Any) -> None:
    network("web")
    one, two = joined(client, "one", "web", "www", hostname="host1"), joined(client, "two", "web", "www")
    for name in ("one", "ONE", "one.web", "host1", one.id[:12], f"{one.id[:12]}.web"):
        assert dig(two, name) == [address(one)], name
    assert dig(two, "www") == sorted([address(one), address(two)])
    assert dig(two, "+tcp", "www") == sorted([address(one), address(two)])
    assert dig(two, "-x", address(one)) == ["one.web."]
    assert status(two, "one", "AAAA") == "NOERROR"
    assert status(two, "one", "MX") == "NOERROR"
    first = {dig_first(two) for _ in range(40)}
    assert first == {address(one), address(two)}


def dig_first(container: Container) -> str:
    command = inside(container, "dig", "@127.0.0.11", "+short", "www")
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\n")[0]


def test_ipv6_names_both_ways(client: Any, network: Any) -> None:
    network("web", enable_ipv6=True)
    one, two = joined(client, "one", "web"), joined(client, "two", "web")
    sixth = address(one, family="GlobalIPv6Address")
    assert dig(two, "one", "AAAA") == [sixth]
    assert dig(two, "-x", sixth) == ["one.web."]


def test_links_are_ones_own_names(daemon: Any, client: Any, network: Any) -> None:
    network("web")
    one = joined(client, "one", "web")
    for words in (("--name", "two", "--link", "one:db"), ("--name", "three")):
        assert daemon.cli("run", "-d", "--network", "web", *words, "busybox", "sleep", "60").returncode == 0
    assert dig(client.containers.get("two"), "db") == [address(one)]
    assert dig(client.containers.get("three"), "db") == []


def test_no_name_leaks_to_another_network(client: Any, network: Any) -> None:
    network("web")
    network("data", internal=True)
    one, two = joined(client, "one", "web", "www"), joined(client, "two", "data")
    for name in ("one", "www", "one.web", one.id[:12]):
        assert dig(two, name) == []
    assert dig(two, "-x", address(one)) == []
    assert status(two, "one") == "SERVFAIL"


def test_names_follow_a_rename_and_a_disconnection(client: Any, network: Any) -> None:
    web = network("web")
    one, two = joined(client, "one", "web", "www"), joined(client, "two", "web")
    one.rename("uno")
    assert (dig(two, "uno"), dig(two, "one"), dig(two, "www")) == ([address(one)], [], [address(one)])
    assert dig(two, "-x", address(one)) == ["uno.web."]
    web.reload()
    assert web.attrs["Containers"][one.id]["Name"] == "uno"
    web.disconnect(one)
    assert dig(two, "www") == []
    web.connect(one, aliases=["again"])
    assert dig(two, "again") == [address(one)]


def test_upstream_answers_pass_as_they_are(client: Any, network: Any) -> None:
    network("web")
    with name_server(joined(client, "server", "web")) as server:
        one = joined(client, "one", "web", dns=[server])
        assert dig(one, "example.org") == ["198.51.100.7"]
        assert dig(one, "word") == ["198.51.100.7"]
        assert status(one, "nxdomain.org") == "NXDOMAIN"
        assert status(one, "servfail.org") == "SERVFAIL"
        assert status(one, "refused.org") == "REFUSED"
        big = inside(one, "dig", "@127.0.0.11", "+bufsize=4096", "+ignore", "big.org", "TXT")
        assert subprocess.run(big, capture_output=True, check=True, text=True).stdout.count("x" * 200) == 15


def test_a_server_may_have_an_ipv6_address_alone(client: Any, network: Any) -> None:
    network("web", enable_ipv6=True, internal=True)
    server = joined(client, "server", "web")
    with name_server(server):
        one = joined(client, "one", "web", dns=[address(server, family="GlobalIPv6Address")])
        assert dig(one, "example.org") == ["198.51.100.7"]


def test_kinds_that_only_others_know_are_asked_there_but_not_of_our_words(client: Any, network: Any) -> None:
    network("web")
    with name_server(joined(client, "server", "web")) as server:
        one = joined(client, "one", "web", "www", "www.example.org", dns=[server])
        for name in ("one", "www"):
            assert (status(one, name, "TYPE65"), dig(one, name, "TXT")) == ("NOERROR", [])
        assert status(one, "www.example.org", "TYPE65") == "NOTAUTH"
        assert dig(one, "www.example.org") == [address(one)]
    told = subprocess.run(inside(one, "dig", "@127.0.0.11", "one"), capture_output=True, check=True, text=True)
    assert "EDNS: version: 0" in told.stdout


def test_a_failing_server_gives_way_to_the_next(client: Any, network: Any) -> None:
    network("web")
    with name_server(joined(client, "server", "web")) as server:
        silent = address(joined(client, "silent", "web"))
        one = joined(client, "one", "web", dns=[silent, server])
        assert dig(one, "example.org") == ["198.51.100.7"]


def test_a_name_server_on_an_internal_network_is_asked_from_there(client: Any, network: Any) -> None:
    network("web", internal=True)
    with name_server(joined(client, "server", "web")) as server:
        one = joined(client, "one", "web", dns=[server])
        assert dig(one, "example.org") == ["198.51.100.7"]


def test_words_are_not_asked_upstream_when_ndots_was_set(client: Any, network: Any) -> None:
    network("web")
    with name_server(joined(client, "server", "web")) as server:
        one = joined(client, "one", "web", dns=[server], dns_opt=["ndots:2"], dns_search=["example.org"])
        assert (status(one, "word"), dig(one, "word")) == ("NOERROR", [])
        assert dig(one, "word.example.org") == ["198.51.100.7"]


def test_the_files_say_what_was_asked_for(daemon: Any, client: Any, network: Any) -> None:
    network("web")
    flags = ("--dns", "192.0.2.9", "--dns-search", "example.org", "--dns-option", "timeout:2")
    hosts = ("--add-host", "gate:host-gateway", "--add-host", "six=[2001:db8::1]")
    shown = daemon.cli(
        "run", "--rm", "--network", "web", *flags, *hosts, "busybox", "cat", "/etc/resolv.conf", "/etc/hosts"
    )
    lines = shown.stdout.decode().splitlines()
    assert lines[4:7] == ["nameserver 127.0.0.11", "search example.org", "options timeout:2 ndots:0"]
    assert f"{daemon.subnet}.1\tgate" in lines
    assert "2001:db8::1\tsix" in lines
    plain = daemon.cli("run", "--rm", *flags, "busybox", "cat", "/etc/resolv.conf")
    assert b"\n\nnameserver 192.0.2.9\nsearch example.org\noptions timeout:2\n\n" in plain.stdout


def test_a_large_answer_is_cut_and_asked_again_over_tcp(client: Any, network: Any) -> None:
    network("web")
    for number in range(33):
        joined(client, f"one{number}", "web", "many")
    one = client.containers.get("one0")
    cut = inside(one, "dig", "@127.0.0.11", "+noedns", "+ignore", "many")
    text = subprocess.run(cut, capture_output=True, check=True, text=True).stdout
    assert " tc " in text.partition("flags:")[2].partition(";")[0]
    assert 25 < text.count("\tIN\tA\t") < 33
    assert len(dig(one, "+noedns", "many")) == 33


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\xff" * 12, b"\0" * 600, b"\0\1\1\0\0\1" + b"\0" * 6 + b"\xc0\x0c\0\1\0\1"]
)
def test_rubbish_hurts_nobody(client: Any, network: Any, data: bytes) -> None:
    network("web")
    one = joined(client, "one", "web")
    script = f"import socket; s = socket.socket(2, 2); [s.sendto({data!r}, ('127.0.0.11', 53)) for _ in range(20)]"
    subprocess.run(inside(one, sys.executable, "-c", script), check=True)
    assert dig(one, "one") == [address(one)]
    assert socket.inet_aton(address(one))
