"""Options, requests, predefined networks, and the firewall's text."""

import re
from ipaddress import ip_address, ip_network

import pytest

from sampan.api import networks as n
from sampan.config import Config
from sampan.errors import EngineError, Forbidden, InvalidParameter, NotFound
from sampan.network import endpoint_options, options, predefined, request
from sampan.network.firewall import Filtered, Firewall, Published, marked, parse_mark
from sampan.network.ipam import PoolOverlaps
from sampan.network.network import Network

BRIDGE = "com.docker.network.bridge."


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({BRIDGE + "enable_icc": "maybe"}, InvalidParameter),
        ({BRIDGE + "name": "a/b"}, InvalidParameter),
        ({BRIDGE + "host_binding_ipv4": "here"}, InvalidParameter),
        ({"com.docker.network.host_ipv4": "fd00::1"}, InvalidParameter),
        ({"com.docker.network.host_ipv6": "there"}, InvalidParameter),
        ({BRIDGE + "gateway_mode_ipv4": "open"}, InvalidParameter),
        ({"com.docker.network.advertise_addr_nmsgs": "4"}, EngineError),
        ({"com.docker.network.advertise_addr_ms": "99"}, EngineError),
        ({"com.docker.network.advertise_addr_ms": "often"}, EngineError),
        ({"ipvlan_mode": "l4"}, InvalidParameter),
        ({"ipvlan_flag": "public"}, InvalidParameter),
        ({"parent": "lo"}, InvalidParameter),
        ({"com.docker.network.driver.mtu": "-1"}, InvalidParameter),
        ({"macvlan_mode": "sideways"}, InvalidParameter),
        ({"com.sampan.network.publish": "shout"}, InvalidParameter),
    ],
)
def test_options_that_mean_nothing_are_refused(given: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        options.parse(given)


def test_options_that_are_not_ours_are_kept_and_ignored() -> None:
    assert options.parse({"com.example": "x"}) == options.Options()


def test_a_request_is_completed() -> None:
    made = request.summary(n.NetworkCreateRequest(name="web", labels={"a": "b"}), None)
    assert (made.driver, made.scope, made.enable_ipv4, made.enable_ipv6) == ("bridge", "local", True, False)
    assert len(made.id) == 64


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"ingress": True}, Forbidden, "Ingress network can only be global scope network"),
        ({"scope": "swarm"}, Forbidden, "cannot create a swarm scoped network when swarm is not active"),
        ({"scope": "moon"}, InvalidParameter, "invalid scope"),
        ({"driver": "overlay"}, Forbidden, "This node is not a swarm manager"),
        ({"driver": "host"}, Forbidden, 'only one instance of "host" network is allowed'),
        ({"driver": "nosuch"}, NotFound, 'plugin "nosuch" not found'),
        ({"enable_ipv4": False}, InvalidParameter, "IPv4 or IPv6 must be enabled"),
        ({"config_only": True, "internal": True}, Forbidden, "can only contain network specific fields"),
        ({"config_only": True, "scope": "local"}, Forbidden, "can only contain network specific fields"),
        (
            {"config_only": True, "config_from": n.ConfigReference("other")},
            Forbidden,
            "a configuration network cannot depend on another configuration network",
        ),
        (
            {"options": {BRIDGE + "gateway_mode_ipv4": "isolated"}},
            InvalidParameter,
            "gateway mode 'isolated' can only be used for an internal network",
        ),
        (
            {"options": {"com.docker.network.enable_ipv6": "maybe"}},
            InvalidParameter,
            'driver-opt "com.docker.network.enable_ipv6" is not a valid bool',
        ),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_dockers_words(
    fields: dict[str, object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        request.summary(n.NetworkCreateRequest(name="web", **fields), None)  # type: ignore[arg-type]


def of_subnets(*subnets: str) -> n.NetworkCreateRequest:
    return n.NetworkCreateRequest(name="web", ipam=n.IPAM(config=[n.IPAMConfig(subnet=one) for one in subnets]))


def test_a_bridge_has_one_subnet_of_a_family() -> None:
    with pytest.raises(Forbidden, match="bridge driver doesn't support multiple subnets"):
        request.summary(of_subnets("10.1.0.0/16", "10.2.0.0/16"), None)


def test_a_subnet_of_a_family_that_is_off_is_left_out() -> None:
    made = request.summary(of_subnets("10.1.0.0/16", "fd00:1::/64"), None)
    assert made.ipam.config
    assert [config.subnet for config in made.ipam.config] == ["10.1.0.0/16"]
    assert [str(pool.subnet) for pool in request.pools(made)] == ["10.1.0.0/16"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ip_range": "10.9.0.0/24"}, "parent subnet 10.1.0.0/16 doesn't contain ip-range"),
        ({"ip_range": "10.0.0.0/8"}, "CIDR block is bigger than its parent subnet 10.1.0.0/16"),
        ({"ip_range": "10.1.5.5/24"}, "it should be 10.1.5.0/24"),
        ({"ip_range": "fd00::/64"}, "parent subnet is an IPv4 block"),
        ({"gateway": "10.2.0.1"}, "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this address"),
        ({"gateway": "fd00::1"}, "invalid gateway fd00::1: parent subnet is an IPv4 block"),
        ({"auxiliary_addresses": {"a": "10.2.0.1"}}, "invalid auxiliary address a: parent subnet"),
    ],
)
def test_pools_without_sense_are_refused(fields: dict[str, object], said: str) -> None:
    ipam = n.IPAM(config=[n.IPAMConfig(subnet="10.1.0.0/16", **fields)])  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match=re.escape(said)):
        request.summary(n.NetworkCreateRequest(name="web", ipam=ipam), None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"gateway": "10.1.0.0"}, "failed to allocate gateway (10.1.0.0): Address already in use"),
        ({"gateway": "10.1.255.255"}, "failed to allocate gateway (10.1.255.255): Address already in use"),
        (
            {"gateway": "10.1.0.1", "auxiliary_addresses": {"a": "10.1.0.1"}},
            "failed to allocate secondary ip address (a:10.1.0.1): Address already in use",
        ),
    ],
)
def test_addresses_that_nobody_can_have_are_refused(fields: dict[str, object], said: str) -> None:
    ipam = n.IPAM(config=[n.IPAMConfig(subnet="10.1.0.0/16", **fields)])  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=re.escape(said)):
        request.summary(n.NetworkCreateRequest(name="web", ipam=ipam), None)


