"""EXPOSE's ports: ``80``, ``80/udp``, ``8000-8010/tcp``; also, tolerated, ``[ip:][host:]80``."""

import re

from sampan.dockerfile.source import ParseError

PROTOCOLS = ("tcp", "udp", "sctp")
_SPEC = re.compile(r"(?:(?P<host>.*):)?(?P<ports>[^:/]*)(?:/(?P<protocol>[^/]*))?")


def exposed_ports(text: str) -> list[str]:
    """``80/tcp`` for each port that ``text`` names. Raises ``ParseError``."""
    match = _SPEC.fullmatch(text)
    if match is None or not match["ports"]:
        raise ParseError(f"no port specified: {text}<empty>")
    protocol = (match["protocol"] or "tcp").lower()
    if protocol not in PROTOCOLS:
        raise ParseError(f"invalid proto: {match['protocol']}")
    first, dash, last = match["ports"].partition("-")
    start, end = _port(first, text), _port(last if dash else first, text)
    if end < start:
        raise ParseError(f"invalid containerPort: {match['ports']}")
    return [f"{port}/{protocol}" for port in range(start, end + 1)]


def _port(digits: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", digits) or int(digits) > 65535:
        raise ParseError(f"invalid containerPort: {text.rpartition(':')[2].partition('/')[0]}")
    return int(digits)
