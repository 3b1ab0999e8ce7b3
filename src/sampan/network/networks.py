"""The networks service: the API's seven operations, and the life of a container's sandbox.

    open ──▶ links and table as recorded ──▶ restore(running containers) ──▶ join, leave, connect, …  ──▶ close

A network is a record in the database; its link is made again whenever it is missing. What belongs to running
containers is in ``sandboxes``. After ``close`` running containers go on; with none running, nothing is left.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from sampan.api import networks as n
from sampan.api.filters import Filters
from sampan.api.ports import PortMap
from sampan.api.times import parse_moment, parse_time
from sampan.config import Config
from sampan.errors import (
    Conflict,
    EngineError,
    Forbidden,
    InvalidParameter,
    NoSuchContainer,
    NoSuchNetwork,
    NotFound,
    NotRunning,
)
from sampan.linux.idmap import IdMap
from sampan.linux.netns import Namespaces
from sampan.linux.rtnetlink import Network as Subnet
from sampan.linux.rtnetlink import Rtnetlink
from sampan.network import forwarding, listing, names, options, predefined, request
from sampan.network.drivers import Bridge, Driver, Macvlan
from sampan.network.endpoint import linkless_id
from sampan.network.firewall import Firewall, parse_mark
from sampan.network.ipam import DEFAULT_POOLS, PoolOverlaps, choose_subnet, overlaps
from sampan.network.ipvlan import Ipvlan
from sampan.network.live import Live
from sampan.network.member import LINKLESS, Member, Sandbox, recorded
from sampan.network.network import Network
from sampan.network.pool import Pool
from sampan.network.ports import wanted_ports
from sampan.network.sandboxes import Sandboxes
from sampan.network.wishes import SHARES, check_combination, check_container, check_wish, wishes_of
from sampan.storage.database import Database
from sampan.storage.records import Records

log = logging.getLogger("sampan.network")

PREPARED = 8
"""Namespaces kept ready: enough for a burst of starts, some 0.3 MB of kernel memory each."""

PRUNE_FILTERS = ("label", "label!", "until")
PROXY_FEATURE = "firewall-friendly"
"""A key of the settings' ``features``: publish by proxy, so that the host's input policy decides."""

Announce = Callable[[str, str, str, Mapping[str, str]], None]
"""``Events.publish``: type, action, ID, attributes."""


class Directory(Protocol):
    """What networks ask of the engine about containers; ``Networks.directory`` is set by the engine's wiring."""

    def member(self, reference: str) -> Member:
        """The container as it stands, running or not; raises NoSuchContainer."""

    async def set_endpoint(self, container_id: str, network: str, settings: n.EndpointSettings | None) -> None:
        """Record that the container is (or with None: is no longer) connected to the network of that name.

        For a running container the sandbox has changed already: write its ``hosts`` and ``resolv_conf``.
        """


