"""Prepared network namespaces: what every start needs, made before it is asked for.

    namespace ─ lo up ─ DNS sockets at 127.0.0.11, port 53 redirected to them ─ one end of a veth pair
                                                            the other end lies in the host, in no bridge yet

Both ends are up, so the kernel, which notices carriers in its own time, has noticed this one: plugged into a
bridge, the pair forwards at once.

Where the daemon remaps users, those in the pool belong to user namespaces made along with them.

Taking one costs a hand-over; the pool refills itself in the background. Nothing but open descriptors holds a
prepared namespace: when the daemon dies, however it dies, the kernel removes it and both ends of its pair.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from sampan.linux import nftables, userns
from sampan.linux.idmap import IdMap
from sampan.linux.netns import Namespaces
from sampan.linux.rtnetlink import Rtnetlink
from sampan.network.member import NEW_USERNS

log = logging.getLogger("sampan.network")

DNS_ADDRESS = "127.0.0.11"
DNS_TABLE = "sampan_dns"
PLUG = "plug0"
"""The name of the prepared pair's inner end until it gets its real one."""

# Inherited by every link that comes to the namespace later. A new owner of an address tells its neighbours at once.
SYSCTLS = {"ipv4/conf/default/arp_notify": "1", "ipv6/conf/default/disable_ipv6": "1"}


@dataclass
class Prepared:
    """A namespace and what is kept open in it; the taker owns all of it."""

    netns: int
    rtnetlink: Rtnetlink
    dns: tuple[socket.socket, socket.socket]
    """UDP and TCP (listening), both non-blocking."""
    veth: str = ""
    """The outer end of the prepared pair; empty where there is none."""
    user: int | None = None
    """The user namespace it belongs to; None is the host's."""

    @property
    def userns(self) -> str:
        """A path of the user namespace, as long as this is not closed; "" is the host's."""
        return "" if self.user is None else f"/proc/{os.getpid()}/fd/{self.user}"

    def close(self) -> None:
        self.rtnetlink.close()
        for one in self.dns:
            one.close()
        os.close(self.netns)
        if self.user is not None:
            os.close(self.user)


def prepare() -> Prepared:
    """Furnish the calling thread's namespace, which is new."""
    netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    rtnetlink = Rtnetlink()
    rtnetlink.link_set(1, up=True)
    for name, value in SYSCTLS.items():
        sysctl(name, value)
    return Prepared(netns, rtnetlink, open_dns(replace=False))


def make_pair(rtnetlink: Rtnetlink, into: Prepared) -> str:
    """A pair that is up, its inner end ``PLUG``; returns the name of the outer one."""
    name = "veth" + secrets.token_hex(4)
    rtnetlink.veth_add(name, PLUG, into.netns)
    for side, end in ((rtnetlink, name), (into.rtnetlink, PLUG)):
        if link := side.link(end):
            side.link_raise(link.ifindex)
    return name


def open_dns(*, replace: bool) -> tuple[socket.socket, socket.socket]:
    """Sockets of the resolver in the calling thread's namespace, with port 53 of its address redirected to them.

    They listen on ports of their own, so that a container may run a name server on port 53 itself.
    """
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    for one in (udp, tcp):
        one.bind((DNS_ADDRESS, 0))
    tcp.listen(16)
    redirect({17: udp.getsockname()[1], 6: tcp.getsockname()[1]}, replace=replace)
    return udp, tcp


def redirect(ports: dict[int, int], *, replace: bool) -> None:
    """Send port 53 of the resolver's address to ``ports``, by protocol number.

    Replacing an earlier redirection takes the kernel some 10 ms, which a new namespace need not wait for.
    """
    address = socket.inet_aton(DNS_ADDRESS)
    batch = nftables.Batch(nftables.NFPROTO_IPV4, DNS_TABLE).table()
    if replace:
        batch.delete_table().table()
    batch.nat_chain("output", nftables.NF_INET_LOCAL_OUT, nftables.PRIORITY_DSTNAT)
    for protocol, port in ports.items():
        batch.rule(
            "output",
            nftables.match_payload(nftables.PAYLOAD_NETWORK, 16, address),
            nftables.match_protocol(protocol),
            nftables.match_payload(nftables.PAYLOAD_TRANSPORT, 2, (53).to_bytes(2, "big")),
            nftables.dnat(address, port),
        )
    batch.commit()


def sysctl(name: str, value: str) -> None:
    """Write ``net.<name>`` of the calling thread's namespace; one the kernel lacks (IPv6) is left alone."""
    path = Path("/proc/sys/net") / name
    if path.exists():
        path.write_text(value)


class Pool:
    """Up to ``size`` prepared namespaces; with ``maps`` each in a user namespace of its own."""

    def __init__(self, namespaces: Namespaces, rtnetlink: Rtnetlink, size: int, maps: IdMap | None = None) -> None:
        self._namespaces = namespaces
        self._rtnetlink = rtnetlink
        self._size = size
        self._maps = maps
        self._usual = NEW_USERNS if maps else ""
        self._ready: deque[Prepared] = deque()
        self._refill: asyncio.Task[None] | None = None

    async def take(self, owner: str = "", *, pair: bool = True) -> Prepared:
        """A prepared namespace, from the pool or made now.

        ``owner`` is as in ``Member.userns``; those that need no bridge do without the ``pair``.
        """
        if owner != self._usual or not pair:
            return await self._make(owner, pair=pair)
        prepared = self._ready.popleft() if self._ready else await self._make(owner)
        self._start_refill()
        return prepared

    async def _make(self, owner: str, *, pair: bool = True) -> Prepared:
        prepared = await (self._make_owned(owner) if owner else self._namespaces.call(prepare))
        return self._paired(prepared) if pair else prepared

    async def _make_owned(self, owner: str) -> Prepared:
        """A namespace that belongs to a user namespace, a new one or that at the path ``owner``."""
        if owner == NEW_USERNS and self._maps is not None:
            user, network = await asyncio.to_thread(userns.make_with_network, self._maps)
        else:
            user, network = await asyncio.to_thread(userns.join_with_network, owner)
        try:
            prepared = await self._namespaces.call(prepare, network)
        except BaseException:
            os.close(user)
            raise
        finally:
            os.close(network)
        prepared.user = user
        return prepared

    def _paired(self, prepared: Prepared) -> Prepared:
        try:
            prepared.veth = make_pair(self._rtnetlink, prepared)
        except BaseException:
            prepared.close()
            raise
        return prepared

    def _start_refill(self) -> None:
        if self._refill is None or self._refill.done():
            self._refill = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        try:
            while len(self._ready) < self._size:
                self._ready.append(await self._make(self._usual))
        except OSError as error:
            log.warning("cannot prepare a network namespace: %s", error)

    async def fill(self) -> None:
        """Wait until the pool is full, or cannot be filled."""
        self._start_refill()
        if self._refill:
            await self._refill

    async def close(self) -> None:
        """Let all prepared namespaces die."""
        if self._refill:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)
        while self._ready:
            self._ready.pop().close()
