"""rtnetlink(7): links, addresses and routes of the network namespace a socket was opened in.

    with Rtnetlink() as rt:
        rt.link_add("br0", "bridge", mtu=1500)
        rt.veth_add("veth0", peer="eth0", peer_netns=fd)
        rt.address_add(rt.link("br0").ifindex, ip_interface("172.18.0.1/16"))

A message is a header, a fixed struct of its family, and attributes; an attribute may hold attributes:

    nlmsghdr   length:u32 type:u16 flags:u16 sequence:u32 port:u32
    rtattr     length:u16 type:u16 payload, padded to 4 bytes

        with rt.batch():                          # one exchange with the kernel for all of them
            rt.link_set(index, mac=…, up=True)
            rt.port_set(index, master=bridge)

A socket keeps working on its own namespace wherever its owner's threads go. Requests are answered before ``send``
returns, so a call takes some tens of microseconds and never waits on anything but the kernel's own lock.

Source: rtnetlink(7), netlink(7), include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address
from typing import NamedTuple, Self

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 11, 12
NLMSGERR_ATTR_MSG = 1

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_PROTINFO, IFLA_LINKINFO, IFLA_NET_NS_FD = 12, 18, 28
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
VETH_INFO_PEER = 1
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE = 1, 5
IFLA_MACVLAN_MODE, IFLA_VLAN_ID = 1, 1
IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS = 1, 2
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE = 26, 8, 1
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_NODAD, IFA_F_PERMANENT = 0x02, 0x80
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_TABLE = 1, 4, 5, 15
RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST = 254, 3, 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
NLA_F_NESTED = 0x8000
IFF_UP = 1
SIOCGIFINDEX = 0x8933

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst len, src len, tos, table, protocol, scope, type, flags
_IFREQ = struct.Struct("=16si20x")  # ifreq: name, index
_BUFFER = 1 << 17


class Link(NamedTuple):
    """A network interface; ``kind`` is empty for hardware, ``master`` and ``parent`` are 0 where there is none."""

    ifindex: int
    name: str
    flags: int
    mtu: int
    mac: str
    master: int
    parent: int
    kind: str

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)


class Assigned(NamedTuple):
    """An address of a link; ``lasting`` if it is global and not leased for a time."""

    ifindex: int
    interface: Interface
    lasting: bool = True


class Route(NamedTuple):
    """A route of the main table; ``destination`` None is the default route."""

    destination: Network | None
    gateway: Address | None
    ifindex: int


def attribute(kind: int, payload: bytes) -> bytes:
    """One ``rtattr``, padded."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(inner))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of ``data``, kinds without their flag bits."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """One netlink message."""
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence and payload of each message in a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


