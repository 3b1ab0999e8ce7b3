"""The DNS server of one container, at 127.0.0.11: names of its networks first, then the upstream servers.

    query ── A, AAAA ─ known name? ── yes: addresses of that family, in turn (or an empty answer)
      │      MX ────── known name? ── yes: an empty answer: mail goes to the address
      │      others ── known word? ── yes: an empty answer: nobody else knows more of it
      │      PTR ───── known address? ─ yes: the endpoint's full name
      ├── A, AAAA of one word, with ndots set on purpose: an empty answer, so that the search domains are tried
      └── otherwise: the upstream servers one after the other; without any: SERVFAIL

Only tables of networks that the container is on are asked, so no name leaks to others. The sockets are in the
container's namespace. Servers that the user named are asked from there too, so they may be on the container's own
networks, internal ones included; the host's own servers are asked from the daemon's.
"""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, NamedTuple, Protocol

from dnslib import AAAA, EDNS0, PTR, QTYPE, RCODE, RR, A, DNSError, DNSRecord

from sampan.linux.rtnetlink import Address

TTL = 600
PATIENCE = 1.0
TIMEOUT = 4.0
MAXIMUM_UDP = 512
MAXIMUM_EDNS = 1232
"""The size of datagrams that we say we take (RFC 6891): what fits in any packet unbroken."""
MAXIMUM_MESSAGE = 65535
MAXIMUM_QUERIES = 256


class Upstream(NamedTuple):
    """A name server; ``inside``: asked from within the container's namespace."""

    host: str
    port: int = 53
    inside: bool = False

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


Opener = Callable[[Upstream, socket.SocketKind], Awaitable[socket.socket]]
"""Makes a non-blocking socket for asking a server."""


class Names(Protocol):
    """What the resolver asks of its container's networks."""

    def resolve(self, name: str) -> list[Address] | None:
        """Addresses of ``name``, lower case without the final dot; None if unknown."""

    def reverse(self, address: Address) -> str | None:
        """The full name of the endpoint with this address."""


def answer(
    query: DNSRecord, names: Names, shuffle: Callable[[list[Address]], None] = random.shuffle
) -> DNSRecord | None:
    """The reply to ``query`` out of ``names`` alone; None if it is not theirs to answer."""
    name = str(query.q.qname).removesuffix(".").lower()
    kind = QTYPE.get(query.q.qtype)
    if kind == "PTR":
        return answer_reverse(query, name, names)
    addresses = names.resolve(name) if kind in ("A", "AAAA", "MX") or "." not in name else None
    if addresses is None:
        return None
    reply: DNSRecord = query.reply(ra=1, aa=0)
    fitting = [address for address in addresses if kind == {4: "A", 6: "AAAA"}[address.version]]
    shuffle(fitting)
    for address in fitting:
        data = A(str(address)) if kind == "A" else AAAA(str(address))
        reply.add_answer(RR(query.q.qname, query.q.qtype, ttl=TTL, rdata=data))
    return reply


def answer_reverse(query: DNSRecord, name: str, names: Names) -> DNSRecord | None:
    """The reply to a reverse look-up of one of ours."""
    address = reverse_address(name)
    found = names.reverse(address) if address else None
    if not found:
        return None
    reply: DNSRecord = query.reply(ra=1, aa=0)
    reply.add_answer(RR(query.q.qname, QTYPE.PTR, ttl=TTL, rdata=PTR(found)))
    return reply


def reverse_address(name: str) -> Address | None:
    """The address of ``2.0.18.172.in-addr.arpa`` or its like in ip6.arpa."""
    with suppress(ValueError):
        if name.endswith(".in-addr.arpa"):
            return ip_address(".".join(reversed(name.removesuffix(".in-addr.arpa").split("."))))
        if name.endswith(".ip6.arpa"):
            digits = "".join(reversed(name.removesuffix(".ip6.arpa").split(".")))
            return ip_address(int(digits, 16).to_bytes(16, "big")) if len(digits) == 32 else None
    return None


