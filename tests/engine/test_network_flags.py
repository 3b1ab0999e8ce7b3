"""The docker CLI's networking flags with their effects: ``network create``, ``-p`` in every form, lists and prunes."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from docker.models.containers import Container

Run = Callable[..., Container]
Shell = Callable[..., str]


@pytest.fixture
def create(daemon: Any, client: Any) -> Any:
    """``docker network create`` with these flags; what the network's inspection shows."""

    def make(name: str, *flags: str) -> dict[str, Any]:
        done = daemon.cli("network", "create", *flags, name)
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(daemon.cli("network", "inspect", name).stdout)[0]
        return shown

    yield make
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    for network in reversed(client.networks.list()):
        if network.name not in ("bridge", "host", "none"):
            network.remove()


def test_each_flag_of_network_create_is_in_the_inspection(create: Any) -> None:
    shown = create(
        "all",
        *("--driver", "bridge", "--scope", "local", "--attachable", "--ipam-driver", "default", "--ipam-opt", "k=v"),
        *("--subnet", "10.231.8.0/24", "--ip-range", "10.231.8.128/25", "--gateway", "10.231.8.254"),
        *("--aux-address", "one=10.231.8.129", "--aux-address", "two=10.231.8.130", "--label", "a=b", "--label", "c"),
        *("--ipv6", "--subnet", "fd31:8::/64", "--opt", "com.docker.network.driver.mtu=1300"),
    )
    assert (shown["Driver"], shown["Scope"], shown["Attachable"], shown["Internal"]) == ("bridge", "local", True, False)
    assert (shown["EnableIPv4"], shown["EnableIPv6"]) == (True, True)
    assert shown["IPAM"]["Options"] == {"k": "v"}
    fourth, sixth = shown["IPAM"]["Config"]
    assert fourth == {
        "Subnet": "10.231.8.0/24",
        "IPRange": "10.231.8.128/25",
        "Gateway": "10.231.8.254",
        "AuxiliaryAddresses": {"one": "10.231.8.129", "two": "10.231.8.130"},
    }
    assert sixth == {"Subnet": "fd31:8::/64", "Gateway": "fd31:8::1"}
    assert shown["Labels"] == {"a": "b", "c": ""}
    assert shown["Options"] == {"com.docker.network.driver.mtu": "1300"}
    internal = create("inside", "--internal", "--ipv4=false", "--ipv6")
    assert (internal["Internal"], internal["EnableIPv4"], internal["EnableIPv6"]) == (True, False, True)
    assert internal["IPAM"]["Config"][0]["Subnet"].startswith("fd")
    assert create("settings", "--config-only", "--subnet", "10.231.9.0/24")["ConfigOnly"]
    made = create("made", "--config-from", "settings")
    assert (made["ConfigFrom"]["Network"], made["IPAM"]["Config"][0]["Subnet"]) == ("settings", "10.231.9.0/24")


def test_an_ingress_network_is_refused(daemon: Any) -> None:
    refused = daemon.cli("network", "create", "--ingress", "x")
    assert b"Ingress network can only be global scope network" in refused.stderr


def test_addresses_come_from_the_range_but_for_those_set_aside(create: Any, daemon: Any) -> None:
    flags = ("--subnet", "10.231.8.0/24", "--ip-range", "10.231.8.128/30", "--aux-address", "x=10.231.8.129")
    create("net", *flags)
    taken = [
        daemon.cli("run", "--rm", "--network", "net", *asked, "busybox", "hostname", "-i").stdout.decode().split()
        for asked in ((), ("--ip", "10.231.8.9"))
    ]
    assert taken == [["10.231.8.130"], ["10.231.8.9"]]


PORTS = {
    "18180:80": [("0.0.0.0", "18180"), ("::", "18180")],
    "127.0.0.1:18181:80": [("127.0.0.1", "18181")],
    "[::1]:18182:80": [("::1", "18182")],
    "127.0.0.1:18183-18190:80": [("127.0.0.1", "18183")],
    "18191:80/udp": [("0.0.0.0", "18191"), ("::", "18191")],
    "18192:80/sctp": [("0.0.0.0", "18192"), ("::", "18192")],
}


@pytest.mark.parametrize("asked", PORTS)
def test_a_published_port_has_the_place_it_was_given(daemon: Any, client: Any, asked: str) -> None:
    done = daemon.cli("run", "-d", "--stop-signal", "KILL", "-p", asked, "busybox", "sleep", "60")
    assert done.returncode == 0, done.stderr
    ((port, bindings),) = client.containers.get(done.stdout.decode().strip()).ports.items()
    assert port == f"80/{asked.partition('/')[2] or 'tcp'}"
    assert [(one["HostIp"], one["HostPort"]) for one in bindings] == PORTS[asked]


