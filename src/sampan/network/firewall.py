"""The firewall: one nftables table of our own, always written whole, in one transaction.

    raw          containers and their neighbours never reach the host's 127.0.0.0/8
    prerouting   a published port of a local address → the container              (others' traffic)
    output       the same for the host itself, loopback included
    forward      established · within a network · internal ends here · published · between networks never ·
                 from outside only to unprotected networks · to the outside
    postrouting  loopback and hairpin hide behind the bridge; a network's own traffic does not; the rest does

The rules never change; networks are elements of sets and published ports elements of maps. A change of networks
rewrites the table (2–5 ms); a published port is one element through netlink (0.3 ms). ``Monitor`` tells when someone
deletes our rules, and they are written again.

Clients keep their source address: only loopback and hairpin traffic is masqueraded. The IPv6 loopback cannot be
translated (there is no route_localnet for IPv6), so the proxy that holds the port serves ``::1``.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.errors import InvalidParameter
from sampan.linux import nftables
from sampan.linux.rtnetlink import Address, Network

log = logging.getLogger("sampan.network")

Mark = tuple[int, int]
"""A mark of packets, and which bits of it count."""
WHOLE_MARK = 0xFFFFFFFF
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

TABLE = """\
table inet {table} {{
    set bridges {{ type ifname; {bridges} }}
    set internal {{ type ifname; {internal} }}
    set within {{ type ifname . ifname; {within} }}
    set open4 {{ type ifname; {open4} }}
    set open6 {{ type ifname; {open6} }}
    set visible4 {{ type ifname; {visible4} }}
    set visible6 {{ type ifname; {visible6} }}
    set hidden4 {{ type ipv4_addr; flags interval; {hidden4} }}
    set hidden6 {{ type ipv6_addr; flags interval; {hidden6} }}
    map shown4 {{ type ipv4_addr : ipv4_addr; flags interval; {shown4} }}
    map shown6 {{ type ipv6_addr : ipv6_addr; flags interval; {shown6} }}
    set own4 {{ type ipv4_addr . ifname; flags interval; {own4} }}
    set own6 {{ type ipv6_addr . ifname; flags interval; {own6} }}
    map published4 {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; {published4} }}
    map published6 {{ type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service; {published6} }}
    map anywhere4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; {anywhere4} }}
    map anywhere6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; {anywhere6} }}
    set routed4 {{ type ipv4_addr . inet_proto . inet_service; {routed4} }}
    set routed6 {{ type ipv6_addr . inet_proto . inet_service; {routed6} }}
    set direct4 {{ type ipv4_addr . inet_proto . inet_service . ifname; {direct4} }}
    set direct6 {{ type ipv6_addr . inet_proto . inet_service . ifname; {direct6} }}
    set guarded4 {{ type ipv4_addr . inet_proto . inet_service; {guarded4} }}
    set guarded6 {{ type ipv6_addr . inet_proto . inet_service; {guarded6} }}
    set allowed4 {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval; {allowed4} }}
    set allowed6 {{ type ipv6_addr . ipv6_addr . inet_proto . inet_service; flags interval; {allowed6} }}

    chain raw {{
        type filter hook prerouting priority raw; policy accept;
        ip daddr 127.0.0.0/8 iifname @bridges drop
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        ip6 daddr ::1 return
        fib daddr type local jump publish
    }}
    chain publish {{
        dnat ip to meta l4proto . ip daddr . th dport map @published4
        dnat ip6 to meta l4proto . ip6 daddr . th dport map @published6
        meta nfproto ipv4 dnat ip to meta l4proto . th dport map @anywhere4
        meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @anywhere6
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        iifname . oifname @within accept
        iifname @internal drop
        oifname @internal drop
        oifname @bridges ct status dnat goto guard
        oifname @bridges ip daddr . meta l4proto . th dport @routed4 goto guard
        oifname @bridges ip6 daddr . meta l4proto . th dport @routed6 goto guard
        oifname @bridges ip daddr . meta l4proto . th dport . iifname @direct4 goto guard
        oifname @bridges ip6 daddr . meta l4proto . th dport . iifname @direct6 goto guard
        {marked}
        oifname @visible4 meta l4proto icmp accept
        oifname @visible6 meta l4proto ipv6-icmp accept
        iifname @bridges oifname @bridges drop
        meta nfproto ipv4 oifname @open4 accept
        meta nfproto ipv6 oifname @open6 accept
        oifname @bridges drop
    }}
    chain guard {{
        ip saddr . ip daddr . meta l4proto . th dport @allowed4 accept
        ip6 saddr . ip6 daddr . meta l4proto . th dport @allowed6 accept
        ip daddr . meta l4proto . th dport @guarded4 drop
        ip6 daddr . meta l4proto . th dport @guarded6 drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname @bridges ip saddr 127.0.0.0/8 masquerade
        ip saddr . oifname @own4 ct status dnat masquerade
        ip6 saddr . oifname @own6 ct status dnat masquerade
        ip saddr . oifname @own4 return
        ip6 saddr . oifname @own6 return
        oifname @bridges ct status dnat return
        snat ip to ip saddr map @shown4
        snat ip6 to ip6 saddr map @shown6
        ip saddr @hidden4 masquerade
        ip6 saddr @hidden6 masquerade
    }}
}}
"""


@dataclass(frozen=True)
class Filtered:
    """A network as the firewall sees it: its bridge and what may cross it."""

    bridge: str
    subnets: tuple[Network, ...]
    internal: bool = False
    icc: bool = True
    masquerade: tuple[Network, ...] = ()
    """Subnets whose addresses the outside does not see, but one of the host's."""
    shown_as: tuple[Address, ...] = ()
    """The address that the outside sees of these, one for a family; without one it is that of the way out."""
    unprotected: frozenset[int] = frozenset()
    """IP versions that may come in from the outside to any port (gateway mode nat-unprotected)."""
    visible: frozenset[int] = frozenset()
    """IP versions that answer echo requests from the outside (gateway mode routed)."""


