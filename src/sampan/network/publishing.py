"""Publishing: from the ports that a container asks for to sockets, translations and proxies, always by difference.

    asked (-p, -P) ── wanted ── held (bound on the host) ─┬─ published (translated by the firewall)
                                                          └─ proxied (carried by the daemon)

``settle`` follows every change of ports or endpoints. What is the same before and after is not touched: a port that
stays keeps its number and its connections. A settle that failed leaves what ``settle`` with the old wishes mends.
"""

import logging
from collections.abc import Sequence
from ipaddress import ip_address

from sampan.config import Config
from sampan.errors import EngineError
from sampan.linux.rtnetlink import Address
from sampan.network import proxy
from sampan.network.endpoint import Endpoint, PortRecord
from sampan.network.firewall import Firewall
from sampan.network.live import Live, held_of, translations
from sampan.network.network import Network
from sampan.network.options import GatewayMode
from sampan.network.ports import ANY4, ANY6, Held, Ports, Wanted, match, wanted_ports

log = logging.getLogger("sampan.network")


class Publisher:
    """The published ports of all containers."""

    def __init__(self, config: Config, firewall: Firewall) -> None:
        self._config = config
        self._firewall = firewall
        self._ports = Ports()

    async def settle(self, live: Live) -> None:
        """Publish what the container asks for, by the endpoint that has its gateway; raises EngineError."""
        way = live.gateway_endpoint()
        wanted = self._wanted(live, way[0]) if way else []
        if not wanted and not live.held:
            return
        taken: list[Held] = []
        try:
            held: list[Held] = []
            for one, kept in zip(wanted, match(wanted, live.held), strict=True):
                fresh = [] if kept else self._ports.take(one)
                taken += fresh
                held += kept or fresh
            await self._lead(live, held)
        except EngineError as error:
            self._ports.release(taken)
            endpoint = f"{way[1].container} ({way[1].id})" if way else ""
            raise EngineError(
                f"driver failed programming external connectivity on endpoint {endpoint}: {error}"
            ) from error

    def _wanted(self, live: Live, network: Network) -> list[Wanted]:
        member = live.member
        return wanted_ports(
            member.ports,
            member.exposed,
            publish_all=member.publish_all,
            default=self._default_hosts(network),
            labels=member.labels,
            routed=network.versions(GatewayMode.ROUTED),
        )

    def _default_hosts(self, network: Network) -> list[Address]:
        """Where ports without a host address are published."""
        default = ip_address(network.options.host_binding or self._config.ip)
        return [ANY4, ANY6] if default == ANY4 else [default]

    async def _lead(self, live: Live, held: Sequence[Held]) -> None:
        """Make ``held`` the ports that lead to the container, and give back those that no longer do."""
        way = live.gateway_endpoint()
        direct = self._config.allow_direct_routing
        published = translations(held, *way, direct=direct) if way else []
        if old := [one for one in live.published if one not in published]:
            live.published = [one for one in live.published if one in published]
            await self._firewall.unpublish(old)
        if new := [one for one in published if one not in live.published]:
            await self._firewall.publish(new)
        live.published = published
        gone = [one for one in live.held if one not in held]
        live.held = list(held)
        self._carry(live, way)
        self._ports.release(gone)

    def _carry(self, live: Live, way: tuple[Network, Endpoint] | None) -> None:
        """Serve by proxy what is held, as far as the daemon or the network wants that."""
        wanted = set()
        if way and (self._config.userland_proxy or way[0].options.proxied):
            target = way[1].address(4) or way[1].address(6)
            wanted = {(held, target) for held in live.held if held.socket and target}
        for key in live.proxies.keys() - wanted:
            live.proxies.pop(key).close()
        for held, target in wanted - live.proxies.keys():
            if held.socket:
                served = proxy.serve(held.socket, held.port.protocol, target, held.port.number)
                live.proxies[held, target] = served

    async def withdraw(self, live: Live) -> None:
        """Publish nothing of the container any more."""
        try:
            if live.held:
                await self._lead(live, [])
        finally:
            self.release(live)

    def release(self, live: Live) -> None:
        """Give the container's sockets back; what the firewall translates stays."""
        for one in live.proxies.values():
            one.close()
        live.proxies.clear()
        self._ports.release(live.held)
        live.held = []

    async def resume(self, live: Live, records: Sequence[PortRecord]) -> None:
        """After a restart of the daemon: hold and lead again what a running container had."""
        await self._lead(live, [self._hold_again(held_of(record)) for record in records])

    def _hold_again(self, held: Held) -> Held:
        try:
            return self._ports.hold(held)
        except EngineError as error:
            log.warning("port %s stays translated, though another program has it: %s", held.number, error)
            return held
