"""Driver options of a network: Docker's names, parsed once.

com.docker.network.bridge.name                 the link's name                       br-<id>
com.docker.network.bridge.enable_icc           containers may talk to each other     true
com.docker.network.bridge.enable_ip_masquerade hide addresses towards the outside    true
com.docker.network.bridge.host_binding_ipv4    where ports are published             0.0.0.0
com.docker.network.bridge.gateway_mode_ipv4/6  nat, or routed: neither hidden nor mapped
com.docker.network.bridge.inhibit_ipv4         the bridge gets no IPv4 address       false
com.docker.network.driver.mtu                  0 is the kernel's 1500
com.docker.network.container_iface_prefix      eth
com.sampan.network.publish                     nat, or proxy: ports obey the host's input policy
parent, macvlan_mode                           of macvlan
"""

import re
from collections.abc import Mapping

import msgspec

from sampan.errors import InvalidParameter, Unsupported
from sampan.network.ipam import parse_address

BRIDGE = "com.docker.network.bridge."
MTU = "com.docker.network.driver.mtu"
PREFIX = "com.docker.network.container_iface_prefix"
PUBLISH = "com.sampan.network.publish"

TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "": 4}
LINK_NAME = re.compile(r"[^\s/:]{1,15}")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the options of one network mean."""

    link: str = ""
    icc: bool = True
    masquerade: bool = True
    host_binding: str = ""
    routed4: bool = False
    routed6: bool = False
    inhibit_ipv4: bool = False
    mtu: int = 0
    prefix: str = "eth"
    proxied: bool = False
    parent: str = ""
    macvlan_mode: int = 4


def parse(options: Mapping[str, str], *, proxied: bool = False) -> Options:
    """The meaning of ``options``; ``proxied`` is the daemon's default way to publish. Raises InvalidParameter."""
    binding = options.get(BRIDGE + "host_binding_ipv4", "")
    if binding:
        parse_address(binding, BRIDGE + "host_binding_ipv4")
    mode = options.get("macvlan_mode", "")
    if mode not in MACVLAN_MODES:
        raise InvalidParameter(f"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan default")
    return Options(
        link=link_name(options.get(BRIDGE + "name", "")),
        icc=boolean(options, BRIDGE + "enable_icc", default=True),
        masquerade=boolean(options, BRIDGE + "enable_ip_masquerade", default=True),
        host_binding=binding,
        routed4=routed(options, BRIDGE + "gateway_mode_ipv4"),
        routed6=routed(options, BRIDGE + "gateway_mode_ipv6"),
        inhibit_ipv4=boolean(options, BRIDGE + "inhibit_ipv4", default=False),
        mtu=mtu(options.get(MTU, "")),
        prefix=prefix(options.get(PREFIX, "eth")),
        proxied=publish(options.get(PUBLISH, "proxy" if proxied else "nat")),
        parent=options.get("parent", ""),
        macvlan_mode=MACVLAN_MODES[mode],
    )


def boolean(options: Mapping[str, str], key: str, *, default: bool) -> bool:
    """A Go boolean; raises InvalidParameter."""
    text = options.get(key, "")
    if text == "" or text in TRUE | FALSE:
        return text in TRUE if text else default
    raise InvalidParameter(f"failed to parse {key} value: {text!r} is not a boolean")


def mtu(text: str) -> int:
    """Raises InvalidParameter unless ``text`` is empty, 0, or a size the kernel takes."""
    if not text:
        return 0
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number != 0 and not 68 <= number <= 65535:
        raise InvalidParameter(f"invalid {MTU}: {text!r}: expected a number from 68 to 65535")
    return number


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


def routed(options: Mapping[str, str], key: str) -> bool:
    """Whether a gateway mode is ``routed``; raises Unsupported for those other than nat and routed."""
    mode = options.get(key, "")
    if mode in ("", "nat", "routed"):
        return mode == "routed"
    if mode in ("nat-unprotected", "isolated"):
        raise Unsupported(f"{key}={mode} is not supported: use nat or routed")
    raise InvalidParameter(f"unknown gateway mode {mode}")


def publish(text: str) -> bool:
    """Whether ports are published by proxy; raises InvalidParameter."""
    if text not in ("nat", "proxy"):
        raise InvalidParameter(f"invalid {PUBLISH}: {text!r}: expected nat or proxy")
    return text == "proxy"