class Rtnetlink:
    """A NETLINK_ROUTE socket; belongs to the namespace of the thread that made it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._sequence = 0
        self._batch: list[_Request] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Perform the changes made in the block together when it ends; questions may not be asked in it.

        The kernel goes on after one that fails; the first failure is raised once all are done.
        """
        self._batch = []
        try:
            yield
            requests = self._batch
        finally:
            self._batch = None
        if requests:
            self._exchange(requests)

    # links

    def link_add(
        self,
        name: str,
        kind: str,
        *,
        data: bytes = b"",
        mac: str = "",
        mtu: int = 0,
        parent: int = 0,
        netns: int | None = None,
        extra: bytes = b"",
    ) -> None:
        """Make a link of ``kind``, in ``netns`` if given, with ``extra`` attributes.

        EEXIST: the name is taken, EOPNOTSUPP: unknown kind.
        """
        info = text(IFLA_INFO_KIND, kind) + (nested(IFLA_INFO_DATA, data) if data else b"")
        parts = [_LINK.pack(0, 0, 0, 0, 0), self._link_parts(name, mac, mtu), nested(IFLA_LINKINFO, info), extra]
        if parent:
            parts.append(u32(IFLA_LINK, parent))
        if netns is not None:
            parts.append(u32(IFLA_NET_NS_FD, netns))
        self._do("link_add", name, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, *parts)

    def bridge_add(self, name: str, *, mac: str, mtu: int = 0) -> None:
        """Make a bridge without spanning tree; a given MAC stays, whatever is plugged in later."""
        data = u32(IFLA_BR_STP_STATE, 0) + u32(IFLA_BR_FORWARD_DELAY, 0)
        self.link_add(name, "bridge", data=data, mac=mac, mtu=mtu)

    def veth_add(self, name: str, peer: str, peer_netns: int, *, mtu: int = 0) -> None:
        """Make a pair: ``name`` here, ``peer`` in the namespace of the fd ``peer_netns``.

        Left to itself the kernel makes room for as many queues as it might have CPUs, to use one of them.
        """
        queues = u32(IFLA_NUM_TX_QUEUES, 1) + u32(IFLA_NUM_RX_QUEUES, 1)
        other = _LINK.pack(0, 0, 0, 0, 0) + self._link_parts(peer, "", mtu) + u32(IFLA_NET_NS_FD, peer_netns) + queues
        self.link_add(name, "veth", data=nested(VETH_INFO_PEER, other), mtu=mtu, extra=queues)

    def macvlan_add(self, name: str, parent: int, mode: int, *, mac: str, netns: int) -> None:
        """Make a macvlan on ``parent`` right inside ``netns``."""
        self.link_add(name, "macvlan", data=u32(IFLA_MACVLAN_MODE, mode), mac=mac, parent=parent, netns=netns)

    def ipvlan_add(self, name: str, parent: int, mode: int, *, flags: int, netns: int) -> None:
        """Make an ipvlan on ``parent``, whose MAC it shares, right inside ``netns``."""
        data = attribute(IFLA_IPVLAN_MODE, struct.pack("=H", mode))
        data += attribute(IFLA_IPVLAN_FLAGS, struct.pack("=H", flags))
        self.link_add(name, "ipvlan", data=data, parent=parent, netns=netns)

    def vlan_add(self, name: str, parent: int, vlan: int) -> None:
        """Make an 802.1Q sub-interface of ``parent``."""
        self.link_add(name, "vlan", data=attribute(IFLA_VLAN_ID, struct.pack("=H", vlan)), parent=parent)

    @staticmethod
    def _link_parts(name: str, mac: str, mtu: int) -> bytes:
        parts = text(IFLA_IFNAME, name) if name else b""
        parts += attribute(IFLA_ADDRESS, mac_bytes(mac)) if mac else b""
        return parts + (u32(IFLA_MTU, mtu) if mtu else b"")

    def link_set(
        self,
        index: int,
        *,
        up: bool | None = None,
        master: int | None = None,
        name: str = "",
        mac: str = "",
        mtu: int = 0,
    ) -> None:
        """Change a link."""
        change = IFF_UP if up is not None else 0
        parts = [_LINK.pack(0, 0, index, IFF_UP if up else 0, change), self._link_parts(name, mac, mtu)]
        if master is not None:
            parts.append(u32(IFLA_MASTER, master))
        self._do("link_set", str(index), RTM_SETLINK, 0, *parts)

    def link_move(self, index: int, name: str, netns: int) -> None:
        """Move a link into the namespace of the fd ``netns`` under a name; EEXIST: it is taken there."""
        parts = (text(IFLA_IFNAME, name), u32(IFLA_NET_NS_FD, netns))
        self._do("link_move", name, RTM_NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0), *parts)

    def link_raise(self, name: str) -> None:
        """Set a link up without an IPv6 address of its own making."""
        no_address = attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
        silent = nested(IFLA_AF_SPEC, nested(socket.AF_INET6, no_address))
        self._do(
            "link_raise", name, RTM_SETLINK, 0, _LINK.pack(0, 0, 0, IFF_UP, IFF_UP), text(IFLA_IFNAME, name), silent
        )

    def port_set(self, index: int, *, master: int, isolated: bool = False) -> None:
        """Make a link a port of the bridge ``master``; one that is up and has a carrier forwards at once.

        The port sends frames back where they came from if need be (hairpin); an ``isolated`` one exchanges frames
        with the bridge only, not with other isolated ports.
        """
        self._do("port_set", str(index), RTM_SETLINK, 0, _LINK.pack(0, 0, index, 0, 0), u32(IFLA_MASTER, master))
        port = attribute(IFLA_BRPORT_MODE, b"\1") + attribute(IFLA_BRPORT_ISOLATED, bytes([isolated]))
        header = _LINK.pack(socket.AF_BRIDGE, 0, index, 0, 0)
        self._do("port_set", str(index), RTM_SETLINK, 0, header, nested(IFLA_PROTINFO, port))

    def link_delete(self, index: int) -> None:
        """Remove a link (of a veth pair: both ends, which takes the kernel 10 ms and more)."""
        self._do("link_delete", str(index), RTM_DELLINK, 0, _LINK.pack(0, 0, index, 0, 0))

    def index(self, name: str) -> int:
        """The index of the link of this name, 0 if there is none: cheaper than ``link``."""
        try:
            answer = fcntl.ioctl(self._socket, SIOCGIFINDEX, _IFREQ.pack(name.encode(), 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return 0
            raise
        return int(_IFREQ.unpack(answer)[1])

    def link(self, name: str) -> Link | None:
        """The link of this name."""
        try:
            found = self._ask("link", name, RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0), text(IFLA_IFNAME, name))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return next((parse_link(payload) for kind, payload in found if kind == RTM_NEWLINK), None)

    def links(self) -> list[Link]:
        """All links."""
        found = self._ask("links", "", RTM_GETLINK, NLM_F_DUMP, _LINK.pack(0, 0, 0, 0, 0))
        return [parse_link(payload) for _, payload in found]

    # addresses

    def address_add(self, index: int, interface: Interface) -> None:
        """Give a link an address; IPv6 without duplicate detection, for the address is leased. EEXIST if it has it."""
        self._address("address_add", RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, interface)

    def address_delete(self, index: int, interface: Interface) -> None:
        """Take an address from a link; EADDRNOTAVAIL if it has none such."""
        self._address("address_delete", RTM_DELADDR, 0, index, interface)

    def _address(self, call: str, kind: int, flags: int, index: int, interface: Interface) -> None:
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        packed = interface.ip.packed
        parts = [_ADDRESS.pack(family, interface.network.prefixlen, 0, 0, index), attribute(IFA_LOCAL, packed)]
        parts.append(attribute(IFA_ADDRESS, packed))
        if interface.version == 4 and interface.network.prefixlen < 31:
            parts.append(attribute(IFA_BROADCAST, interface.network.broadcast_address.packed))
        if interface.version == 6:
            parts.append(u32(IFA_FLAGS, IFA_F_NODAD))
        self._do(call, str(interface), kind, flags, *parts)

    def addresses(self) -> list[Assigned]:
        """All addresses of all links."""
        found = self._ask("addresses", "", RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0))
        return [parse_address(payload) for _, payload in found]

    # routes

    def route_add(self, destination: Network | None, *, gateway: Address | None = None, index: int = 0) -> None:
        """Add a route of the main table; ``destination`` None with a gateway is the default route."""
        self._route("route_add", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, destination, gateway, index)

    def route_delete(self, destination: Network | None, *, gateway: Address | None = None, index: int = 0) -> None:
        """Remove a route; ESRCH if there is none."""
        self._route("route_delete", RTM_DELROUTE, 0, destination, gateway, index)

    def _route(
        self, call: str, kind: int, flags: int, destination: Network | None, gateway: Address | None, index: int
    ) -> None:
        version = (destination or gateway or IPv4Address(0)).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        scope = RT_SCOPE_UNIVERSE if gateway or version == 6 else RT_SCOPE_LINK
        length = destination.prefixlen if destination else 0
        header = _ROUTE.pack(family, length, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0)
        parts = [header]
        if destination:
            parts.append(attribute(RTA_DST, destination.network_address.packed))
        if gateway:
            parts.append(attribute(RTA_GATEWAY, gateway.packed))
        if index:
            parts.append(u32(RTA_OIF, index))
        self._do(call, f"{destination or 'default'} via {gateway}", kind, flags, *parts)

    def routes(self) -> list[Route]:
        """The unicast routes of the main table, both families."""
        header = _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)
        found = self._ask("routes", "", RTM_GETROUTE, NLM_F_DUMP, header)
        return [route for _, payload in found if (route := parse_route(payload))]

    # the exchange

    def _do(self, call: str, about: str, kind: int, flags: int, *parts: bytes) -> None:
        request = _Request(call, about, kind, flags, b"".join(parts))
        if self._batch is not None:
            self._batch.append(request)
            return
        self._exchange([request])

    def _ask(self, call: str, about: str, kind: int, flags: int, *parts: bytes) -> list[tuple[int, bytes]]:
        if self._batch is not None:
            raise RuntimeError(f"{call}: a batch holds changes only")
        return self._exchange([_Request(call, about, kind, flags, b"".join(parts))])

    def _exchange(self, requests: "Sequence[_Request]") -> list[tuple[int, bytes]]:
        """Send requests, collect the messages up to the last one's acknowledgement.

        Raises OSError with the kernel's words on the first that failed; it answers the others only if they fail.
        """
        first, last = self._sequence + 1, self._sequence + len(requests)
        self._sequence = last
        packed = [
            message(one.kind, one.flags | NLM_F_REQUEST | (NLM_F_ACK if number == last else 0), number, one.payload)
            for number, one in enumerate(requests, first)
        ]
        self._socket.send(b"".join(packed))
        answer: list[tuple[int, bytes]] = []
        failed: OSError | None = None
        while True:
            for type_, flags, sequence, payload in messages(self._socket.recv(_BUFFER)):
                if type_ == NLMSG_ERROR:
                    about = requests[sequence - first]
                    failed = failed or error_of(about.call, about.about, flags, payload)
                elif type_ != NLMSG_DONE:
                    answer.append((type_, payload))
                    continue
                if sequence == last:
                    if failed:
                        raise failed
                    return answer


