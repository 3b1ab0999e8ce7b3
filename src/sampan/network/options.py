"""Driver options of a network: Docker's names, parsed once.

com.docker.network.bridge.name                 the link's name                       br-<id>
com.docker.network.bridge.enable_icc           containers may talk to each other     true
com.docker.network.bridge.enable_ip_masquerade hide addresses towards the outside    true
com.docker.network.bridge.host_binding_ipv4    where ports are published             0.0.0.0
com.docker.network.bridge.gateway_mode_ipv4/6  how the outside is reached, see ``GatewayMode``   nat
com.docker.network.bridge.trusted_host_interfaces   links, by ":", that reach published ports at containers' addresses
com.docker.network.host_ipv4/6                 what the outside sees of containers    the address of the way out
com.docker.network.bridge.inhibit_ipv4         the bridge gets no IPv4 address       false
com.docker.network.driver.mtu                  0 is the kernel's 1500
com.docker.network.container_iface_prefix      eth
com.docker.network.advertise_addr_nmsgs        how often an endpoint tells its neighbours who has its addresses   1
com.docker.network.advertise_addr_ms           and how far apart                      1000
com.docker.network.enable_ipv4/6               the families, where the request does not say
com.sampan.network.publish                     nat, or proxy: ports obey the host's input policy
parent, macvlan_mode                           of macvlan
parent, ipvlan_mode, ipvlan_flag               of ipvlan
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address

import msgspec

from sampan.errors import EngineError, InvalidParameter
from sampan.linux.rtnetlink import Address

BRIDGE = "com.docker.network.bridge."
MTU = "com.docker.network.driver.mtu"
PREFIX = "com.docker.network.container_iface_prefix"
HOST_ADDRESS = {4: "com.docker.network.host_ipv4", 6: "com.docker.network.host_ipv6"}
ANNOUNCEMENTS = "com.docker.network.advertise_addr_nmsgs"
ANNOUNCEMENT_GAP = "com.docker.network.advertise_addr_ms"
PUBLISH = "com.sampan.network.publish"

TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "": 4}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2, "": 0}
IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2, "": 0}
NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
LINK_NAME = re.compile(r"[^\s/:]{1,15}")


class GatewayMode(StrEnum):
    """What stands between a bridge's containers and the outside, for one IP version."""

    NAT = "nat"
    """Addresses are hidden behind the host's, ports mapped; nobody reaches a port that is not published."""
    UNPROTECTED = "nat-unprotected"
    """The same, but who has a route to the containers reaches all their ports."""
    ROUTED = "routed"
    """Addresses are not hidden; a published port is opened, not mapped."""
    ISOLATED = "isolated"
    """The bridge itself has no address: not even the host is reached. Only for internal networks."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the options of one network mean."""

    link: str = ""
    icc: bool = True
    masquerade: bool = True
    host_binding: str = ""
    gateway4: GatewayMode = GatewayMode.NAT
    gateway6: GatewayMode = GatewayMode.NAT
    inhibit_ipv4: bool = False
    trusted: tuple[str, ...] = ()
    shown_as: tuple[Address, ...] = ()
    mtu: int = 0
    prefix: str = "eth"
    announcements: int = 1
    announcement_gap: int = 1000
    """Milliseconds."""
    proxied: bool = False
    parent: str = ""
    macvlan_mode: int = 4
    ipvlan_mode: int = 0
    ipvlan_flag: int = 0

    def gateway_mode(self, version: int) -> GatewayMode:
        """The gateway mode of IP ``version``."""
        return self.gateway4 if version == 4 else self.gateway6

    @property
    def is_layer3(self) -> bool:
        """Whether an ipvlan routes: its links have no neighbours, so no gateway to ask for."""
        return self.ipvlan_mode != IPVLAN_MODES["l2"]


