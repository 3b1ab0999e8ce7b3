"""Drivers: how a network exists in the kernel, and how an endpoint is plugged into it.

    bridge     a bridge in the host; each endpoint a veth pair, one end a port of the bridge
    macvlan    nothing in the host; each endpoint a macvlan on the parent link, made right inside the namespace

With inter-container communication off the bridge's ports are isolated: frames go to the host only.
"""

import errno
import hashlib
from contextlib import suppress

from sampan.errors import EngineError, InvalidParameter, Unsupported
from sampan.linux.netns import Namespaces
from sampan.linux.rtnetlink import Link, Rtnetlink, mac_bytes
from sampan.network.endpoint import Endpoint
from sampan.network.network import Network
from sampan.network.pool import SPARE, Prepared, make_pair, rename, sysctl

MACVLAN = "macvlan0"
"""The name of a macvlan until it gets its real one; the prepared pair may still have its own."""


class Bridge:
    """The bridge driver."""

    def __init__(self, rtnetlink: Rtnetlink, namespaces: Namespaces) -> None:
        self._rtnetlink = rtnetlink
        self._namespaces = namespaces

    def make(self, network: Network) -> Link:
        """Make (or complete) the bridge with its addresses, and plug in again what belongs to it."""
        bridge = self._rtnetlink.link(network.link)
        if bridge is None:
            self._rtnetlink.bridge_add(network.link, mac=bridge_mac(network), mtu=network.options.mtu)
            bridge = self._rtnetlink.link(network.link)
        if bridge is None or bridge.kind != "bridge":
            raise InvalidParameter(f"bridge {network.link} is not a bridge: another link has this name")
        self._configure(network, bridge)
        for endpoint in network.endpoints.values():
            self._plug_port(network, bridge.ifindex, endpoint.veth)
        return bridge

    def _configure(self, network: Network, bridge: Link) -> None:
        has_ipv6 = any(subnet.version == 6 for subnet in network.subnets)
        sysctl(f"ipv6/conf/{network.link}/disable_ipv6", "0" if has_ipv6 else "1")
        sysctl(f"ipv6/conf/{network.link}/accept_ra", "0")
        sysctl(f"ipv4/conf/{network.link}/route_localnet", "1")
        for interface in network.gateways:
            if interface.version == 6 or not network.options.inhibit_ipv4:
                with suppress(FileExistsError):
                    self._rtnetlink.address_add(bridge.ifindex, interface)
        self._rtnetlink.link_set(bridge.ifindex, up=True)

    def remove(self, network: Network) -> None:
        """Remove the bridge if it is one that we made; one that is gone is ignored."""
        bridge = self._rtnetlink.link(network.link)
        if bridge and bridge.kind == "bridge" and bridge.mac == bridge_mac(network):
            self._rtnetlink.link_delete(bridge.ifindex)

    async def plug(self, network: Network, endpoint: Endpoint, into: Prepared) -> None:
        """Give the namespace its interface; takes the prepared pair if there still is one."""
        bridge = self._rtnetlink.index(network.link) or self.make(network).ifindex
        pair = into.take_pair() or make_pair(self._rtnetlink, into, SPARE)
        endpoint.veth = pair.outer
        self._plug_port(network, bridge, pair.outer)
        await furnish(self._namespaces, network, endpoint, into, pair.inner)

    def _plug_port(self, network: Network, bridge: int, veth: str) -> None:
        """Make the outer end of a pair, which is up, a port of the bridge."""
        port = self._rtnetlink.index(veth)
        if not port:
            return
        with self._rtnetlink.batch():
            if network.options.mtu:
                self._rtnetlink.link_set(port, mtu=network.options.mtu)
            self._rtnetlink.port_set(port, master=bridge, isolated=not network.options.icc)


def bridge_mac(network: Network) -> str:
    """The MAC of a network's bridge: fixed, and by it we know the bridges that we made."""
    return "02:42:" + hashlib.sha256(network.id.encode()).digest()[:4].hex(":")


