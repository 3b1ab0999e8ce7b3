"""Options, requests, predefined networks, and the firewall's text."""

from ipaddress import ip_address, ip_network

import pytest

from sampan.api import networks as n
from sampan.config import Config
from sampan.errors import Forbidden, InvalidParameter, Unsupported
from sampan.network import options, predefined, request
from sampan.network.firewall import Filtered, Firewall, Published

BRIDGE = "com.docker.network.bridge."


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({BRIDGE + "enable_icc": "maybe"}, InvalidParameter),
        ({BRIDGE + "name": "a/b"}, InvalidParameter),
        ({BRIDGE + "host_binding_ipv4": "here"}, InvalidParameter),
        ({BRIDGE + "gateway_mode_ipv4": "isolated"}, Unsupported),
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


@pytest.mark.parametrize("fields", [{"ingress": True}, {"scope": "swarm"}])
def test_a_swarms_networks_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Forbidden, match="not a swarm manager"):
        request.summary(n.NetworkCreateRequest(name="web", **fields), None)  # type: ignore[arg-type]


def test_overlapping_subnets_of_one_network_are_refused() -> None:
    ipam = n.IPAM(config=[n.IPAMConfig(subnet="10.0.0.0/8"), n.IPAMConfig(subnet="10.1.0.0/16")])
    with pytest.raises(InvalidParameter, match="overlaps another subnet of the same network"):
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