class _Request(NamedTuple):
    """A message to be sent, and the words for its failure."""

    call: str
    about: str
    kind: int
    flags: int
    payload: bytes


def raise_error(call: str, about: str, flags: int, payload: bytes) -> None:
    """Raise what ``error_of`` finds."""
    if error := error_of(call, about, flags, payload):
        raise error


def error_of(call: str, about: str, flags: int, payload: bytes) -> OSError | None:
    """The OSError that an NLMSG_ERROR carries; None is an acknowledgement."""
    number = -struct.unpack_from("=i", payload)[0]
    if number == 0:
        return None
    said = ""
    if flags & NLM_F_ACK_TLVS:
        original = struct.unpack_from("=I", payload, 4)[0]
        skipped = 4 + (_HEADER.size if flags & NLM_F_CAPPED else original)
        found = dict(attributes(payload[(skipped + 3) & ~3 :]))
        said = found.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    return OSError(number, f"{call}: {os.strerror(number)}" + (f" ({said})" if said else ""), about or None)


def parse_link(payload: bytes) -> Link:
    """The ``Link`` of an RTM_NEWLINK message."""
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    found = dict(attributes(payload[_LINK.size :]))
    info = dict(attributes(found.get(IFLA_LINKINFO, b"")))
    return Link(
        ifindex=index,
        name=found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(),
        flags=flags,
        mtu=_number(found.get(IFLA_MTU)),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        master=_number(found.get(IFLA_MASTER)),
        parent=_number(found.get(IFLA_LINK)),
        kind=info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
    )