@dataclass(frozen=True)
class Published:
    """One published port: ``host`` None is every local address of the container address's family.

    ``routed`` opens the container's port without translation, ``direct`` beside it; the links ``trusted`` find it open
    too. ``allow`` are the sources that may connect from
    elsewhere; empty is everyone.
    """

    protocol: str
    host: Address | None
    host_port: int
    address: Address
    port: int
    allow: tuple[Network, ...] = ()
    routed: bool = False
    direct: bool = False
    trusted: tuple[str, ...] = ()

    @property
    def is_simple(self) -> bool:
        """Whether it is one element of a map, and nothing else."""
        return not (self.allow or self.routed or self.direct or self.trusted)

    @property
    def family(self) -> int:
        return self.address.version

    @property
    def map(self) -> str:
        """The map of ``TABLE`` that holds it."""
        return f"{'published' if self.host else 'anywhere'}{self.family}"

    def element(self) -> tuple[bytes, bytes]:
        """Key and value in that map, as the kernel packs them."""
        host = [self.host.packed] if self.host else []
        key = nftables.key(bytes([PROTOCOLS[self.protocol]]), *host, self.host_port.to_bytes(2, "big"))
        return key, nftables.key(self.address.packed, self.port.to_bytes(2, "big"))

    def text(self) -> str:
        """The same in nft's language."""
        host = f"{self.host} . " if self.host else ""
        return f"{self.protocol} . {host}{self.host_port} : {self.address} . {self.port}"

    @property
    def target(self) -> str:
        """The container's side in nft's language."""
        return f"{self.address} . {self.protocol} . {self.port}"