def test_a_network_without_address_management_has_no_ipv4() -> None:
    with pytest.raises(InvalidParameter, match="ipv4 pool is empty"):
        request.summary(n.NetworkCreateRequest(name="web", ipam=n.IPAM(driver="null")), None)


def test_an_ip_range_may_be_written_in_any_of_its_ways() -> None:
    config = n.IPAMConfig(subnet="2001:389::/64", ip_range="2001:389::0/96", gateway="2001:389::1")
    asked = n.NetworkCreateRequest(name="web", enable_ipv6=True, ipam=n.IPAM(config=[config]))
    assert [str(pool.range) for pool in request.pools(request.summary(asked, None))] == ["2001:389::/96"]


def test_defaults_of_the_driver_apply_unless_the_request_says_otherwise() -> None:
    defaults = {"bridge": {"a": "1", "b": "1", "com.docker.network.enable_ipv6": "true"}}
    made = request.summary(n.NetworkCreateRequest(name="web", options={"b": "2"}), None, defaults)
    assert made.options
    assert (made.options["a"], made.options["b"], made.enable_ipv6) == ("1", "2", True)


def test_gateway_modes_tell_the_firewall_what_is_open() -> None:
    modes = {BRIDGE + "gateway_mode_ipv4": "routed", BRIDGE + "gateway_mode_ipv6": "nat-unprotected"}
    request_ = of_subnets("10.1.0.0/16", "fd00:1::/64")
    request_.options, request_.enable_ipv6 = modes, True
    seen = Network(request.summary(request_, None)).filtered()
    assert (seen.visible, seen.unprotected) == ({4}, {6})
    assert [str(subnet) for subnet in seen.masquerade] == ["fd00:1::/64"]


def test_overlapping_subnets_of_one_network_are_refused() -> None:
    ipam = n.IPAM(config=[n.IPAMConfig(subnet="10.0.0.0/8"), n.IPAMConfig(subnet="10.1.0.0/16")])
    with pytest.raises(PoolOverlaps, match="Pool overlaps with other one on this address space"):
        request.summary(n.NetworkCreateRequest(name="web", ipam=ipam), None)