def parse_address(payload: bytes) -> Assigned:
    """The address of an RTM_NEWADDR message."""
    family, length, flags, scope, index = _ADDRESS.unpack_from(payload)
    found = dict(attributes(payload[_ADDRESS.size :]))
    packed = found.get(IFA_LOCAL) or found[IFA_ADDRESS]
    interface = IPv4Interface if family == socket.AF_INET else IPv6Interface
    lasting = bool(flags & IFA_F_PERMANENT) and scope == RT_SCOPE_UNIVERSE
    return Assigned(index, interface((packed, length)), lasting)


def parse_route(payload: bytes) -> Route | None:
    """The route of an RTM_NEWROUTE message; None for other tables and other than unicast."""
    family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(payload)
    found = dict(attributes(payload[_ROUTE.size :]))
    if kind != RTN_UNICAST or _number(found.get(RTA_TABLE), table) != RT_TABLE_MAIN:
        return None
    destination = found.get(RTA_DST)
    network = IPv4Network if family == socket.AF_INET else IPv6Network
    gateway = found.get(RTA_GATEWAY)
    return Route(
        destination=network((destination, length)) if destination else None,
        gateway=ip_address(gateway) if gateway else None,
        ifindex=_number(found.get(RTA_OIF)),
    )


def _number(value: bytes | None, default: int = 0) -> int:
    return int.from_bytes(value, sys.byteorder) if value else default
