"""nf_tables: whole rulesets through nft(8), and the few hot changes straight through netlink.

``load`` gives text to ``nft -f -``: one transaction, all or nothing. A ``Batch`` is a transaction too, made by hand
for what happens at the start of a container: elements of a map, and the small table inside its namespace.

    batch begin · NEWTABLE … NEWCHAIN … NEWRULE … NEWSETELEM … · batch end

Numbers are big-endian in nf_tables' attributes, as on the wire.

Source: nft(8), include/uapi/linux/netfilter/{nf_tables,nfnetlink}.h.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Self

from sampan.errors import EngineError
from sampan.linux.rtnetlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    attribute,
    attributes,
    message,
    messages,
    nested,
    raise_error,
    text,
)

NETLINK_NETFILTER = 12
SUBSYSTEM = 10 << 8
BATCH_BEGIN, BATCH_END = 16, 17
NEWTABLE, DELTABLE, NEWCHAIN, DELCHAIN, NEWRULE, DELRULE = 0, 2, 3, 5, 6, 8
DELSET, NEWSETELEM, DELSETELEM, NEWGEN = 11, 12, 14, 15
DELETIONS = frozenset({DELTABLE, DELCHAIN, DELRULE, DELSET, DELSETELEM})
NFNLGRP_NFTABLES = 7
NFTA_GEN_PROC_PID = 2

NFPROTO_INET, NFPROTO_IPV4 = 1, 2
NF_INET_LOCAL_OUT = 3
PRIORITY_DSTNAT = -100
PAYLOAD_NETWORK, PAYLOAD_TRANSPORT = 1, 2
META_L4PROTO = 16
REGISTER_1, REGISTER_2 = 1, 2

_GENERIC = struct.Struct("!BBH")  # nfgenmsg: family, version, resource
_BUFFER = 1 << 16


async def load(ruleset: str) -> int:
    """Apply ``ruleset`` (nft's language) as one transaction; raises EngineError with nft's own words.

    Returns the ID of the process that did it, by which a ``Monitor`` knows it.
    """
    process = await asyncio.create_subprocess_exec(
        *("nft", "-f", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate(ruleset.encode())
    if process.returncode:
        raise EngineError(f"nft refused the ruleset: {said.decode(errors='replace').strip()}")
    return process.pid


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!i", value))


def expression(name: str, *data: bytes) -> bytes:
    """One expression of a rule."""
    return nested(1, text(1, name), nested(2, *data))


def value(kind: int, data: bytes) -> bytes:
    """NFTA_DATA_VALUE in the attribute ``kind``."""
    return nested(kind, attribute(1, data))


def match_protocol(protocol: int) -> bytes:
    """``meta l4proto PROTOCOL``."""
    return expression("meta", be32(1, REGISTER_1), be32(2, META_L4PROTO)) + equals(bytes([protocol]))


def match_payload(base: int, offset: int, data: bytes) -> bytes:
    """``@nh|@th,OFFSET,LENGTH DATA``."""
    loaded = expression("payload", be32(1, REGISTER_1), be32(2, base), be32(3, offset), be32(4, len(data)))
    return loaded + equals(data)


def equals(data: bytes) -> bytes:
    """Go on if register 1 holds ``data``."""
    return expression("cmp", be32(1, REGISTER_1), be32(2, 0), value(3, data))


def dnat(address: bytes, port: int) -> bytes:
    """``dnat to ADDRESS:PORT`` (IPv4)."""
    return (
        expression("immediate", be32(1, REGISTER_1), value(2, address))
        + expression("immediate", be32(1, REGISTER_2), value(2, struct.pack("!H", port)))
        + expression("nat", be32(1, 1), be32(2, NFPROTO_IPV4), be32(3, REGISTER_1), be32(5, REGISTER_2))
    )


def key(*fields: bytes) -> bytes:
    """A concatenation: each field padded to four bytes, one alone as it is."""
    return b"".join(field + b"\0" * (-len(field) % 4) for field in fields) if len(fields) > 1 else fields[0]


class Batch:
    """Changes to one table that happen together."""

    def __init__(self, family: int, table: str) -> None:
        self._family = family
        self._table = table
        self._messages: list[tuple[int, int, bytes]] = []

    def _add(self, kind: int, flags: int, *parts: bytes) -> Self:
        self._messages.append((SUBSYSTEM | kind, flags, b"".join(parts)))
        return self

    def table(self) -> Self:
        """Make the table if there is none."""
        return self._add(NEWTABLE, NLM_F_CREATE, text(1, self._table), be32(2, 0))

    def delete_table(self) -> Self:
        """Remove the table with all in it; it must exist."""
        return self._add(DELTABLE, 0, text(1, self._table))

    def nat_chain(self, name: str, hook: int, priority: int) -> Self:
        """A base chain of type nat."""
        hooked = nested(4, be32(1, hook), be32(2, priority))
        return self._add(NEWCHAIN, NLM_F_CREATE, text(1, self._table), text(3, name), hooked, text(7, "nat"))

    def rule(self, chain: str, *expressions: bytes) -> Self:
        """Append a rule."""
        return self._add(NEWRULE, NLM_F_CREATE | 0x800, text(1, self._table), text(2, chain), nested(4, *expressions))

    def add_elements(self, name: str, elements: Iterable[tuple[bytes, bytes]]) -> Self:
        """Put key and value pairs into the map ``name``; EEXIST for a key that maps to something else."""
        listed = [nested(1, value(1, key_), value(2, data)) for key_, data in elements]
        return self._add(NEWSETELEM, NLM_F_CREATE, text(1, self._table), text(2, name), nested(3, *listed))

    def delete_elements(self, name: str, keys: Iterable[bytes]) -> Self:
        """Take keys out of the map ``name``; ENOENT for one that is not there."""
        listed = [nested(1, value(1, key_)) for key_ in keys]
        return self._add(DELSETELEM, 0, text(1, self._table), text(2, name), nested(3, *listed))

    def commit(self) -> None:
        """Do it in the calling thread's namespace; raises the first OSError, and then nothing has changed."""
        parts = [message(BATCH_BEGIN, NLM_F_REQUEST, 0, _GENERIC.pack(0, 0, 10))]
        for sequence, (kind, flags, payload) in enumerate(self._messages, 1):
            header = _GENERIC.pack(self._family, 0, 0)
            parts.append(message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence, header + payload))
        parts.append(message(BATCH_END, NLM_F_REQUEST, 0, _GENERIC.pack(0, 0, 10)))
        with _open() as channel:
            channel.send(b"".join(parts))
            for _ in self._messages:
                _read_acknowledgement(channel, self._table)