@pytest.mark.parametrize("asked", ["80", "127.0.0.1::80", "80/udp", "0:80"])
def test_a_port_without_a_number_gets_one(daemon: Any, client: Any, asked: str) -> None:
    done = daemon.cli("run", "-d", "--stop-signal", "KILL", "-p", asked, "busybox", "sleep", "60")
    assert done.returncode == 0, done.stderr
    (bindings,) = client.containers.get(done.stdout.decode().strip()).ports.values()
    assert all(int(one["HostPort"]) > 1024 for one in bindings)
    assert len({one["HostPort"] for one in bindings}) == 1


def test_a_range_is_published_port_by_port_and_exposed_ones_with_publish_all(daemon: Any, client: Any) -> None:
    flags = ("-p", "18200-18202:7000-7002", "-P", "--expose", "90", "--expose", "91-92/udp")
    done = daemon.cli("run", "-d", "--stop-signal", "KILL", *flags, "busybox", "sleep", "60")
    assert done.returncode == 0, done.stderr
    ports = client.containers.get(done.stdout.decode().strip()).ports
    assert [ports[f"{number}/tcp"][0]["HostPort"] for number in (7000, 7001, 7002)] == ["18200", "18201", "18202"]
    assert all(ports[port] for port in ("90/tcp", "91/udp", "92/udp"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("80:80/foo", "invalid proto"),
        ("99999:80", "invalid hostPort"),
        ("1.2.3:80:80", "invalid IP address"),
        ("8-9:80-82", "invalid ranges"),
        ("203.0.113.99:18195:80", "cannot assign requested address"),
    ],
)
def test_ports_that_cannot_be_are_refused(daemon: Any, client: Any, asked: str, said: str) -> None:
    done = daemon.cli("run", "-d", "-p", asked, "busybox", "sleep", "60")
    assert done.returncode == 125
    assert said in done.stderr.decode()
    assert client.containers.list() == []


def test_a_link_by_the_whole_id_is_found_on_a_network(daemon: Any, create: Any, run: Run) -> None:
    create("web")
    one = run(network_mode=None, network="web")
    one.reload()
    flags = ("--rm", "--network", "web", "--link", f"{one.id}:store")
    found = daemon.cli("run", *flags, "busybox", "ping", "-c", "1", "-W", "2", "store")
    assert one.attrs["NetworkSettings"]["Networks"]["web"]["IPAddress"] in found.stdout.decode()


def listed(daemon: Any, noun: str, *filters: str) -> set[str]:
    flags = [word for one in filters for word in ("--filter", one)]
    return set(daemon.cli(noun, "ls", "--format", "{{.Name}}", *flags).stdout.decode().split())


def test_filters_of_networks_narrow_each_other(daemon: Any, create: Any, run: Run) -> None:
    one = create("one", "--label", "a=1", "--label", "b")
    create("two", "--label", "a=2")
    create("three", "--config-only")
    run(network_mode=None, network="two")
    cases: dict[tuple[str, ...], set[str]] = {
        ("label=a",): {"one", "two"},
        ("label=a=1", "label=b"): {"one"},
        ("label=a", "name=^t"): {"two"},
        ("name=^one", "name=two"): {"one", "two"},
        ("type=custom", "driver=bridge"): {"one", "two"},
        ("type=builtin", "driver=null"): {"none"},
        ("dangling=true",): {"one", "three"},
        ("dangling=false", "type=custom"): {"two"},
        (f"id={one['Id'][:12]}", "scope=local"): {"one"},
        ("scope=swarm",): set(),
    }
    assert {asked: listed(daemon, "network", *asked) for asked in cases} == cases


def test_a_prune_leaves_out_what_has_all_the_unwanted_labels_and_bare_settings(daemon: Any, create: Any) -> None:
    create("both", "--label", "a", "--label", "b")
    create("single", "--label", "a")
    create("settings", "--config-only")
    done = daemon.cli("network", "prune", "-f", "--filter", "label!=a", "--filter", "label!=b")
    assert done.stdout.decode().split()[2:] == ["single"]
    assert listed(daemon, "network", "type=custom") == {"both", "settings"}


def test_filters_of_volumes_narrow_each_other(daemon: Any, client: Any, run: Run) -> None:
    client.volumes.create("one", labels={"a": "1", "b": ""})
    client.volumes.create("two", labels={"a": "2"})
    run(volumes=["two:/data"])
    cases: dict[tuple[str, ...], set[str]] = {
        ("label=a", "name=^t"): {"two"},
        ("label=a=1", "label=b"): {"one"},
        ("dangling=true", "driver=local"): {"one"},
        ("dangling=0",): {"two"},
        ("driver=nosuch",): set(),
        ("name=one", "name=two"): {"one", "two"},
    }
    assert {asked: listed(daemon, "volume", *asked) for asked in cases} == cases
    for container in client.containers.list():
        container.remove(force=True)
    assert daemon.cli("volume", "prune", "-af", "--filter", "label!=a", "--filter", "label!=b").returncode == 0
    assert listed(daemon, "volume") == {"one"}
    client.volumes.get("one").remove()
