"""An endpoint: one container's interface on one network, as a value that is kept while the container runs.

    <exec-root>/network/<container ID>.json     a ``SandboxRecord``: what a restarted daemon needs to adopt it

The file lies in the exec root, a tmpfs: like the namespace that it describes it is gone after a reboot.
"""

import hashlib
from functools import lru_cache
from ipaddress import ip_interface

import msgspec

from sampan.api.networks import EndpointIPAMConfig, EndpointResource, EndpointSettings
from sampan.api.ports import PortMap
from sampan.errors import InvalidParameter
from sampan.linux.rtnetlink import Address, Interface
from sampan.network.ipam import parse_address

LINK_LOCAL_PREFIX = {4: 16, 6: 64}

parsed = lru_cache(1024)(ip_interface)
"""An address with its prefix length, as a value."""


class Endpoint(msgspec.Struct, kw_only=True):
    """Addresses are with their prefix length, empty for a family the network lacks."""

    id: str
    network_id: str
    network: str
    container_id: str
    container: str
    interface: str
    veth: str = ""
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    gateway4: str = ""
    gateway6: str = ""
    internal: bool = False
    link_local: list[str] = []
    names: list[str] = []
    asked: EndpointSettings = msgspec.field(default_factory=EndpointSettings)

    @property
    def interfaces(self) -> list[Interface]:
        """The addresses with their prefix lengths."""
        return [parsed(text) for text in (self.ipv4, self.ipv6) if text]

    @property
    def link_interfaces(self) -> list[Interface]:
        """The same and the link-local ones, the user's and, with IPv6, that of the MAC: all that the link gets."""
        own = [link_local_of(self.mac)] if self.ipv6 and self.mac else []
        return list(dict.fromkeys([*self.interfaces, *map(parsed, self.link_local), *own]))

    @property
    def addresses(self) -> list[Address]:
        return [interface.ip for interface in self.interfaces]

    def address(self, version: int) -> Address | None:
        """The address of IP ``version``."""
        return next((address for address in self.addresses if address.version == version), None)

    def gateway(self, version: int) -> str:
        """The gateway of IP ``version`` that may become the container's default; empty where there is none."""
        return "" if self.internal else (self.gateway4 if version == 4 else self.gateway6)

    def settings(self) -> EndpointSettings:
        """As a container's inspection shows it."""
        ipv4, ipv6 = (parsed(text) if text else None for text in (self.ipv4, self.ipv6))
        return EndpointSettings(
            ipam_config=self.asked.ipam_config,
            links=self.asked.links,
            aliases=self.asked.aliases,
            driver_opts=self.asked.driver_opts,
            gw_priority=self.asked.gw_priority,
            network_id=self.network_id,
            endpoint_id=self.id,
            gateway=self.gateway(4),
            ip_address=str(ipv4.ip) if ipv4 else "",
            mac_address=self.mac,
            ip_prefix_len=ipv4.network.prefixlen if ipv4 else 0,
            ipv6_gateway=self.gateway(6),
            global_ipv6_address=str(ipv6.ip) if ipv6 else "",
            global_ipv6_prefix_len=ipv6.network.prefixlen if ipv6 else 0,
            dns_names=self.names or None,
        )

    def resource(self) -> EndpointResource:
        """As the network's inspection shows it."""
        return EndpointResource(
            name=self.container,
            endpoint_id=self.id,
            mac_address=self.mac,
            ipv4_address=self.ipv4,
            ipv6_address=self.ipv6,
        )


class PortRecord(msgspec.Struct):
    """One held port: protocol and container port, host address and port, allowed sources."""

    port: int
    protocol: str
    host: str
    number: int
    allow: list[str] = []


class SandboxRecord(msgspec.Struct):
    """What is kept of a running container's networking."""

    container_id: str
    endpoints: list[Endpoint] = []
    ports: list[PortRecord] = []
    asked: PortMap | None = None
    """What the container asked for when ``ports`` were taken; None in records of before it was noted."""


def linkless_id(network_id: str, container_id: str) -> str:
    """The ID of an endpoint on a network that gives no interface: there is nothing else to it, so it is not kept."""
    return hashlib.sha256(f"{network_id}{container_id}".encode()).hexdigest()


def mac_of(ipv4: str) -> str:
    """The MAC that belongs to an IPv4 address: a successor to the address need not be told apart."""
    return "02:42:" + parsed(ipv4).ip.packed.hex(":")


def link_local_of(mac: str) -> Interface:
    """The IPv6 address that a link has by its MAC (RFC 4291, appendix A)."""
    packed = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([packed[0] ^ 2]) + packed[1:3] + b"\xff\xfe" + packed[3:]
    return ip_interface((b"\xfe\x80" + bytes(6) + identifier, LINK_LOCAL_PREFIX[6]))


def link_local(asked: EndpointSettings) -> list[Interface]:
    """The link-local addresses asked for, with their prefix; raises InvalidParameter for others."""
    found = []
    for text in (asked.ipam_config or EndpointIPAMConfig()).link_local_ips or ():
        address = parse_address(text, "link-local IP address")
        if not address.is_link_local:
            raise InvalidParameter(f"invalid link local IP address: {text}")
        found.append(ip_interface((address, LINK_LOCAL_PREFIX[address.version])))
    return found


def asked_address(settings: EndpointSettings, version: int) -> str:
    """The address of IP ``version`` that the user asked for."""
    asked = settings.ipam_config or EndpointIPAMConfig()
    return asked.ipv4_address if version == 4 else asked.ipv6_address


def former_address(settings: EndpointSettings, version: int) -> str:
    """The address of IP ``version`` that the endpoint had when its container last ran."""
    return settings.ip_address if version == 4 else settings.global_ipv6_address
