"""What port bindings mean; and ports really taken on the loopback."""

from ipaddress import ip_address, ip_network

import pytest

from sampan.api.ports import Port, PortBinding
from sampan.errors import InvalidParameter
from sampan.linux.rtnetlink import Address
from sampan.network.ports import ANY4, ANY6, Held, PortAllocated, Ports, Wanted, match, port_map, wanted_ports

LOOPBACK = ip_address("127.0.0.1")


def wanted(**bindings: PortBinding) -> list[Wanted]:
    ports = {key.replace("_", "/"): [value] for key, value in bindings.items()}
    return wanted_ports(ports, [], publish_all=False, default=[ANY4, ANY6], labels={})


def test_a_binding_without_an_address_means_the_default_ones() -> None:
    assert wanted(**{"80_tcp": PortBinding(host_port="8080")}) == [
        Wanted(Port(80, "tcp"), (ANY4, ANY6), range(8080, 8081))
    ]


@pytest.mark.parametrize(("text", "choice"), [("", range(0)), ("0", range(0)), ("7-9", range(7, 10))])
def test_the_choice_of_ports(text: str, choice: range) -> None:
    assert wanted(**{"80_tcp": PortBinding(host_port=text)})[0].choice == choice


@pytest.mark.parametrize("binding", [PortBinding(host_port="x"), PortBinding(host_ip="nowhere")])
def test_nonsense_is_refused(binding: PortBinding) -> None:
    with pytest.raises(InvalidParameter):
        wanted(**{"80_tcp": binding})


def test_publish_all_adds_what_is_exposed_and_not_bound() -> None:
    found = wanted_ports(
        {"80/tcp": [PortBinding(host_port="8080")]}, ["80/tcp", "53/udp"], publish_all=True, default=[ANY4], labels={}
    )
    assert [(str(one.port), len(one.choice)) for one in found] == [("53/udp", 0), ("80/tcp", 1)]


def test_allowed_sources_are_those_of_the_port_or_of_all() -> None:
    labels = {"com.sampan.publish.allow": "10.0.0.0/8", "com.sampan.publish.allow.81/tcp": "fd00::/8, 192.0.2.1"}
    ports = {"80/tcp": [PortBinding()], "81/tcp": [PortBinding()]}
    found = wanted_ports(ports, [], publish_all=False, default=[ANY4], labels=labels)
    assert found[0].allow == (ip_network("10.0.0.0/8"),)
    assert found[1].allow == (ip_network("fd00::/8"), ip_network("192.0.2.1/32"))


def test_a_port_is_ours_once_until_it_is_given_back() -> None:
    ports = Ports()
    (held,) = ports.take(Wanted(Port(80, "tcp"), (LOOPBACK,), range(0)))
    again = Wanted(Port(80, "tcp"), (LOOPBACK,), range(held.number, held.number + 1))
    with pytest.raises(
        PortAllocated, match=rf"^Bind for 127\.0\.0\.1:{held.number} failed: port is already allocated$"
    ):
        ports.take(again)
    with pytest.raises(PortAllocated):
        ports.take(Wanted(Port(80, "tcp"), (ANY4,), again.choice))
    ports.release([held])
    ports.release(ports.take(again))


def test_the_port_map_shows_exposed_ports_too() -> None:
    ports = Ports()
    held = ports.take(Wanted(Port(80, "tcp"), (LOOPBACK,), range(0)))
    shown = port_map(held, ["81/udp"])
    assert shown == {"81/udp": None, "80/tcp": [PortBinding(host_ip="127.0.0.1", host_port=str(held[0].number))]}
    ports.release(held)


ANYWHERE = (ANY4, ANY6)
WEB = Port(80, "tcp")


def held(port: Port, number: int, *hosts: Address) -> list[Held]:
    return [Held(port, host, number, None) for host in hosts or ANYWHERE]


def test_a_port_that_is_still_wanted_is_kept_with_its_number() -> None:
    any_port, other = Wanted(WEB, ANYWHERE, range(0)), Wanted(Port(443, "tcp"), ANYWHERE, range(0))
    assert match([other, any_port], held(WEB, 32768)) == [[], held(WEB, 32768)]


def test_a_port_serves_one_wish_only() -> None:
    twice = Wanted(WEB, ANYWHERE, range(0))
    assert match([twice, twice], held(WEB, 32768)) == [held(WEB, 32768), []]


@pytest.mark.parametrize(
    "other",
    [
        Wanted(WEB, ANYWHERE, range(8080, 8081)),
        Wanted(WEB, (ANY4,), range(0), (ip_network("10.0.0.0/8"),)),
        Wanted(WEB, (ip_address("127.0.0.1"),), range(0)),
        Wanted(Port(80, "udp"), ANYWHERE, range(0)),
    ],
)
def test_another_number_address_source_or_protocol_is_another_port(other: Wanted) -> None:
    assert match([other], held(WEB, 32768)) == [[]]


def test_a_routed_port_is_kept_without_a_number() -> None:
    routed = Wanted(WEB, ANYWHERE, range(8080, 8081), routed=frozenset((4, 6)))
    assert match([routed], held(WEB, 0)) == [held(WEB, 0)]
    assert match([routed], held(WEB, 8080)) == [[]]