class Macvlan:
    """The macvlan driver."""

    kind = "macvlan"

    def __init__(self, rtnetlink: Rtnetlink, namespaces: Namespaces) -> None:
        self._rtnetlink = rtnetlink
        self._namespaces = namespaces

    def make(self, network: Network) -> Link:
        """Find the parent link, or make it where it is a VLAN (``eth0.10``); without a parent, a dummy link."""
        name = network.options.parent or f"dm-{network.id[:12]}"
        found = self._rtnetlink.link(name)
        if found is None and network.options.parent:
            self._make_vlan(name)
        elif found is None:
            self._make_dummy(name)
        parent = self._rtnetlink.link(name)
        if parent is None:
            raise EngineError(f"the parent interface {name} went away")
        if parent.name.startswith("dm-") or "." in name:
            self._rtnetlink.link_set(parent.ifindex, up=True)
        return parent

    def _make_vlan(self, name: str) -> None:
        base, _, number = name.rpartition(".")
        parent = self._rtnetlink.link(base) if number.isascii() and number.isdigit() else None
        if parent is None or not 0 < int(number) < 4095:
            raise InvalidParameter(f"invalid subinterface vlan name {name}: parent interface was not found on the host")
        self._rtnetlink.vlan_add(name, parent.ifindex, int(number))

    def _make_dummy(self, name: str) -> None:
        try:
            self._rtnetlink.link_add(name, "dummy")
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise Unsupported(
                f"a {self.kind} network without a parent needs dummy links, which this kernel lacks: use -o parent=LINK"
            ) from None

    def remove(self, network: Network) -> None:
        """Remove the dummy link that stood for a parent; real parents stay."""
        if not network.options.parent and (dummy := self._rtnetlink.link(f"dm-{network.id[:12]}")):
            self._rtnetlink.link_delete(dummy.ifindex)

    async def plug(self, network: Network, endpoint: Endpoint, into: Prepared) -> None:
        """Make the interface inside the namespace."""
        parent = self.make(network)
        mode = network.options.macvlan_mode
        self._rtnetlink.macvlan_add(MACVLAN, parent.ifindex, mode, mac=endpoint.mac, netns=into.netns)
        await furnish(self._namespaces, network, endpoint, into, MACVLAN)


Driver = Bridge | Macvlan


async def furnish(namespaces: Namespaces, network: Network, endpoint: Endpoint, into: Prepared, plug: str) -> None:
    """Name, number and raise the new inner link ``plug``."""
    inner = into.rtnetlink
    index = inner.index(plug)
    if not index:
        raise EngineError(f"the new interface of {endpoint.container} went away")
    if endpoint.interface != plug:
        into.give_way(endpoint.interface)
        rename(inner, index, endpoint.interface)
    if endpoint.ipv6 or not network.options.announcements:
        await namespaces.call(lambda: prepare_interface(network, endpoint), into.netns)
    with inner.batch():
        for interface in endpoint.link_interfaces:
            inner.address_add(index, interface)
        # Coming up, and getting a MAC, make the link tell its neighbours about its addresses: both come last.
        inner.link_set(index, mtu=network.options.mtu, mac=endpoint.mac, up=True)


def prepare_interface(network: Network, endpoint: Endpoint) -> None:
    """Set what the kernel must know of a link of the calling thread's namespace before it comes up."""
    if endpoint.ipv6:
        enable_ipv6(endpoint.interface)
    if not network.options.announcements:
        sysctl(f"ipv4/conf/{endpoint.interface}/arp_notify", "0")
    elif endpoint.ipv6:
        sysctl(f"ipv6/conf/{endpoint.interface}/ndisc_notify", "1")


def announce(into: Prepared, endpoint: Endpoint) -> None:
    """Let a link that is up tell its neighbours about its addresses once more: the kernel does it for a MAC set."""
    if index := into.rtnetlink.index(endpoint.interface):
        into.rtnetlink.link_set(index, mac=endpoint.mac)


def enable_ipv6(interface: str) -> None:
    """Switch IPv6 on for a link of the calling thread's namespace: addresses are leased, never made up."""
    for name, value in {"accept_ra": "0", "accept_dad": "0", "disable_ipv6": "0"}.items():
        sysctl(f"ipv6/conf/{interface}/{name}", value)


def check_mac(text: str) -> str:
    """``text`` in lower case; raises InvalidParameter for what is no unicast MAC."""
    try:
        packed = mac_bytes(text)
    except ValueError:
        packed = b""
    if len(packed) != 6 or packed[0] & 1:
        raise InvalidParameter(f"invalid MAC address: {text!r}")
    return packed.hex(":")