def parse(options: Mapping[str, str], *, driver: str = "macvlan", proxied: bool = False) -> Options:
    """The meaning of ``options`` for ``driver``. Raises InvalidParameter.

    ``proxied`` is the daemon's default way to publish.
    """
    binding = given_address(options, BRIDGE + "host_binding_ipv4")
    shown = [given_address(options, key, version) for version, key in HOST_ADDRESS.items()]
    if options.get("parent") == "lo":
        raise InvalidParameter(f"loopback interface is not a valid {driver} parent link")
    return Options(
        link=link_name(options.get(BRIDGE + "name", "")),
        icc=boolean(options, BRIDGE + "enable_icc", default=True),
        masquerade=boolean(options, BRIDGE + "enable_ip_masquerade", default=True),
        host_binding=str(binding or ""),
        trusted=tuple(link for link in options.get(BRIDGE + "trusted_host_interfaces", "").split(":") if link),
        shown_as=tuple(address for address in shown if address),
        gateway4=gateway_mode(options, BRIDGE + "gateway_mode_ipv4"),
        gateway6=gateway_mode(options, BRIDGE + "gateway_mode_ipv6"),
        inhibit_ipv4=boolean(options, BRIDGE + "inhibit_ipv4", default=False),
        mtu=mtu(options.get(MTU, "")),
        prefix=prefix(options.get(PREFIX, "eth")),
        announcements=number(options, ANNOUNCEMENTS, 1, range(4), "an integer"),
        announcement_gap=number(options, ANNOUNCEMENT_GAP, 1000, range(100, 2001), "integer milliseconds"),
        proxied=publish(options.get(PUBLISH, "proxy" if proxied else "nat")),
        parent=options.get("parent", ""),
        macvlan_mode=word(options, "macvlan_mode", MACVLAN_MODES, "'bridge' mode is the macvlan driver default"),
        ipvlan_mode=word(options, "ipvlan_mode", IPVLAN_MODES, "'l2' mode is the ipvlan driver default"),
        ipvlan_flag=word(options, "ipvlan_flag", IPVLAN_FLAGS, "'bridge' is the ipvlan driver default"),
    )


def given_address(options: Mapping[str, str], key: str, version: int = 0) -> Address | None:
    """The IP address given, of ``version`` where that matters; raises InvalidParameter."""
    text = options.get(key, "")
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        raise unreadable(key, text, "nil ip") from None
    if version and address.version != version:
        raise unreadable(key, text, f"not an IPv{version} address")
    return address


def word(options: Mapping[str, str], key: str, meanings: Mapping[str, int], default: str) -> int:
    """The kernel's number for a word; raises InvalidParameter telling the ``default``."""
    text = options.get(key, "")
    if text not in meanings:
        raise InvalidParameter(f"requested {key.replace('_', ' ')} '{text}' is not valid, {default}")
    return meanings[text]


def boolean(options: Mapping[str, str], key: str, *, default: bool) -> bool:
    """A Go boolean; raises InvalidParameter."""
    text = options.get(key, "")
    if text == "" or text in TRUE | FALSE:
        return text in TRUE if text else default
    raise unreadable(key, text, f'strconv.ParseBool: parsing "{text}": invalid syntax')


def unreadable(key: str, text: str, why: str) -> InvalidParameter:
    """The error of an option whose value says nothing, in Docker's words."""
    return InvalidParameter(f"failed to parse {key} value: {text} ({why})")


def mtu(text: str) -> int:
    """Raises InvalidParameter unless ``text`` is empty, 0, or a size the kernel takes."""
    if not text:
        return 0
    if not NUMBER.fullmatch(text):
        raise unreadable(MTU, text, f'strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number != 0 and not 68 <= number <= 65535:
        raise InvalidParameter(f"invalid MTU number: {number}")
    return number


def number(options: Mapping[str, str], key: str, default: int, allowed: range, kind: str) -> int:
    """The number given, or ``default``; raises EngineError, as Docker does, for what is none that is ``allowed``."""
    text = options.get(key)
    if text is None:
        return default
    if not NUMBER.fullmatch(text):
        raise EngineError(f'value for option {key} "{text}" must be {kind}')
    if int(text) not in allowed:
        raise EngineError(f"{key} must be in the range {allowed[0]} to {allowed[-1]}")
    return int(text)


def link_name(text: str) -> str:
    """Raises InvalidParameter for what the kernel takes for no link's name."""
    if text and (not LINK_NAME.fullmatch(text) or text in (".", "..")):
        raise InvalidParameter(f"invalid network interface name: {text!r}: expected up to 15 letters without '/'")
    return text


def prefix(text: str) -> str:
    """Raises InvalidParameter for a prefix that leaves no room for a number."""
    if not LINK_NAME.fullmatch(text) or len(text) > 12:
        raise InvalidParameter(f"invalid {PREFIX}: {text!r}: expected up to 12 letters without '/'")
    return text


def gateway_mode(options: Mapping[str, str], key: str) -> GatewayMode:
    """Raises InvalidParameter for a mode there is not."""
    mode = options.get(key, "")
    try:
        return GatewayMode(mode) if mode else GatewayMode.NAT
    except ValueError:
        raise unreadable(key, mode, f"unknown gateway mode {mode}") from None


def publish(text: str) -> bool:
    """Whether ports are published by proxy; raises InvalidParameter."""
    if text not in ("nat", "proxy"):
        raise InvalidParameter(f"invalid {PUBLISH}: {text!r}: expected nat or proxy")
    return text == "proxy"
