"""The sandboxes of running containers: made at start, changed by connect and publish, given back at stop.

    open: take a namespace     furnish: plug endpoints in → default routes → publish ports → serve names → record

A failure on the way gives back everything done so far. The record in the exec root is written last and
removed first: a restarted daemon adopts whole sandboxes only.
"""

import asyncio
import dataclasses
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec

from sampan.api.networks import EndpointSettings
from sampan.api.ports import PortMap
from sampan.config import Config
from sampan.errors import EngineError, InvalidParameter
from sampan.linux import netns
from sampan.linux.netns import Namespaces
from sampan.linux.rtnetlink import Rtnetlink
from sampan.network import endpoint_options, links, names
from sampan.network.drivers import Driver, announce
from sampan.network.endpoint import Endpoint, SandboxRecord
from sampan.network.firewall import Firewall
from sampan.network.live import Live
from sampan.network.member import HOST_GATEWAY, LINKLESS, Member, Sandbox
from sampan.network.network import Network
from sampan.network.pool import DNS_ADDRESS, Pool, Prepared, open_dns
from sampan.network.ports import port_map
from sampan.network.publishing import Publisher
from sampan.network.resolver import Resolver, Upstream
from sampan.network.wishes import Wish

log = logging.getLogger("sampan.network")


class Sandboxes:
    """All live sandboxes, by container ID."""

    def __init__(
        self,
        config: Config,
        records: Path,
        namespaces: Namespaces,
        pool: Pool,
        firewall: Firewall,
        drivers: Mapping[str, Driver],
    ) -> None:
        self.live: dict[str, Live] = {}
        self._opened: dict[str, tuple[Live, Sequence[Wish]]] = {}
        self.host_gateway: list[str] = list(config.host_gateway_ips)
        self._config = config
        self._records = records
        self._namespaces = namespaces
        self._pool = pool
        self._drivers = drivers
        self._publisher = Publisher(config, firewall)

    # start and stop

    async def open(self, member: Member, wishes: Sequence[Wish]) -> Sandbox:
        """A new sandbox with nothing in it, which ``furnish`` gives an endpoint for each of ``wishes``."""
        needs_pair = any(network.driver == "bridge" for network, _ in wishes)
        prepared = await self._pool.take(member.userns, pair=needs_pair)
        sandbox = Sandbox(member.container_id, prepared.netns)
        sandbox.userns = prepared.userns
        self._opened[member.container_id] = Live(member, prepared, sandbox), wishes
        return sandbox

    async def furnish(self, container_id: str) -> Live:
        """Make an opened sandbox what it is to be; all or nothing."""
        live, wishes = self._opened.pop(container_id)
        self.live[container_id] = live
        async with live.changing:
            try:
                await self._furnish(live, wishes)
            except OSError as error:
                await self._give_back(live)
                raise EngineError(str(error)) from error
            except BaseException:
                await self._give_back(live)
                raise
        return live

    async def _furnish(self, live: Live, wishes: Sequence[Wish]) -> None:
        for network, asked in wishes:
            await self._plug(live, network, asked)
        live.route()
        await self._publisher.settle(live)
        self._serve_names(live)
        self._check_links(live)
        self._describe(live)
        write(self._path(live), live.record())  # half of it is like none: nothing runs

    @asynccontextmanager
    async def changing(self, container_id: str) -> AsyncIterator[Live | None]:
        """The sandbox for a change of it, while nobody else changes it; None if the container does not run."""
        while live := self.live.get(container_id):
            async with live.changing:
                if self.live.get(container_id) is live:
                    yield live
                    return
        yield None

    async def leave(self, container_id: str) -> None:
        """Give everything back; idempotent."""
        (self._records / f"{container_id}.json").unlink(missing_ok=True)
        if container_id in self._opened:
            self._opened.pop(container_id)[0].close()
        async with self.changing(container_id) as live:
            if live:
                await self._give_back(live)

    async def _give_back(self, live: Live) -> None:
        del self.live[live.member.container_id]
        self._path(live).unlink(missing_ok=True)
        try:
            await self._publisher.withdraw(live)
        finally:
            for network, endpoint in live.plugged.values():
                network.remove(endpoint)
            live.close()

    def close(self) -> None:
        """Stop serving; containers keep their namespaces, addresses and translated ports."""
        while self._opened:
            self._opened.popitem()[1][0].close()
        for live in self.live.values():
            live.close()
            self._publisher.release(live)
        self.live.clear()

    # connect and disconnect

    async def connect(self, live: Live, network: Network, asked: EndpointSettings) -> None:
        """A further endpoint for a running container; on failure it is as before."""
        await self._plug(live, network, asked)
        try:
            await self._settle(live)
        except BaseException:
            await self.disconnect(live, network)
            raise

    async def disconnect(self, live: Live, network: Network) -> None:
        """Take an endpoint away from a running container."""
        _, endpoint = live.plugged.pop(network.id)
        await self._unplug(live, endpoint)
        network.remove(endpoint)
        await self._settle(live)

    def rename(self, live: Live, name: str) -> None:
        """Another name for a running container, in look-ups and inspections."""
        live.member = dataclasses.replace(live.member, name=name)
        for network, endpoint in live.plugged.values():
            network.rename(endpoint, live.member)
        self._describe(live)
        self._save(live)

    async def publish(self, live: Live, ports: PortMap) -> Sandbox:
        """Make ``ports`` the published ports of a running container; on failure they are as before."""
        before = live.member
        live.member = dataclasses.replace(before, ports=ports)
        try:
            await self._publisher.settle(live)
        except BaseException:
            live.member = before
            await self._publisher.settle(live)
            raise
        finally:
            self._describe(live)
            self._save(live)
        return live.sandbox

    async def _settle(self, live: Live) -> None:
        """After a change of endpoints: routes, ports, names and files as they must be now."""
        live.route()
        await self._publisher.settle(live)
        self._serve_names(live)
        self._describe(live)
        self._save(live)

    # plugging

    async def _plug(self, live: Live, network: Network, asked: EndpointSettings) -> None:
        interface = live.free_interface(network.options.prefix, asked)
        endpoint = network.add(live.member, asked, interface)
        try:
            await self._drivers[network.driver].plug(network, endpoint, live.prepared)
            await self._set_parameters(live, asked, interface)
        except BaseException:
            await self._unplug(live, endpoint)
            network.remove(endpoint)
            raise
        live.plugged[network.id] = (network, endpoint)
        for number in range(1, network.options.announcements if endpoint.mac else 0):
            delay = number * network.options.announcement_gap / 1000
            asyncio.get_running_loop().call_later(delay, self._announce, live, network, endpoint)

    def _announce(self, live: Live, network: Network, endpoint: Endpoint) -> None:
        """Tell the neighbours again, if the endpoint is still there."""
        id_ = live.member.container_id
        if self.live.get(id_) is live and live.plugged.get(network.id) == (network, endpoint):
            with suppress(OSError):  # the container changed its link
                announce(live.prepared, endpoint)

    async def _unplug(self, live: Live, endpoint: Endpoint) -> None:
        """Take the endpoint's interface away, if it came to be."""
        inner = live.rtnetlink
        if link := inner.link(endpoint.interface):
            await self._namespaces.call(lambda: inner.link_delete(link.ifindex), live.prepared.netns)

    async def _set_parameters(self, live: Live, asked: EndpointSettings, interface: str) -> None:
        """Write the kernel parameters that the endpoint asks for; InvalidParameter for one the kernel lacks."""

        def write() -> None:
            for name, value in wanted.items():
                path = Path("/proc/sys/net") / name
                if not path.exists():
                    raise InvalidParameter(f"failed to set sysctl of {interface}: {path} does not exist")
                path.write_text(value)

        if wanted := endpoint_options.parameters(asked, interface):
            await self._namespaces.call(write, live.prepared.netns)

    # names

    def _serve_names(self, live: Live) -> None:
        """Serve the resolver once the container is on a network of the user's."""
        if live.resolver is None and any(network.has_dns for network, _ in live.plugged.values()):
            live.resolver = Resolver(
                live.prepared.dns,
                live,
                lambda: self._upstreams(live),
                partial(self._open_upstream, live),
                words_stay=self._wanted_conf(live.member).has_ndots,
            )

    def _upstreams(self, live: Live) -> Sequence[Upstream]:
        if own := list(live.member.dns) or self._config.dns:
            return [Upstream(server, inside=True) for server in own if server != DNS_ADDRESS]
        if live.plugged and all(endpoint.internal for endpoint in live.endpoints):
            return []
        return [Upstream(server) for server in names.host_resolv_conf().nameservers]

    async def _open_upstream(self, live: Live, upstream: Upstream, kind: socket.SocketKind) -> socket.socket:
        """A socket for asking ``upstream``, in the namespace it is to be asked from."""

        def make() -> socket.socket:
            return socket.socket(upstream.family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

        return await self._namespaces.call(make, live.prepared.netns) if upstream.inside else make()

    def _describe(self, live: Live) -> None:
        """Fill in what the engine shows and writes into the container."""
        sandbox, member = live.sandbox, live.member
        linkless = {name: settings for name, settings in sandbox.endpoints.items() if name in LINKLESS}
        sandbox.endpoints = {endpoint.network: endpoint.settings() for endpoint in live.endpoints} or linkless
        way = live.gateway_endpoint()
        sandbox.ports = port_map(live.held, member.exposed) if way else {}
        sandbox.resolv_conf = self.resolv_conf(member, embedded=live.resolver is not None)
        linked = self._links(live)
        lines = [line for alias, (other, e) in linked.items() if (line := links.host_line(alias, other, e))]
        own = names.own_names(member.hostname, member.domainname, member.container_id[: names.SHORT])
        addresses = [(address, own) for endpoint in live.endpoints for address in endpoint.addresses]
        sandbox.hosts = names.hosts_text(addresses, [*self.extra_hosts(member), *lines])
        sandbox.environment = [
            variable
            for alias, (other, e) in linked.items()
            if (address := e.address(4))
            for variable in links.environment(member.name, alias, other, address)
        ]

    def _links(self, live: Live) -> dict[str, tuple[Live, Endpoint]]:
        """Legacy links with the other's endpoint on the default bridge, as far as it is there."""
        network = self._default_network(live)
        return links.linked(live.member.links, [*self.live.values()], network.id) if network else {}

    def _check_links(self, live: Live) -> None:
        """Raise for a legacy link that a starting container cannot have."""
        if network := self._default_network(live):
            links.check(live.member.name, live.member.links, [*self.live.values()], network.id)

    @staticmethod
    def _default_network(live: Live) -> Network | None:
        return next((network for network, _ in live.plugged.values() if network.predefined), None)

    def resolv_conf(self, member: Member, *, embedded: bool) -> str:
        """What goes into the container's /etc/resolv.conf; ``embedded`` with our resolver."""
        conf = self._wanted_conf(member)
        if embedded:
            return conf.embedded(DNS_ADDRESS).file("internal resolver")
        return (conf if member.dns else conf.without_loopback(ipv6=True)).file("legacy")

    def _wanted_conf(self, member: Member) -> names.ResolvConf:
        """The host's resolv.conf with what daemon and container have instead."""
        config = self._config
        conf = names.host_resolv_conf().overridden(config.dns, config.dns_search, config.dns_opts)
        return conf.overridden(member.dns, member.dns_search, member.dns_options)

    def extra_hosts(self, member: Member) -> list[tuple[str, str]]:
        """``--add-host`` as lines of /etc/hosts; ``host-gateway`` is the host's address on the default bridge."""
        lines = []
        for entry in member.extra_hosts:
            name, _, address = entry.partition("=") if "=" in entry else entry.partition(":")
            given = self.host_gateway if address == HOST_GATEWAY else [address.removeprefix("[").removesuffix("]")]
            lines += [(one, name) for one in given]
        return lines

    # records

    def _path(self, live: Live) -> Path:
        return self._records / f"{live.member.container_id}.json"

    def _save(self, live: Live) -> None:
        path = self._path(live)
        temporary = path.with_suffix(".tmp")
        write(temporary, live.record())
        temporary.replace(path)

    def records(self) -> dict[str, SandboxRecord]:
        """The records of before a restart, by container ID; unreadable ones are removed."""
        found = {}
        for path in self._records.glob("*.json"):
            try:
                record = msgspec.json.decode(path.read_bytes(), type=SandboxRecord)
                found[record.container_id] = record
            except (ValueError, OSError) as error:
                log.warning("cannot read %s: %s", path, error)
                path.unlink(missing_ok=True)
        return found

    async def restore(self, member: Member, record: SandboxRecord, networks: Mapping[str, Network]) -> Sandbox | None:
        """Adopt a running container; None if its namespace is gone."""
        try:
            fd = netns.open_of(member.pid)
        except OSError:
            return None
        prepared = await self._enter(fd)
        live = Live(member, prepared, Sandbox(member.container_id, fd))
        self.live[member.container_id] = live
        for endpoint in record.endpoints:
            if network := networks.get(endpoint.network_id):
                with suppress(EngineError):  # somebody's lease already: he is reachable as before all the same
                    network.adopt(endpoint)
                live.plugged[network.id] = (network, endpoint)
        live.adopt_routes()
        await self._publisher.resume(live, record.ports)
        if record.asked is not None and record.asked != member.ports:
            await self._finish_publish(live)
        self._serve_names(live)
        self._describe(live)
        return live.sandbox

    async def _finish_publish(self, live: Live) -> None:
        """Complete a change of ports that the daemon's end cut short: it was recorded with the container already."""
        try:
            await self._publisher.settle(live)
        except EngineError as error:
            log.warning("%s keeps the ports it had: %s", live.member.name, error)
        self._save(live)

    async def _enter(self, fd: int) -> Prepared:
        """Open again what a prepared namespace has open."""
        try:
            return await self._namespaces.call(lambda: Prepared(fd, Rtnetlink(), open_dns(replace=True)), fd)
        except BaseException:
            os.close(fd)
            raise


def write(path: Path, record: SandboxRecord) -> None:
    """A new file, or a new content."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, msgspec.json.encode(record))
    finally:
        os.close(fd)