class Firewall:
    """What the table holds. ``apply`` writes it whole; ``publish`` and ``unpublish`` change single elements."""

    def __init__(self, table: str, *, enabled: bool = True, mark: Mark | None = None) -> None:
        """``mark``: packets that have it come to every container; not ``enabled``: what would be written never is."""
        self.table = table
        self._mark = mark
        self._enabled = enabled
        self.networks: dict[str, Filtered] = {}
        self.published: set[Published] = set()
        self._monitor: nftables.Monitor | None = None
        self._repair: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._changers: list[int] = []
        self._own = {os.getpid()}

    def watch(self) -> None:
        """From now on write the table again whenever someone else takes something out of it."""
        if not self._enabled:
            return
        self._monitor = nftables.Monitor(self.table)
        asyncio.get_running_loop().add_reader(self._monitor.socket, self._on_change)

    def close(self) -> None:
        """Stop watching; the table stays."""
        if self._monitor:
            asyncio.get_running_loop().remove_reader(self._monitor.socket)
            self._monitor.close()
            self._monitor = None
        if self._repair:
            self._repair.cancel()

    def _on_change(self) -> None:
        """Somebody changed the table; what we do ourselves right now is told apart once it is done."""
        if self._monitor:
            self._changers += self._monitor.read()
        if not self._changing.locked():
            self._look_for_strangers()

    def _look_for_strangers(self) -> None:
        strangers = set(self._changers) - self._own
        self._changers.clear()
        if strangers and (self._repair is None or self._repair.done()):
            log.warning(
                "the firewall's table %s was changed by process %d: writing it again", self.table, min(strangers)
            )
            self._repair = asyncio.get_running_loop().create_task(self.apply())

    def ruleset(self) -> str:
        """The table as text that replaces whatever is there."""
        head = f"table inet {self.table}\ndelete table inet {self.table}\n"
        return head + TABLE.format(table=self.table, marked=marked(self._mark), **self._elements())

    def _elements(self) -> dict[str, str]:
        networks = self.networks.values()
        sets: dict[str, Iterable[str]] = {
            "bridges": (quoted(n.bridge) for n in networks),
            "internal": (quoted(n.bridge) for n in networks if n.internal),
            "within": (f"{quoted(n.bridge)} . {quoted(n.bridge)}" for n in networks if n.icc),
            **{f"open{v}": [quoted(n.bridge) for n in networks if v in n.unprotected] for v in (4, 6)},
            **{f"visible{v}": [quoted(n.bridge) for n in networks if v in n.visible] for v in (4, 6)},
        }
        for family in (4, 6):
            sets |= self._subnet_elements(family)
            sets |= self._port_elements([p for p in self.published if p.family == family], family)
        return {name: elements(values) for name, values in sets.items()}

    def _subnet_elements(self, family: int) -> dict[str, Iterable[str]]:
        networks = self.networks.values()
        return {
            f"hidden{family}": (str(s) for n in networks for s in n.masquerade if s.version == family),
            f"shown{family}": (
                f"{s} : {shown}"
                for n in networks
                for s in n.masquerade
                for shown in n.shown_as
                if s.version == shown.version == family
            ),
            f"own{family}": (f"{s} . {quoted(n.bridge)}" for n in networks for s in n.subnets if s.version == family),
        }

    @staticmethod
    def _port_elements(ports: Sequence[Published], family: int) -> dict[str, Iterable[str]]:
        mapped = [p for p in ports if not p.routed]
        return {
            f"published{family}": (p.text() for p in mapped if p.host),
            f"anywhere{family}": (p.text() for p in mapped if not p.host),
            f"routed{family}": {p.target for p in ports if p.routed or p.direct},
            f"direct{family}": {f"{p.target} . {quoted(link)}" for p in ports for link in p.trusted},
            f"guarded{family}": {p.target for p in ports if p.allow},
            f"allowed{family}": {
                f"{source} . {p.target}" for p in ports for source in p.allow if source.version == family
            },
        }

    async def apply(self) -> None:
        """Write the whole table."""
        async with self._changing:
            await self._write()
        self._look_for_strangers()

    async def _write(self) -> None:
        if not self._enabled:
            return
        writer = await nftables.load(self.ruleset())
        self._changers += self._monitor.read() if self._monitor else ()
        self._changers = [changer for changer in self._changers if changer != writer]

    async def remove(self) -> None:
        """Take the table away, if there is one."""
        await nftables.load(f"table inet {self.table}\ndelete table inet {self.table}\n")

    async def publish(self, ports: Sequence[Published]) -> None:
        """Add ports; all or none."""
        self.published |= set(ports)
        try:
            await self._change(ports, add=True)
        except BaseException:
            self.published -= set(ports)
            raise

    async def unpublish(self, ports: Sequence[Published]) -> None:
        """Take ports away."""
        self.published -= set(ports)
        await self._change(ports, add=False)

    async def _change(self, ports: Sequence[Published], *, add: bool) -> None:
        if not self._enabled:
            return
        async with self._changing:
            if not all(port.is_simple for port in ports):
                await self._write()
                return
            try:
                if add:
                    self._change_elements(ports, add=True)
                else:  # the kernel waits some 10 ms before it forgets an element
                    await asyncio.to_thread(self._change_elements, ports, add=False)
            except OSError:  # the table is not as we left it: write it again, whole
                await self._write()

    def _change_elements(self, ports: Sequence[Published], *, add: bool) -> None:
        batch = nftables.Batch(nftables.NFPROTO_INET, self.table)
        for port in ports:
            key, data = port.element()
            if add:
                batch.add_elements(port.map, [(key, data)])
            else:
                batch.delete_elements(port.map, [key])
        if ports:
            batch.commit()


def parse_mark(text: str) -> Mark | None:
    """``MARK[/MASK]``, in C's notations; empty is none. Raises InvalidParameter."""
    if not text:
        return None
    mark, slash, mask = text.partition("/")
    try:
        numbers = int(mark, 0), int(mask, 0) if slash else WHOLE_MARK
    except ValueError:
        numbers = -1, -1
    if not all(0 <= number <= WHOLE_MARK for number in numbers):
        raise InvalidParameter(f"invalid firewall mark {text!r}: expected MARK or MARK/MASK of 32 bits")
    return numbers


def marked(mark: Mark | None) -> str:
    """The rule that lets marked packets in."""
    return f"oifname @bridges meta mark & {mark[1]} == {mark[0]} accept" if mark else ""


def quoted(name: str) -> str:
    return f'"{name}"'


def elements(values: Iterable[str]) -> str:
    """The ``elements`` statement of a set; none at all for an empty one."""
    listed = ", ".join(sorted(values))
    return f"elements = {{ {listed} }};" if listed else ""
