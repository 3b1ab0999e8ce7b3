"""Published ports: which host address and port each gets, and the sockets that hold them.

A port is taken by really binding it, so that no other program of the host can have it, and nobody is surprised by
a translation in front of their server. The socket is held for as long as the port is published, and serves
what translation does not catch (``proxy``): ``::1``, IPv6 clients of IPv4-only containers, and everything where
the network publishes by proxy.

    binding ""           the default address; with 0.0.0.0 also ::, on the same port
    port "" or "0"       any free one of the host's ephemeral range
    port "8000-9000"     the first free one of these
"""

import errno
import os
import random
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from sampan.api.ports import Port, PortBinding, PortMap, parse_port, parse_range
from sampan.errors import EngineError, InvalidParameter
from sampan.linux import socket_filter
from sampan.linux.rtnetlink import Address, Network
from sampan.network.ipam import parse_address

ALLOW = "com.sampan.publish.allow"
ANY4, ANY6 = IPv4Address("0.0.0.0"), IPv6Address("::")
_BACKLOG = 128
_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class PortAllocated(EngineError):
    def __init__(self, host: Address, number: int) -> None:
        shown = f"[{host}]" if host.version == 6 else str(host)
        super().__init__(f"Bind for {shown}:{number} failed: port is already allocated")


class PortUnavailable(EngineError):
    """The kernel refuses the address or port."""

    def __init__(self, host: Address, number: int, protocol: str, reason: str) -> None:
        shown = f"[{host}]" if host.version == 6 else str(host)
        super().__init__(f"failed to bind host port {shown}:{number}/{protocol}: {reason}")


@dataclass(frozen=True)
class Wanted:
    """One publication asked for: a container's port, host addresses (same port on each), the choice of ports."""

    port: Port
    hosts: tuple[Address, ...]
    choice: range
    allow: tuple[Network, ...] = ()
    routed: frozenset[int] = frozenset()
    """IP versions of which the container's port is opened, and none of the host's taken."""


@dataclass(frozen=True)
class Held:
    """One host address and port that is ours. ``socket`` is None for protocols the kernel has no sockets of.

    A ``number`` of 0 is no port of the host: the container's own is opened to those who have a route to it.
    """

    port: Port
    host: Address
    number: int
    socket: socket.socket | None
    allow: tuple[Network, ...] = ()

    def close(self) -> None:
        if self.socket:
            self.socket.close()


def wanted_ports(
    bindings: PortMap,
    exposed: Iterable[str],
    *,
    publish_all: bool,
    default: Sequence[Address],
    labels: Mapping[str, str],
    routed: frozenset[int] = frozenset(),
) -> list[Wanted]:
    """What ``-p`` and ``-P`` ask for, by port; raises InvalidParameter. ``default`` are the host addresses."""
    asked: dict[Port, list[PortBinding]] = {parse_port(key): list(value or []) for key, value in bindings.items()}
    if publish_all:
        for key in exposed:
            asked.setdefault(parse_port(key), [PortBinding()])
    return [
        Wanted(
            port,
            host_addresses(binding.host_ip, default),
            host_ports(binding.host_port),
            allowed(labels, port),
            routed,
        )
        for port in sorted(asked)
        for binding in asked[port] or [PortBinding()]
    ]


def host_addresses(text: str, default: Sequence[Address]) -> tuple[Address, ...]:
    """The addresses a binding means; raises InvalidParameter."""
    if not text:
        return tuple(default)
    return (parse_address(text.removeprefix("[").removesuffix("]"), "IP address"),)


def host_ports(text: str) -> range:
    """The host ports to choose from; empty for any. Raises InvalidParameter."""
    chosen = parse_range(text) if text else range(0)
    return range(0) if chosen == range(1) else chosen


def allowed(labels: Mapping[str, str], port: Port) -> tuple[Network, ...]:
    """The sources that the container's labels let reach ``port``; empty is everyone. Raises InvalidParameter."""
    listed = labels.get(f"{ALLOW}.{port}", labels.get(ALLOW, ""))
    try:
        return tuple(ip_network(source.strip()) for source in listed.split(",") if source.strip())
    except ValueError as error:
        raise InvalidParameter(f"invalid label {ALLOW}: {error}") from None