def test_daemons_of_other_roots_have_links_and_tables_of_their_own() -> None:
    assert (predefined.bridge_link(Config()), predefined.table(Config())) == ("sampan0", "sampan")
    other = Config(data_root="/srv/other")
    assert predefined.bridge_link(other) != "sampan0"
    assert len(predefined.bridge_link(other)) <= 15
    assert predefined.table(other) != "sampan"


def test_the_default_bridge_follows_the_settings() -> None:
    config = Config(bip="10.5.0.1/24", fixed_cidr="10.5.0.128/25", default_gateway="10.5.0.254", icc=False)
    made = predefined.bridge(config, None)
    assert made.ipam.config == [n.IPAMConfig(subnet="10.5.0.0/24", ip_range="10.5.0.128/25", gateway="10.5.0.254")]
    assert made.options
    assert made.options[BRIDGE + "enable_icc"] == "false"


def test_the_default_bridge_keeps_its_identity_and_pool() -> None:
    first = predefined.bridge(Config(), None)
    first.ipam.config = [n.IPAMConfig(subnet="172.20.0.0/16", gateway="172.20.0.1")]
    again = predefined.bridge(Config(), first)
    assert (again.id, again.created, again.ipam.config) == (first.id, first.created, first.ipam.config)


def test_the_ruleset_names_what_exists() -> None:
    firewall = Firewall("sampan_test")
    subnet = ip_network("172.18.0.0/16")
    firewall.networks["1"] = Filtered("br-1", (subnet,), masquerade=(subnet,))
    firewall.networks["2"] = Filtered("br-2", (ip_network("fd00::/64"),), internal=True, icc=False)
    target = ip_address("172.18.0.2")
    allowed = (ip_network("10.0.0.0/8"),)
    firewall.published = {
        Published("tcp", None, 80, target, 8080, allowed),
        Published("udp", ip_address("192.0.2.1"), 53, target, 53),
    }
    text = firewall.ruleset()
    for part in (
        'set bridges { type ifname; elements = { "br-1", "br-2" }; }',
        'set internal { type ifname; elements = { "br-2" }; }',
        'set within { type ifname . ifname; elements = { "br-1" . "br-1" }; }',
        "elements = { tcp . 80 : 172.18.0.2 . 8080 };",
        "elements = { udp . 192.0.2.1 . 53 : 172.18.0.2 . 53 };",
        "elements = { 10.0.0.0/8 . 172.18.0.2 . tcp . 8080 };",
    ):
        assert part in text, part
    assert text.startswith("table inet sampan_test\ndelete table inet sampan_test\n")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", ""),
        ("0x10", "oifname @bridges meta mark & 4294967295 == 16 accept"),
        ("1/0xff", "oifname @bridges meta mark & 255 == 1 accept"),
    ],
)
def test_a_mark_lets_packets_in(text: str, rule: str) -> None:
    assert marked(parse_mark(text)) == rule


@pytest.mark.parametrize("text", ["one", "1/", "-1", "4294967296", "1/two"])
def test_marks_that_no_packet_can_have_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid firewall mark"):
        parse_mark(text)


def endpoint(name: str, value: str) -> n.EndpointSettings:
    return n.EndpointSettings(driver_opts={name: value})


def test_parameters_of_an_interface_name_it_by_a_placeholder() -> None:
    asked = endpoint(endpoint_options.SYSCTLS, "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.ifname.gc_stale=9")
    assert endpoint_options.parameters(asked, "eth3") == {
        "ipv4/conf/eth3/log_martians": "1",
        "ipv6/neigh/eth3/gc_stale": "9",
    }


@pytest.mark.parametrize(
    "text",
    ["foo", "net.ipv4.conf.eth0.x=1", "net.core.conf.IFNAME.x=1", "net.ipv4.a/b.IFNAME.x=1", "a.ipv4.c.IFNAME.x"],
)
def test_parameters_of_anything_else_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="unrecognised network interface sysctl"):
        endpoint_options.parameters(endpoint(endpoint_options.SYSCTLS, text), "eth0")


@pytest.mark.parametrize("name", ["lo", "..", "a/b", "a" * 16])
def test_interface_names_that_no_link_can_have_are_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid interface name"):
        endpoint_options.interface_name(endpoint(endpoint_options.IFNAME, name))
