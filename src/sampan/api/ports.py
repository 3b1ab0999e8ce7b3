"""Ports: maps of published ports, what a list shows, and the grammar of port specifications.

port spec      = [[address ":"] [host-range] ":"] container-range ["/" protocol]
port (as key)  = number ["-" number] "/" protocol                         "80/tcp"
"""

import re
from typing import NamedTuple

from sampan.api.wire import Wire, named, present, present_named
from sampan.errors import InvalidParameter

PROTOCOLS = ("tcp", "udp", "sctp")


class PortBinding(Wire):
    """Where on the host a port is published; an empty port asks for any free one, "8000-9000" for one of those."""

    host_ip: str = present_named("HostIp", "")
    host_port: str = present("")


PortMap = dict[str, list[PortBinding] | None]


class PortSummary(Wire):
    """One port as ``GET /containers/json`` shows it."""

    ip: str = named("IP", "")
    private_port: int = present(0)
    public_port: int = 0
    type: str = present("tcp")


class Port(NamedTuple):
    """A port of a container: number and protocol, the key of a ``PortMap``."""

    number: int
    protocol: str

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


def parse_range(text: str) -> range:
    """``"80"`` or ``"80-82"`` as a range of numbers from 0 to 65535; raises InvalidParameter."""
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not match or last > 65535:
        raise InvalidParameter(f"invalid port range: {text}")
    if last < first:
        raise InvalidParameter(f"invalid port range: {text}: the end comes before the start")
    return range(first, last + 1)


def parse_port(key: str) -> Port:
    """``"80/tcp"`` (or ``"80"``, which is TCP) as a ``Port``; raises InvalidParameter."""
    ports = parse_ports(key)
    if len(ports) != 1:
        raise InvalidParameter(f"invalid port: {key}: a single port was expected")
    return ports[0]


def parse_ports(key: str) -> list[Port]:
    """``"80-82/udp"`` as its ports, one ``Port`` each; raises InvalidParameter."""
    numbers, _, protocol = key.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidParameter(f"invalid proto: {protocol}")
    return [Port(number, protocol) for number in parse_range(numbers)]