class Networks:
    """All networks of one data root; ``open`` before use, ``close`` at the end."""

    directory: Directory

    def __init__(
        self, config: Config, database: Database, run: Path, announce: Announce, maps: IdMap | None = None
    ) -> None:
        """``maps``: the daemon's remapped users, for containers that have them."""
        self._config = config
        self._store = Records(database, "network", n.NetworkSummary)
        self._announce = announce
        self._records = run / "network"
        self._networks: dict[str, Network] = {}
        self._namespaces = Namespaces()
        self._rtnetlink = Rtnetlink()
        self._pool = Pool(self._namespaces, PREPARED, maps)
        self._firewall = Firewall(
            predefined.table(config), enabled=config.iptables, mark=parse_mark(config.bridge_accept_fwmark)
        )
        self._drivers: dict[str, Driver] = {
            "bridge": Bridge(self._rtnetlink, self._namespaces),
            "macvlan": Macvlan(self._rtnetlink, self._namespaces),
            "ipvlan": Ipvlan(self._rtnetlink, self._namespaces),
        }
        self._sandboxes = Sandboxes(config, self._records, self._namespaces, self._pool, self._firewall, self._drivers)
        self._hosts: dict[str, int] = {}
        self._changing = asyncio.Lock()

    async def open(self) -> None:
        """Make the networks' links and the firewall's table, and fill the pool.

        With containers running, the table is left as it is until ``restore``.
        """
        self._records.mkdir(mode=0o710, parents=True, exist_ok=True)
        for path in self._records.glob("*.tmp"):
            path.unlink()
        stored = {summary.name: summary for _, summary in self._store.all()}
        for summary in self._predefined(stored):
            self._put(summary)
        for name, summary in stored.items():
            if name not in request.PREDEFINED:
                self._put(summary)
        for network in self._networks.values():
            self._make_link(network)
        if not self._sandboxes.records():
            await self._firewall.apply()
        self._firewall.watch()
        self._sandboxes.host_gateway = self._sandboxes.host_gateway or self._bridge_addresses()
        await self._pool.fill()

    def _predefined(self, stored: Mapping[str, n.NetworkSummary]) -> Iterator[n.NetworkSummary]:
        if self._config.bridge != "none":
            made = predefined.bridge(self._config, stored.get("bridge"))
            others = [Network(summary) for name, summary in stored.items() if name != "bridge"]
            yield self._complete(made, [subnet for other in others for subnet in other.subnets])
        yield predefined.host(stored.get("host"))
        yield predefined.none(stored.get("none"))

    def _make_link(self, network: Network) -> None:
        """Make a recorded network's link; a network that cannot have its link now is left for its next use."""
        try:
            if isinstance(driver := self._drivers.get(network.driver), Bridge):
                driver.make(network)
                self._forward(network)
        except (OSError, EngineError) as error:
            log.warning("cannot bring up network %s: %s", network.name, error)

    def _forward(self, network: Network) -> None:
        """Let the host forward packets of the families the network has."""
        for version in {subnet.version for subnet in network.subnets} if self._config.ip_forward else ():
            forwarding.switch_on(version)

    @property
    def host_gateway(self) -> list[str]:
        """The host's addresses as containers reach them: what ``host-gateway`` means in ``--add-host``."""
        return self._sandboxes.host_gateway

    def _bridge_addresses(self) -> list[str]:
        default = self._by_name("bridge")
        return [str(interface.ip) for interface in default.gateways] if default else []

    async def close(self) -> None:
        """Stop serving; running containers keep their namespaces, addresses and translated ports."""
        idle = not self._sandboxes.live and not self._sandboxes.records()
        await self._pool.close()
        self._sandboxes.close()
        self._firewall.close()
        if idle:
            for network in self._networks.values():
                if isinstance(driver := self._drivers.get(network.driver), Bridge) and not self._config.bridge:
                    driver.remove(network)
            await self._firewall.remove()
        for fd in self._hosts.values():
            os.close(fd)
        self._rtnetlink.close()
        self._namespaces.close()

    # the API's operations

    async def create(self, request_: n.NetworkCreateRequest) -> n.NetworkCreateResponse:
        """Make a network. InvalidParameter, Forbidden, Conflict for a name that exists."""
        async with self._changing:
            made = request.summary(request_, self._template(request_), self._config.default_network_opts)
            if self._by_name(made.name):
                raise Conflict(f"network with name {made.name} already exists")
            if not made.config_only:
                made = self._complete(made, self._taken())
            self._check_link(made)
            await self._bring_up(made)
        self._announce("network", "create", made.id, {"name": made.name, "type": made.driver})
        return n.NetworkCreateResponse(id=made.id)

    def _template(self, request_: n.NetworkCreateRequest) -> n.NetworkSummary | None:
        name = request_.config_from.network if request_.config_from else ""
        if not name:
            return None
        if request_.config_only:
            request.check_template(request_)
        request.check_dependent(request_)
        found = self._by_name(name)
        if found is None or not found.summary.config_only:
            raise NotFound(f'configuration network "{name}" does not exist')
        return found.summary

    def _taken(self) -> Sequence[Subnet]:
        """The subnets of all networks that have links."""
        return [s for other in self._networks.values() if not other.summary.config_only for s in other.subnets]

    def _complete(self, made: n.NetworkSummary, taken: Sequence[Subnet]) -> n.NetworkSummary:
        """Choose pools and gateways that ``made`` leaves open; raises PoolOverlaps.

        A subnet of the address 0.0.0.0 or :: leaves all but its size open.
        """
        configs = list(made.ipam.config or [])
        has_addresses = made.ipam.driver != "null"
        for version, wanted in ((4, made.enable_ipv4), (6, made.enable_ipv6)):
            if wanted and has_addresses and not any((":" in config.subnet) == (version == 6) for config in configs):
                configs.append(n.IPAMConfig(subnet=str(self._choose(version, taken))))
        for config in configs:
            if (wish := request.pool(config).subnet).network_address.is_unspecified:
                config.subnet = str(self._choose(wish.version, taken, wish.prefixlen))
        made.ipam.config = configs or None
        mode = options.parse(made.options or {})
        for config, chosen in ((config, request.pool(config)) for config in configs):
            version = chosen.subnet.version
            if not (made.enable_ipv4 if version == 4 else made.enable_ipv6):
                continue
            if any(overlaps(chosen.subnet, other) for other in taken):
                raise PoolOverlaps
            if mode.gateway_mode(version) != options.GatewayMode.ISOLATED and not mode.is_layer3:
                config.gateway = config.gateway or str(chosen.choose_gateway())
        return made

    def _choose(self, version: int, taken: Sequence[Subnet], size: int = 0) -> Subnet:
        configured = self._config.default_address_pools or DEFAULT_POOLS
        pools = [*configured, predefined.unique_local_pool(self._config)]
        own = {network.link for network in self._networks.values()} | {predefined.bridge_link(self._config)}
        indices = {link.ifindex for link in self._rtnetlink.links() if link.name in own}
        routes = [r.destination for r in self._rtnetlink.routes() if r.destination and r.ifindex not in indices]
        return choose_subnet(pools, version, [*routes, *taken], size)

    def _check_link(self, made: n.NetworkSummary) -> None:
        """Raise Forbidden when another network has the link that the options ask for."""
        link = Network(made).link
        for other in self._networks.values():
            if made.driver == "bridge" and other.driver == "bridge" and other.link == link:
                raise Forbidden(
                    f"cannot create network {made.id} ({link}): conflicts with network {other.id} ({link}): "
                    "networks have same bridge name"
                )

    async def _bring_up(self, made: n.NetworkSummary) -> None:
        """Record the network, then make its link and rules; on failure all is as before."""
        network = self._put(made)
        try:
            if driver := self._drivers.get(network.driver):
                driver.make(network)
            if network.driver == "bridge":
                self._forward(network)
                await self._firewall.apply()
        except OSError as error:
            await self._forget(network)
            raise EngineError(f"cannot create network {made.name}: {error}") from error
        except BaseException:
            await self._forget(network)
            raise

    async def inspect(self, reference: str, *, verbose: bool = False, scope: str = "") -> n.NetworkInspect:
        """One network with the running containers on it; ``verbose`` adds nothing outside of a swarm."""
        del verbose
        network = self._find(reference)
        if scope and scope != network.summary.scope:
            raise NoSuchNetwork(reference)
        found = network.inspect()
        for container_id in self._linkless_members(network.name) if network.name in LINKLESS else ():
            name = self.directory.member(container_id).name.removeprefix("/")
            found.containers[container_id] = n.EndpointResource(name, linkless_id(network.id, container_id))
        return found

    async def list(self, filters: Filters) -> Sequence[n.NetworkSummary]:
        """All networks that ``filters`` let through."""
        listing.check(filters)
        return [network.summary for network in self._networks.values() if listing.matches(network, filters)]

    async def remove(self, reference: str) -> None:
        """Forbidden for predefined networks and while containers are connected."""
        async with self._changing:
            network = self._find(reference)
            self._check_removable(network)
            await self._forget(network)
        self._announce("network", "destroy", network.id, {"name": network.name, "type": network.driver})

    def _check_removable(self, network: Network) -> None:
        if network.predefined:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        if network.endpoints:
            listed = ", ".join(f'name:"{e.container}" id:"{e.id[:12]}"' for e in network.endpoints.values())
            raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({listed})")
        if any(other.summary.config_from.network == network.name for other in self._networks.values()):
            raise Forbidden(f'error while removing network: configuration network "{network.name}" is in use')

    async def prune(self, filters: Filters) -> n.NetworksPruneReport:
        """Remove networks without running containers; those that only hold settings stay."""
        filters.validate(PRUNE_FILTERS)
        if len(filters.get("until")) > 1:
            raise InvalidParameter("more than one until filter specified")
        until = min((parse_moment(text, time.time_ns()) for text in filters.get("until")), default=None)
        removed = []
        for network in tuple(self._networks.values()):
            young = until is not None and parse_time(network.summary.created) > until
            if not young and not network.summary.config_only and filters.labels(network.summary.labels):
                with suppress(Forbidden):
                    await self.remove(network.id)
                    removed.append(network.name)
        self._announce("network", "prune", "", {"reclaimed": "0"})
        return n.NetworksPruneReport(networks_deleted=removed or None)

    async def connect(self, reference: str, request_: n.NetworkConnectRequest) -> None:
        """Give a container, running or not, an endpoint."""
        check_container(request_.container)
        member = self.directory.member(request_.container)
        network = self._find(reference)
        asked = request_.endpoint_config or n.EndpointSettings()
        self._check_connectable(network, member, asked)
        async with self._sandboxes.changing(member.container_id) as live:
            settings = await self._connect(live, member, network, asked)
            if settings:
                await self.directory.set_endpoint(member.container_id, network.name, settings)

    async def _connect(
        self, live: Live | None, member: Member, network: Network, asked: n.EndpointSettings
    ) -> n.EndpointSettings | None:
        """The endpoint to record: made, if the container runs; None if it is recorded already."""
        if live is None:
            asked.dns_names = network.dns_names(member, asked) or None
            return None if network.name in member.endpoints else asked
        if network.id in live.plugged:
            name = member.name.removeprefix("/")
            raise Forbidden(f"endpoint with name {name} already exists in network {network.name}")
        if network.name in LINKLESS:
            live.sandbox.endpoints[network.name] = self._linkless_endpoint(network.name, member.container_id)
        else:
            await self._sandboxes.connect(live, network, asked)
        self._tell("connect", network, member.container_id)
        return recorded(live.sandbox.endpoints[network.name], asked)

    def _check_connectable(self, network: Network, member: Member, asked: n.EndpointSettings) -> None:
        if member.network_mode.startswith("container:") or (member.network_mode == "host" != network.name):
            raise InvalidParameter(SHARES)
        if network.name == "host":
            raise InvalidParameter(
                "cannot connect container to host network - container must be created in host network mode"
            )
        live = self._sandboxes.live.get(member.container_id)
        others = (set(live.sandbox.endpoints) if live else self._connected_to(member)) - {network.name, network.id}
        check_combination({network.name, *others})
        check_wish(network, asked)

    async def disconnect(self, reference: str, request_: n.NetworkDisconnectRequest) -> None:
        """Take a container's endpoint away; EngineError if it has none there."""
        check_container(request_.container)
        try:
            member = self.directory.member(request_.container)
        except NoSuchContainer:
            if request_.force and self._find(reference):
                raise NotFound(f"endpoint {request_.container} not found") from None
            raise
        network = self._find(reference)
        if network.name == "host" and member.container_id in self._hosts:
            raise InvalidParameter(
                "cannot disconnect container from host network - container was created in host network mode"
            )
        async with self._sandboxes.changing(member.container_id) as live:
            await self._disconnect(live, member, network)
            await self.directory.set_endpoint(member.container_id, network.name, None)

    async def _disconnect(self, live: Live | None, member: Member, network: Network) -> None:
        if live and network.id in live.plugged:
            await self._sandboxes.disconnect(live, network)
            self._tell("disconnect", network, member.container_id)
        elif live and network.name in live.sandbox.endpoints:
            del live.sandbox.endpoints[network.name]
        elif live or not {network.name, network.id} & self._connected_to(member):
            the = "" if live else "the "
            raise EngineError(f"container {member.container_id} is not connected to {the}network {network.name}")

    @staticmethod
    def _connected_to(member: Member) -> set[str]:
        """The names and IDs of a container's networks."""
        return set(member.endpoints) | {s.network_id for s in member.endpoints.values() if s.network_id}

    # containers

    def check(self, member: Member) -> None:
        """Raise what ``join`` would raise for wishes that can never be met (at container creation).

        A network may still be missing: the docker CLI takes "not found" at creation for a missing image.
        """
        with suppress(NoSuchNetwork):
            for wish in wishes_of(member, self._find, self._by_reference):
                try:
                    check_wish(*wish)
                except InvalidParameter as error:
                    error.within(f"invalid config for network {wish[0].name}")
                    raise
        wanted_ports(member.ports, member.exposed, publish_all=False, default=(), labels=member.labels)

    async def join(self, member: Member) -> Sandbox:
        """Give a starting container its namespace with all that belongs in it: ``open_sandbox`` and ``furnish``."""
        sandbox = await self.open_sandbox(member)
        await self.furnish(member)
        return sandbox

    async def open_sandbox(self, member: Member) -> Sandbox:
        """Give a starting container its namespace, which is empty yet; ``host`` gives the host's own."""
        if member.network_mode == "host":
            return self._host_sandbox(member)
        with _setting_up():
            wishes = wishes_of(member, self._find, self._by_reference)
            for wish in wishes:
                check_wish(*wish)
            return await self._sandboxes.open(member, wishes)

    async def furnish(self, member: Member) -> None:
        """Plug in, publish and name an opened sandbox; all or nothing: after an error it has left."""
        id_ = member.container_id
        if member.network_mode == "host":
            self._tell_linkless("connect", "host", id_)
            return
        with _setting_up():
            live = await self._sandboxes.furnish(id_)
        for network, _ in live.plugged.values():
            self._tell("connect", network, id_)
        if not live.plugged and not member.disconnected:
            live.sandbox.endpoints["none"] = self._linkless_endpoint("none", id_)
            self._tell_linkless("connect", "none", id_)

    def _host_sandbox(self, member: Member) -> Sandbox:
        fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        sandbox = Sandbox(member.container_id, fd)
        self._hosts[member.container_id] = fd
        sandbox.endpoints["host"] = self._linkless_endpoint("host", member.container_id)
        host = names.host_resolv_conf().overridden(member.dns, member.dns_search, member.dns_options)
        sandbox.resolv_conf = host.file()
        extra = "".join(f"{address}\t{name}\n" for address, name in self._sandboxes.extra_hosts(member))
        sandbox.hosts = names.host_hosts() + extra
        return sandbox

    def _linkless_endpoint(self, name: str, container_id: str) -> n.EndpointSettings:
        network = self._by_name(name)
        id_ = linkless_id(network.id, container_id) if network else ""
        return n.EndpointSettings(network_id=network.id if network else "", endpoint_id=id_)

    def _linkless_members(self, name: str) -> Sequence[str]:
        """The IDs of running containers on ``host`` or ``none``."""
        alone = [id_ for id_, live in self._sandboxes.live.items() if name in live.sandbox.endpoints]
        return [*self._hosts] if name == "host" else alone

    async def leave(self, container_id: str) -> None:
        """Give everything back; idempotent."""
        if (fd := self._hosts.pop(container_id, None)) is not None:
            os.close(fd)
            self._tell_linkless("disconnect", "host", container_id)
        live = self._sandboxes.live.get(container_id)
        await self._sandboxes.leave(container_id)
        for network, _ in live.plugged.values() if live else ():
            self._tell("disconnect", network, container_id)
        if live is not None and "none" in live.sandbox.endpoints:
            self._tell_linkless("disconnect", "none", container_id)

    async def restore(self, members: Iterable[Member]) -> dict[str, Sandbox]:
        """After a daemon restart: adopt running containers; what belongs to no member is given back."""
        records = self._sandboxes.records()
        adopted = {}
        for member in members:
            if member.network_mode == "host":
                adopted[member.container_id] = self._host_sandbox(member)
            elif (record := records.pop(member.container_id, None)) and (
                sandbox := await self._sandboxes.restore(member, record, self._networks)
            ):
                adopted[member.container_id] = sandbox
                if not sandbox.endpoints and not member.disconnected:
                    sandbox.endpoints["none"] = self._linkless_endpoint("none", member.container_id)
        for container_id in records:
            await self._sandboxes.leave(container_id)
        for network in self._networks.values():
            self._make_link(network)
        await self._firewall.apply()
        return adopted

    async def publish(self, container_id: str, ports: PortMap) -> Sandbox:
        """Make ``ports`` the published ports of a running container: the live counterpart of ``-p``."""
        async with self._sandboxes.changing(container_id) as live:
            if live is None:
                raise NotRunning(container_id)
            return await self._sandboxes.publish(live, ports)

    def rename(self, member: Member) -> None:
        """A container has another name: while it runs, its networks know it by that."""
        if live := self._sandboxes.live.get(member.container_id):
            self._sandboxes.rename(live, member.name)

    def sandbox(self, container_id: str) -> Sandbox | None:
        """The sandbox of a running container, for those that share it (``--network container:``)."""
        live = self._sandboxes.live.get(container_id)
        return live.sandbox if live else None

    # the table of networks

    def _put(self, summary: n.NetworkSummary) -> Network:
        """Record a network and let the firewall know it."""
        self._store.put(summary.id, summary, summary.name)
        # Without rules of our own a published port can only be carried by the daemon.
        proxied = self._config.features.get(PROXY_FEATURE, False) or not self._config.iptables
        network = Network(summary, proxied=proxied)
        self._networks[network.id] = network
        if network.driver == "bridge":
            self._firewall.networks[network.id] = network.filtered()
        return network

    async def _forget(self, network: Network) -> None:
        """Take rules, link and record away, in this order: a crash leaves a network that can be removed again."""
        if self._firewall.networks.pop(network.id, None):
            await self._firewall.apply()
        if driver := self._drivers.get(network.driver):
            driver.remove(network)
        self._store.delete(network.id)
        del self._networks[network.id]

    def _by_name(self, name: str) -> Network | None:
        return next((network for network in self._networks.values() if network.name == name), None)

    def name_of(self, reference: str) -> str:
        """The name of the network that ``reference`` (name, ID or its beginning) means; itself if there is none."""
        try:
            return self._find(reference).name
        except EngineError:
            return reference

    def _by_reference(self, reference: str) -> Network | None:
        return self._networks.get(reference) or self._by_name(reference)

    def _find(self, reference: str) -> Network:
        """The network with this ID or name, or whose ID alone begins so; raises NoSuchNetwork."""
        if found := self._by_reference(reference):
            return found
        begun = [network for id_, network in self._networks.items() if reference and id_.startswith(reference)]
        if len(begun) > 1:
            raise InvalidParameter(f"network {reference} is ambiguous ({len(begun)} matches found based on ID prefix)")
        if not begun:
            raise NoSuchNetwork(reference)
        return begun[0]

    def _tell_linkless(self, action: str, name: str, container_id: str) -> None:
        if network := self._by_name(name):
            self._tell(action, network, container_id)

    def _tell(self, action: str, network: Network, container_id: str) -> None:
        attributes = {"container": container_id, "name": network.name, "type": network.driver}
        self._announce("network", action, network.id, attributes)


@contextmanager
def _setting_up() -> Iterator[None]:
    """Errors say what they stood in the way of."""
    try:
        yield
    except EngineError as error:
        error.within("failed to set up container networking")
        raise
