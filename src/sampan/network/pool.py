"""Prepared network namespaces: what every start needs, made before it is asked for.

    namespace ─ lo up ─ DNS sockets at 127.0.0.11, port 53 redirected to them ─ one end of a veth pair
                                                            the other end lies in the host, in no bridge yet

Both ends are up, so the kernel, which notices carriers in its own time, has noticed this one: plugged into a
bridge, the pair forwards at once. The inner end has the name that nearly every container wants: to rename a link
costs as much as all else that is done to it.

Where the daemon remaps users, those in the pool belong to user namespaces made along with them.

Taking one costs a hand-over; the pool refills itself in the background, a little later: not while a start waits.
Nothing but open descriptors holds a prepared namespace: when the daemon dies, however it dies, the kernel removes it
and both ends of its pair.
"""

import asyncio
import errno
import logging
import os
import secrets
import socket
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sampan.linux import nftables, userns
from sampan.linux.idmap import IdMap
from sampan.linux.netns import Namespaces
from sampan.linux.rtnetlink import Rtnetlink
from sampan.network.member import NEW_USERNS

log = logging.getLogger("sampan.network")

DNS_ADDRESS = "127.0.0.11"
DNS_TABLE = "sampan_dns"
PLUG = "eth0"
"""The name of the prepared pair's inner end."""
SPARE = "plug0"
"""The name of an inner end, until it gets its real one, where ``PLUG`` may be another's."""
REFILL_AFTER = 0.02
"""Seconds from the last taking of a namespace to the making of others: more than a start takes."""

# Inherited by every link that comes to the namespace later. A new owner of an address tells its neighbours at once.
SYSCTLS = {"ipv4/conf/default/arp_notify": "1", "ipv6/conf/default/disable_ipv6": "1"}


class Pair(NamedTuple):
    """The names of a veth pair's ends: in the host, and in the namespace."""

    outer: str
    inner: str


@dataclass
class Prepared:
    """A namespace and what is kept open in it; the taker owns all of it."""

    netns: int
    rtnetlink: Rtnetlink
    dns: tuple[socket.socket, socket.socket]
    """UDP and TCP (listening), both non-blocking."""
    pair: Pair | None = None
    """The prepared pair, until an endpoint takes it."""
    user: int | None = None
    """The user namespace it belongs to; None is the host's."""

    @property
    def userns(self) -> str:
        """A path of the user namespace, as long as this is not closed; "" is the host's."""
        return "" if self.user is None else f"/proc/{os.getpid()}/fd/{self.user}"

    def take_pair(self) -> Pair | None:
        """The prepared pair, which is the taker's from now on."""
        pair, self.pair = self.pair, None
        return pair

    def give_way(self, name: str) -> None:
        """Another link will be called ``name``: a prepared pair of that name gets another."""
        if self.pair and self.pair.inner == name:
            rename(self.rtnetlink, self.rtnetlink.index(name), SPARE)
            self.pair = Pair(self.pair.outer, SPARE)

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


def make_pair(rtnetlink: Rtnetlink, into: Prepared, inner: str) -> Pair:
    """A pair that is up, one end in the namespace of ``rtnetlink``, the other, ``inner``, in the prepared one."""
    pair = Pair("veth" + secrets.token_hex(4), inner)
    with rtnetlink.batch():
        rtnetlink.veth_add(pair.outer, inner, into.netns)
        rtnetlink.link_raise(pair.outer)
    into.rtnetlink.link_raise(pair.inner)
    return pair


def rename(inner: Rtnetlink, ifindex: int, name: str) -> None:
    """Give a link its name; before Linux 6.2 it must be down for that."""
    try:
        inner.link_set(ifindex, name=name)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        inner.link_set(ifindex, up=False)
        inner.link_set(ifindex, name=name)


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

    def __init__(self, namespaces: Namespaces, size: int, maps: IdMap | None = None) -> None:
        self._namespaces = namespaces
        self._rtnetlink = Rtnetlink()  # of the host, for the thread that visits namespaces
        self._size = size
        self._maps = maps
        self._usual = NEW_USERNS if maps else ""
        self._ready: deque[Prepared] = deque()
        self._due: asyncio.TimerHandle | None = None
        self._refill: asyncio.Task[None] | None = None

    async def take(self, owner: str = "", *, pair: bool = True) -> Prepared:
        """A prepared namespace, from the pool or made now.

        ``owner`` is as in ``Member.userns``; those that need no bridge do without the ``pair``.
        """
        if owner != self._usual or not pair:
            return await self._make(owner, pair=pair)
        prepared = self._ready.popleft() if self._ready else await self._make(owner)
        if self._due is not None:
            self._due.cancel()
        self._due = asyncio.get_running_loop().call_later(REFILL_AFTER if self._ready else 0, self._start_refill)
        return prepared

    async def _make(self, owner: str, *, pair: bool = True) -> Prepared:
        if owner:
            return await self._make_owned(owner, pair=pair)
        return await self._namespaces.call(lambda: self._prepare(pair=pair))

    async def _make_owned(self, owner: str, *, pair: bool) -> Prepared:
        """A namespace that belongs to a user namespace, a new one or that at the path ``owner``."""
        if owner == NEW_USERNS and self._maps is not None:
            user, network = await asyncio.to_thread(userns.make_with_network, self._maps)
        else:
            user, network = await asyncio.to_thread(userns.join_with_network, owner)
        try:
            prepared = await self._namespaces.call(lambda: self._prepare(pair=pair), network)
        except BaseException:
            os.close(user)
            raise
        finally:
            os.close(network)
        prepared.user = user
        return prepared

    def _prepare(self, *, pair: bool) -> Prepared:
        """Furnish the calling thread's namespace, which is new."""
        prepared = prepare()
        try:
            prepared.pair = make_pair(self._rtnetlink, prepared, PLUG) if pair else None
        except BaseException:
            prepared.close()
            raise
        return prepared

    def _start_refill(self) -> None:
        self._due = None
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
        """Let all prepared namespaces die, that being made included."""
        self._size = 0
        if self._due:
            self._due.cancel()
        if self._refill:
            await self._refill
        while self._ready:
            self._ready.pop().close()
        self._rtnetlink.close()
