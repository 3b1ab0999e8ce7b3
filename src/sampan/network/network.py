"""One network: its record, the meaning of its options, its pools, endpoints and names."""

import secrets
from ipaddress import ip_interface

from sampan.api.networks import (
    EndpointSettings,
    IPAMStatus,
    NetworkInspect,
    NetworkStatus,
    NetworkSummary,
    SubnetStatus,
)
from sampan.errors import InvalidParameter
from sampan.linux.rtnetlink import Address, Interface
from sampan.linux.rtnetlink import Network as Subnet
from sampan.network import endpoint_options, names, options, request
from sampan.network.endpoint import Endpoint, asked_address, former_address, link_local, mac_of
from sampan.network.firewall import Filtered
from sampan.network.ipam import NoAddresses, Pool, parse_address
from sampan.network.member import Member
from sampan.network.names import NameTable
from sampan.network.options import GatewayMode
from sampan.network.request import PREDEFINED


class Network:
    """A network of this data root; ``endpoints`` by container ID are those of running containers."""

    def __init__(self, summary: NetworkSummary, *, default_link: str = "", proxied: bool = False) -> None:
        self.summary = summary
        self.options = options.parse(summary.options or {}, proxied=proxied)
        self.pools = request.pools(summary)
        self.endpoints: dict[str, Endpoint] = {}
        self.names = NameTable(summary.name)
        self.link = self.options.link or default_link or f"br-{summary.id[:12]}"

    @property
    def id(self) -> str:
        return self.summary.id

    @property
    def name(self) -> str:
        return self.summary.name

    @property
    def driver(self) -> str:
        return self.summary.driver

    @property
    def predefined(self) -> bool:
        return self.name in PREDEFINED

    @property
    def has_dns(self) -> bool:
        """Whether containers find each other by name here: on every network but the predefined ones."""
        return not self.predefined

    @property
    def subnets(self) -> list[Subnet]:
        return [pool.subnet for pool in self.pools]

    @property
    def gateways(self) -> list[Interface]:
        """The addresses of the link, one per pool that has a gateway and is not isolated from the host."""
        return [
            ip_interface((p.gateway, p.subnet.prefixlen))
            for p in self.pools
            if p.gateway and self.options.gateway_mode(p.subnet.version) != GatewayMode.ISOLATED
        ]

    def versions(self, mode: GatewayMode) -> frozenset[int]:
        """The IP versions with this gateway mode."""
        return frozenset(version for version in (4, 6) if self.options.gateway_mode(version) == mode)

    def filtered(self) -> Filtered:
        """What the firewall needs to know."""
        routed = self.versions(GatewayMode.ROUTED)
        subnets = tuple(self.subnets)
        hidden = self.options.masquerade and not self.summary.internal
        return Filtered(
            bridge=self.link,
            subnets=subnets,
            internal=self.summary.internal,
            icc=self.options.icc,
            masquerade=tuple(s for s in subnets if hidden and s.version not in routed),
            shown_as=self.options.shown_as,
            unprotected=self.versions(GatewayMode.UNPROTECTED),
            visible=routed,
        )

    def check(self, asked: EndpointSettings) -> None:
        """Raise InvalidParameter for settings that this network could never satisfy; all reasons at once."""
        wanted = {version: asked_address(asked, version) for version in (4, 6)}
        reasons = []
        if self.predefined and any(wanted.values()):
            reasons.append("user-specified IP address is supported on user-defined networks only")
        if self.predefined and asked.aliases:
            reasons.append("network-scoped aliases are only supported for user-defined networks")
        for check in (self._check_addresses, link_local, endpoint_options.interface_name, parameters):
            try:
                check(asked)
            except InvalidParameter as error:
                reasons.append(error.message)
        if reasons:
            raise InvalidParameter(f"invalid endpoint settings:\n{request.listed(reasons)}")

    def _check_addresses(self, asked: EndpointSettings) -> None:
        for version in (4, 6):
            if text := asked_address(asked, version):
                address = parse_address(text, f"IPv{version} address")
                if address.version != version or address.is_unspecified:
                    raise InvalidParameter(f"invalid IPv{version} address: {text}")
                self._pool_of(address)

    def _pool_of(self, address: Address) -> Pool:
        for candidate in self.pools:
            if address in candidate.subnet:
                return candidate
        raise InvalidParameter(f"no configured subnet contains IP address {address}")

    def add(self, member: Member, asked: EndpointSettings, interface: str) -> Endpoint:
        """A new endpoint with leased addresses and registered names; raises Conflict when there is no address."""
        leased: list[tuple[Pool, Address]] = []
        try:
            for version in (4, 6):
                leased += self._lease(version, asked)
        except BaseException:
            for source, address in leased:
                source.release(address)
            raise
        endpoint = self._endpoint(member, asked, interface, leased)
        self.register(endpoint)
        return endpoint

    def _lease(self, version: int, asked: EndpointSettings) -> list[tuple[Pool, Address]]:
        text = asked_address(asked, version)
        if text:
            wanted = parse_address(text, f"IPv{version} address")
            source = self._pool_of(wanted)
            return [(source, source.lease(wanted))]
        former = former_address(asked, version)
        candidates = [candidate for candidate in self.pools if candidate.subnet.version == version]
        try:
            return [(candidates[0], candidates[0].lease_again(former))] if candidates else []
        except NoAddresses as error:
            error.message += f": {self.name} ({self.id})"
            raise

    def _endpoint(
        self, member: Member, asked: EndpointSettings, interface: str, leased: list[tuple[Pool, Address]]
    ) -> Endpoint:
        found = {a.version: (str(ip_interface((a, p.subnet.prefixlen))), str(p.gateway or "")) for p, a in leased}
        ipv4, gateway4 = found.get(4, ("", ""))
        ipv6, gateway6 = found.get(6, ("", ""))
        return Endpoint(
            id=secrets.token_hex(32),
            network_id=self.id,
            network=self.name,
            container_id=member.container_id,
            container=member.name.removeprefix("/"),
            interface=interface,
            ipv4=ipv4,
            ipv6=ipv6,
            mac=self._mac(asked, ipv4),
            gateway4=gateway4,
            gateway6=gateway6,
            internal=self.summary.internal,
            link_local=[str(interface) for interface in link_local(asked)],
            names=self.dns_names(member, asked),
            asked=asked,
        )

    def _mac(self, asked: EndpointSettings, ipv4: str) -> str:
        """The MAC of a new endpoint; none of its own on ipvlan."""
        if self.driver == "ipvlan":
            return ""
        return asked.mac_address or (mac_of(ipv4) if ipv4 else random_mac())

    def register(self, endpoint: Endpoint) -> None:
        """The endpoint exists: list it, and answer to its names."""
        self.endpoints[endpoint.container_id] = endpoint
        if endpoint.names:
            self.names.add(endpoint.container_id, endpoint.names, endpoint.addresses)

    def rename(self, endpoint: Endpoint, member: Member) -> None:
        """The endpoint's container has another name."""
        self.names.remove(endpoint.container_id)
        endpoint.container = member.name.removeprefix("/")
        endpoint.names = self.dns_names(member, endpoint.asked)
        self.register(endpoint)

    def dns_names(self, member: Member, asked: EndpointSettings) -> list[str]:
        """All names in look-ups; none where there are no look-ups."""
        if not self.has_dns:
            return []
        return names.dns_names(member.name, member.container_id, member.hostname, asked.aliases or ())

    def adopt(self, endpoint: Endpoint) -> None:
        """Register an endpoint of before a restart, its addresses leased again."""
        for address in endpoint.addresses:
            for candidate in self.pools:
                if address in candidate.subnet:
                    candidate.lease(address)
        self.register(endpoint)

    def remove(self, endpoint: Endpoint) -> None:
        """Forget the endpoint and give its addresses back."""
        self.endpoints.pop(endpoint.container_id, None)
        self.names.remove(endpoint.container_id)
        for address in endpoint.addresses:
            for candidate in self.pools:
                candidate.release(address)

    def inspect(self) -> NetworkInspect:
        """The answer of the API."""
        fields = {name: getattr(self.summary, name) for name in self.summary.__struct_fields__}
        subnets = {
            str(p.subnet): SubnetStatus(ips_in_use=p.in_use, dynamic_ips_available=p.available) for p in self.pools
        }
        return NetworkInspect(
            **fields,
            containers={id_: endpoint.resource() for id_, endpoint in self.endpoints.items()},
            status=NetworkStatus(ipam=IPAMStatus(subnets=subnets)),
        )


def parameters(asked: EndpointSettings) -> None:
    """Raise InvalidParameter for kernel parameters that are none of an interface."""
    endpoint_options.parameters(asked, "eth0")


def random_mac() -> str:
    """A locally administered unicast MAC."""
    return "02:" + secrets.token_bytes(5).hex(":")