def _open() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)


def _read_acknowledgement(channel: socket.socket, about: str) -> None:
    for kind, flags, _, payload in messages(channel.recv(_BUFFER)):
        if kind == NLMSG_ERROR:
            raise_error("nftables", about, flags, payload)


class Monitor:
    """Tells when somebody else takes something out of a table: ``nft flush ruleset`` and the like.

    The socket is non-blocking; whenever it is readable, call ``read``.
    """

    def __init__(self, table: str) -> None:
        self._table = table.encode() + b"\0"
        self._hurt = False
        self.socket = _open()
        self.socket.setblocking(False)
        self.socket.bind((0, 0))
        self.socket.setsockopt(270, 1, NFNLGRP_NFTABLES)  # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP

    def close(self) -> None:
        self.socket.close()

    def read(self) -> Iterator[int]:
        """The process IDs of those whose transactions deleted something of the table; -1 after lost events."""
        while True:
            try:
                datagram = self.socket.recv(_BUFFER)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: too much happened at once
                yield -1
                continue
            yield from self._examine(datagram)

    def _examine(self, datagram: bytes) -> Iterator[int]:
        for kind, _, _, payload in messages(datagram):
            found = dict(attributes(payload[_GENERIC.size :]))
            if kind == SUBSYSTEM | NEWGEN:
                if self._hurt:
                    yield int.from_bytes(found.get(NFTA_GEN_PROC_PID, b""), "big")
                self._hurt = False
            elif kind & 0xFF in DELETIONS and found.get(1) == self._table:
                self._hurt = True
