"""A running container's networking: its namespace, what is plugged in, what is published, its resolver.

``Live`` owns every descriptor of it; ``close`` lets go of them all.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network

from sampan.api.networks import EndpointSettings
from sampan.api.ports import Port
from sampan.errors import Conflict
from sampan.linux.rtnetlink import Address, Rtnetlink
from sampan.network.endpoint import Endpoint, PortRecord, SandboxRecord
from sampan.network.endpoint_options import interface_name
from sampan.network.firewall import Published
from sampan.network.member import Member, Sandbox
from sampan.network.names import SHORT
from sampan.network.network import Network
from sampan.network.options import GatewayMode
from sampan.network.pool import Prepared
from sampan.network.ports import Held
from sampan.network.proxy import Proxy
from sampan.network.resolver import Resolver

FULL = 64
"""Digits of a whole container ID; in look-ups the first SHORT of them stand for it."""


class Live:
    """One running container. ``plugged`` are its endpoints with their networks, in the order they came."""

    def __init__(self, member: Member, prepared: Prepared, sandbox: Sandbox) -> None:
        self.member = member
        self.prepared = prepared
        self.sandbox = sandbox
        self.plugged: dict[str, tuple[Network, Endpoint]] = {}
        self.resolver: Resolver | None = None
        self.held: list[Held] = []
        self.published: list[Published] = []
        self.proxies: dict[tuple[Held, Address], Proxy] = {}
        self.changing = asyncio.Lock()
        """Held by whoever changes it: starts, connections, publications and the end come one after the other."""
        self._defaults: dict[int, Address] = {}

    @property
    def rtnetlink(self) -> Rtnetlink:
        return self.prepared.rtnetlink

    @property
    def endpoints(self) -> list[Endpoint]:
        return [endpoint for _, endpoint in self.plugged.values()]

    def by_priority(self) -> list[tuple[Network, Endpoint]]:
        """Who may provide the default gateway: by priority, then who has more of them, then by the network's name."""

        def rank(pair: tuple[Network, Endpoint]) -> tuple[int, bool, int, str]:
            network, endpoint = pair
            gateways = sum(bool(endpoint.gateway(version)) for version in (4, 6))
            return -endpoint.asked.gw_priority, endpoint.internal, -gateways, network.name

        return sorted(self.plugged.values(), key=rank)

    def gateway_endpoint(self) -> tuple[Network, Endpoint] | None:
        """The endpoint through which the container reaches the outside, and ports are published."""
        candidates = [pair for pair in self.by_priority() if not pair[1].internal]
        return next((pair for pair in candidates if pair[1].gateway4), candidates[0] if candidates else None)

    def route(self) -> None:
        """Let the default routes be those of the first endpoints by priority that have a gateway."""
        for version in (4, 6):
            chosen = next((e.gateway(version) for _, e in self.by_priority() if e.gateway(version)), "")
            wanted = ip_address(chosen) if chosen else None
            current = self._defaults.get(version)
            if wanted == current:
                continue
            if current:
                with suppress(OSError):  # went with its link
                    self.rtnetlink.route_delete(None, gateway=current)
                del self._defaults[version]
            if wanted:
                self.rtnetlink.route_add(None, gateway=wanted)
                self._defaults[version] = wanted

    def adopt_routes(self) -> None:
        """Note the default routes that a namespace of before a restart has."""
        for route in self.rtnetlink.routes():
            if route.destination is None and route.gateway:
                self._defaults[route.gateway.version] = route.gateway

    def free_interface(self, prefix: str, asked: EndpointSettings) -> str:
        """The interface name asked for, else the first free one with ``prefix``; raises Conflict if it is taken."""
        taken = {endpoint.interface for endpoint in self.endpoints}
        if name := interface_name(asked):
            if name in taken:
                raise Conflict(f"interface name {name} is used by another endpoint of {self.member.name}")
            return name
        return next(name for number in range(len(taken) + 1) if (name := f"{prefix}{number}") not in taken)

    def resolve(self, name: str) -> list[Address] | None:
        """For the resolver: ``name`` on any of the container's networks, its own links first."""
        for network, endpoint in self.plugged.values():
            target = self._link_target(endpoint, name)
            if network.has_dns and (found := network.names.resolve(target)) is not None:
                return found
        return None

    @staticmethod
    def _link_target(endpoint: Endpoint, name: str) -> str:
        for link in endpoint.asked.links or ():
            container, _, alias = link.partition(":")
            if (alias or container).lower() == name:
                named = container.removeprefix("/").lower()
                return named[:SHORT] if len(named) == FULL else named
        return name

    def reverse(self, address: Address) -> str | None:
        """For the resolver: who has ``address`` on one of the container's networks."""
        found = (network.names.reverse(address) for network, _ in self.plugged.values())
        return next((name for name in found if name), None)

    def record(self) -> SandboxRecord:
        """What a restarted daemon needs to know."""
        ports = [
            PortRecord(h.port.number, h.port.protocol, str(h.host), h.number, [str(source) for source in h.allow])
            for h in self.held
        ]
        return SandboxRecord(self.member.container_id, self.endpoints, ports, dict(self.member.ports))

    def close(self) -> None:
        """Close what the daemon holds; the namespace lives on while processes are in it."""
        if self.resolver:
            self.resolver.close()
        for proxy in self.proxies.values():
            proxy.close()
        self.prepared.close()


def held_of(record: PortRecord) -> Held:
    """The port of a record, not bound."""
    port = Port(record.port, record.protocol)
    allow = tuple(ip_network(source) for source in record.allow)
    return Held(port, ip_address(record.host), record.number, None, allow)


def translations(
    held: Sequence[Held], network: Network, endpoint: Endpoint, *, direct: bool = False
) -> list[Published]:
    """The firewall's part of publishing ``held`` for an endpoint; proxied networks have none.

    ``direct``: who has a route to the container may use its published ports there.
    """
    found = []
    for one in held:
        address = endpoint.address(one.host.version)
        routed = network.options.gateway_mode(one.host.version) == GatewayMode.ROUTED
        if address is None or (network.options.proxied and not routed):
            continue
        found.append(
            Published(
                one.port.protocol,
                None if int(one.host) == 0 else one.host,
                one.number,
                address,
                one.port.number,
                one.allow,
                routed=routed,
                direct=direct,
                trusted=network.options.trusted,
            )
        )
    return found