def truncated(reply: DNSRecord, limit: int) -> bytes:
    """``reply`` packed; with the TC bit and as many answers as fit when it is over ``limit`` bytes."""
    packed: bytes = reply.pack()
    if len(packed) <= limit:
        return packed
    fitting = reply.rr[: limit * len(reply.rr) // len(packed)]
    while True:
        short: DNSRecord = reply.truncate()
        short.add_answer(*fitting)
        short.add_ar(*reply.ar)
        packed = short.pack()
        if len(packed) <= limit or not fitting:
            return packed
        fitting.pop()


class Resolver:
    """Serves a container's two DNS sockets until ``close``."""

    def __init__(
        self,
        sockets: tuple[socket.socket, socket.socket],
        names: Names,
        upstreams: Callable[[], Sequence[Upstream]],
        opener: Opener,
        *,
        words_stay: bool = False,
    ) -> None:
        """``words_stay``: names of one word are never asked upstream (ndots was set on purpose)."""
        self._udp, self._tcp = sockets
        self._names = names
        self._upstreams = upstreams
        self._open = opener
        self._words_stay = words_stay
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._udp, self._datagram)
        self._loop.add_reader(self._tcp, self._accept)

    def close(self) -> None:
        """Stop serving and close the sockets."""
        for one in (self._udp, self._tcp):
            self._loop.remove_reader(one)
            one.close()
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _datagram(self) -> None:
        with suppress(OSError):
            data, client = self._udp.recvfrom(MAXIMUM_MESSAGE)
            if (reply := self._own_answer(data, MAXIMUM_UDP)) is not None:
                self._udp.sendto(reply, client)
            elif len(self._tasks) < MAXIMUM_QUERIES:
                self._start(self._forward_datagram(data, client))

    async def _forward_datagram(self, data: bytes, client: tuple[str, int]) -> None:
        reply = await self._ask(data, stream=False)
        with suppress(OSError):
            self._udp.sendto(reply, client)

    def _accept(self) -> None:
        with suppress(OSError):
            client, _ = self._tcp.accept()
            if len(self._tasks) < MAXIMUM_QUERIES:
                self._start(self._serve_stream(client))
            else:
                client.close()

    async def _serve_stream(self, client: socket.socket) -> None:
        with client, suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            client.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=client)
            try:
                while True:
                    data = await asyncio.wait_for(read_message(reader), TIMEOUT * 2)
                    reply = self._own_answer(data, MAXIMUM_MESSAGE) or await self._ask(data, stream=True)
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()
            finally:
                writer.close()

    def _own_answer(self, data: bytes, limit: int) -> bytes | None:
        """The packed reply if the names answer it (or it is no query at all); None to forward."""
        try:
            query = DNSRecord.parse(data)
            reply = self._answer(query) if query.questions else None
        except (DNSError, ValueError, IndexError, UnicodeError):
            return failure(data, RCODE.FORMERR)
        return truncated(reply, max(limit, payload_size(query))) if reply else None

    def _answer(self, query: DNSRecord) -> DNSRecord | None:
        if (reply := answer(query, self._names)) is not None:
            if any(record.rtype == QTYPE.OPT for record in query.ar):
                reply.add_ar(EDNS0(udp_len=MAXIMUM_EDNS))
            return reply
        word = "." not in str(query.q.qname).removesuffix(".")
        stays = self._words_stay and word and QTYPE.get(query.q.qtype) in ("A", "AAAA")
        return query.reply(ra=1, aa=0) if stays else None

    async def _ask(self, data: bytes, *, stream: bool) -> bytes:
        """The first usable reply of the upstream servers; SERVFAIL when there is none.

        A server that has not answered within ``PATIENCE`` gets company from the next.
        """
        exchange = ask_stream if stream else ask_datagram
        waiting: set[asyncio.Task[bytes]] = set()
        last = b""
        try:
            for upstream in self._upstreams():
                waiting.add(self._loop.create_task(exchange(self._open, upstream, data)))
                reply, waiting = await first_reply(waiting, PATIENCE)
                if reply and is_usable(reply):
                    return reply
                last = reply or last
            while waiting:
                reply, waiting = await first_reply(waiting, TIMEOUT)
                if not reply or is_usable(reply):
                    return reply or last or failure(data, RCODE.SERVFAIL)
                last = reply
        finally:
            for task in waiting:
                task.cancel()
        return last or failure(data, RCODE.SERVFAIL)


async def first_reply(waiting: set[asyncio.Task[bytes]], timeout: float) -> tuple[bytes, set[asyncio.Task[bytes]]]:
    """The reply of one of ``waiting`` that ends within ``timeout`` (empty: none did, or it failed), and the rest."""
    done, rest = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    replies = [task.result() for task in done if task.exception() is None]
    return next(iter(sorted(replies, key=is_usable, reverse=True)), b""), rest


def is_usable(reply: bytes) -> bool:
    """Whether a server had something to say about the name."""
    return len(reply) >= 12 and reply[3] & 0x0F not in (RCODE.SERVFAIL, RCODE.REFUSED)


def payload_size(query: DNSRecord) -> int:
    """The size of datagrams the client says it takes (EDNS), 512 if it does not say."""
    sizes = [record.rclass for record in query.ar if record.rtype == QTYPE.OPT]
    return sizes[0] if sizes else MAXIMUM_UDP


def failure(data: bytes, code: int) -> bytes:
    """A reply to the raw query ``data`` that only carries ``code``; empty for what is too short to answer."""
    if len(data) < 12:
        return b""
    flags = int.from_bytes(data[2:4], "big") & 0x7900 | 0x8080 | code
    counts = data[4:6] + b"\0" * 6 if code != RCODE.FORMERR else b"\0" * 8
    return data[:2] + flags.to_bytes(2, "big") + counts + (data[12:] if code != RCODE.FORMERR else b"")


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One length-prefixed message."""
    length = int.from_bytes(await reader.readexactly(2), "big")
    return await reader.readexactly(length)


async def ask_stream(opener: Opener, upstream: Upstream, data: bytes) -> bytes:
    """Exchange one message over TCP."""
    channel = await opener(upstream, socket.SOCK_STREAM)
    try:
        await asyncio.get_running_loop().sock_connect(channel, (upstream.host, upstream.port))
        reader, writer = await asyncio.open_connection(sock=channel)
    except BaseException:
        channel.close()
        raise
    try:
        writer.write(len(data).to_bytes(2, "big") + data)
        await writer.drain()
        return await read_message(reader)
    finally:
        writer.close()


async def ask_datagram(opener: Opener, upstream: Upstream, data: bytes) -> bytes:
    """Exchange one message over UDP; the socket's connection keeps strangers' replies out."""
    loop = asyncio.get_running_loop()
    with await opener(upstream, socket.SOCK_DGRAM) as channel:
        channel.connect((upstream.host, upstream.port))
        await loop.sock_sendall(channel, data)
        while True:
            reply = await loop.sock_recv(channel, MAXIMUM_MESSAGE)
            if reply[:2] == data[:2] and len(reply) >= 12:
                return reply