def match(wanted: Sequence[Wanted], held: Sequence[Held]) -> list[list[Held]]:
    """For each of ``wanted`` those of ``held`` that serve it already: one for each host address, or none at all."""
    left = list(held)
    found = []
    for one in wanted:
        group = serving(one, left)
        left = [held for held in left if held not in group]
        found.append(group)
    return found


def serving(wanted: Wanted, held: Sequence[Held]) -> list[Held]:
    """Those of ``held`` that are just what ``wanted`` would take, all at one port; empty if there are none."""
    fitting = [one for one in held if (one.port, one.allow) == (wanted.port, wanted.allow)]
    for number in {one.number for one in fitting if one.number}:
        if wanted.choice and number not in wanted.choice:
            continue
        numbers = [(host, 0 if host.version in wanted.routed else number) for host in wanted.hosts]
        group = [one for one in fitting if (one.host, one.number) in numbers]
        if len(group) == len(numbers):
            return group
    routed = [one for one in fitting if one.number == 0 and one.host in wanted.hosts]
    return routed if len(routed) == len(wanted.hosts) else []


class Ports:
    """All ports held by this daemon."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, Address, int]] = set()

    def take(self, wanted: Wanted) -> list[Held]:
        """Bind ``wanted`` on all its addresses at one port; raises PortAllocated or PortUnavailable."""
        failure: EngineError | None = None
        for number in self._numbers(wanted):
            try:
                return self._bind_all(wanted, number)
            except (PortAllocated, PortUnavailable) as error:
                failure = failure or error
        raise failure or EngineError(f"no free port for {wanted.port}")

    def _numbers(self, wanted: Wanted) -> Iterator[int]:
        if wanted.choice:
            yield from wanted.choice
            return
        ephemeral = ephemeral_ports()
        start = random.randrange(len(ephemeral))
        yield from ephemeral[start:]
        yield from ephemeral[:start]

    def _bind_all(self, wanted: Wanted, number: int) -> list[Held]:
        held: list[Held] = []
        try:
            for host in wanted.hosts:
                held.append(self._bind(wanted, host, number))
        except EngineError:
            self.release(held)
            raise
        return held

    def hold(self, held: Held) -> Held:
        """Bind again a port of before a restart; raises PortAllocated or PortUnavailable."""
        if not held.number:
            return held
        return self._bind(Wanted(held.port, (held.host,), range(0), held.allow), held.host, held.number)

    def _bind(self, wanted: Wanted, host: Address, number: int) -> Held:
        protocol = wanted.port.protocol
        if host.version in wanted.routed:
            return Held(wanted.port, host, 0, None, wanted.allow)
        if self._is_taken(protocol, host, number):
            raise PortAllocated(host, number)
        try:
            bound = bind(protocol, host, number) if protocol in _TYPES else None
        except OSError as error:
            reason = "address already in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
            raise PortUnavailable(host, number, protocol, reason.lower()) from None
        self._taken.add((protocol, host, number))
        return Held(wanted.port, host, number, bound, wanted.allow)

    def _is_taken(self, protocol: str, host: Address, number: int) -> bool:
        """Whether one of ours has the port on ``host`` or all addresses, or on any when ``host`` is all."""
        whole = ANY4 if host.version == 4 else ANY6
        if {(protocol, host, number), (protocol, whole, number)} & self._taken:
            return True
        return host == whole and any((protocol, number, host.version) == (p, n, h.version) for p, h, n in self._taken)

    def release(self, held: Iterable[Held]) -> None:
        """Give ports back."""
        for one in held:
            one.close()
            self._taken.discard((one.port.protocol, one.host, one.number))


def bind(protocol: str, host: Address, number: int) -> socket.socket:
    """A non-blocking socket bound (for TCP: listening) at ``host``, shut until a proxy serves it; raises OSError."""
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    made = socket.socket(family, _TYPES[protocol] | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        socket_filter.shut(made)
        made.bind((str(host), number))
        if protocol == "tcp":
            made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def ephemeral_ports() -> range:
    """The host's range of ports for unnamed uses."""
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return range(int(first), int(last) + 1)


def port_map(held: Iterable[Held], exposed: Iterable[str]) -> PortMap:
    """NetworkSettings.Ports: exposed ports, published or not."""
    result: PortMap = {str(parse_port(key)): None for key in exposed}
    for one in held:
        binding = PortBinding(host_ip=str(one.host), host_port=str(one.number or ""))
        result[str(one.port)] = [*(result.get(str(one.port)) or []), binding]
    return result
