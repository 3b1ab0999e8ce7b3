"""The syslog driver: RFC 3164 as Unix writes it, RFC 5424 with seconds or microseconds.

unix     <30>Nov 23 20:31:05 tag[pid]: line
rfc5424  <30>1 2026-11-23T20:31:05Z host tag pid tag - line        each message ends with a line feed
"""

import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import lru_cache

from sampan.engine.log_drivers.message import Entry, Source, tag
from sampan.engine.log_drivers.options import address, facility
from sampan.engine.log_drivers.transport import Datagrams, FirstOf, Stream, Transport
from sampan.errors import InvalidParameter

INFORMATION, ERROR = 6, 3
LOCAL = ("/dev/log", "/var/run/syslog", "/var/run/log")


@lru_cache(16)
def local_time(seconds: int) -> str:
    """As RFC 3164 writes it."""
    return time.strftime("%b %e %H:%M:%S", time.localtime(seconds))


def unix(entry: Entry, name: str) -> str:
    """Local time without a host, as syslog(3) writes."""
    return f"{local_time(entry.time // 10**9)} {name}[{os.getpid()}]: {entry.exact}"


def rfc3164(entry: Entry, name: str) -> str:
    """RFC 3164 with the host's name."""
    return f"{local_time(entry.time // 10**9)} {socket.gethostname()} {name}[{os.getpid()}]: {entry.exact}"


def rfc5424(entry: Entry, name: str, fraction: str = "") -> str:
    """RFC 5424 without structured data."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(entry.time // 10**9)) + fraction + "Z"
    return f"1 {stamp} {socket.gethostname()} {name} {os.getpid()} {name} - {entry.exact}"


def rfc5424micro(entry: Entry, name: str) -> str:
    """RFC 5424 with microseconds."""
    return rfc5424(entry, name, f".{entry.time % 10**9 // 1000:06}")


FORMATS: Mapping[str, Callable[[Entry, str], str]] = {
    "": unix,
    "rfc3164": rfc3164,
    "rfc5424": rfc5424,
    "rfc5424micro": rfc5424micro,
}


class Syslog:
    """One container's messages to a syslog receiver."""

    def __init__(self, options: Mapping[str, str], source: Source) -> None:
        self.facility = facility(options)
        self.format = FORMATS[options.get("syslog-format", "")]
        self.tag = tag(options, source)
        scheme, host, port = address("syslog", options)
        self.transport = transport(scheme, host, port, options)
        self.frame = framing(scheme, options.get("syslog-format", ""))

    def encode(self, entry: Entry) -> bytes:
        """One message as it goes over the wire."""
        priority = self.facility * 8 + (ERROR if entry.from_stderr else INFORMATION)
        return self.frame(f"<{priority}>{self.format(entry, self.tag)}\n".encode(errors="surrogateescape"))

    async def open(self) -> None:
        """Connect; raises OSError."""
        await self.transport.connect()

    async def send(self, entry: Entry) -> None:
        """Deliver one entry, unless it is empty; raises OSError."""
        if entry.line:
            await self.transport.send(self.encode(entry))

    async def close(self) -> None:
        """Let go of the receiver."""
        await self.transport.close()


def framing(scheme: str, form: str) -> Callable[[bytes], bytes]:
    """How messages are told apart: by the line feeds at their ends, RFC 5425's by their length before them."""
    if scheme == "tcp+tls" and form.startswith("rfc5424"):
        return lambda message: b"%d %b" % (len(message), message)
    return bytes


def transport(scheme: str, host: str, port: int, options: Mapping[str, str]) -> Transport:
    """The way to the receiver that an address names; without one, to the host's own."""
    if not options.get("syslog-address"):
        return FirstOf([kind(path) for kind in (Datagrams, Stream) for path in LOCAL], "Unix syslog delivery error")
    if scheme == "unixgram":
        return Datagrams(host)
    if scheme == "unix":
        return Stream(host)
    if scheme == "udp":
        return Datagrams((host, port))
    return Stream((host, port), tls(options) if scheme == "tcp+tls" else None)


def tls(options: Mapping[str, str]) -> ssl.SSLContext:
    """TLS as the ``syslog-tls-*`` options say; raises InvalidParameter for files that cannot be used."""
    authority, certificate, key = (options.get(f"syslog-tls-{name}", "") for name in ("ca-cert", "cert", "key"))
    context = ssl.create_default_context()
    try:
        if authority:
            context.load_verify_locations(authority)
    except ssl.SSLError:
        raise InvalidParameter(f'failed to append certificates from PEM file: "{authority}"') from None
    except OSError as error:
        why = f"open {authority}: {os.strerror(error.errno or 0).lower()}"
        raise InvalidParameter(f'could not read CA certificate "{authority}": {why}') from None
    try:
        if certificate or key:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        pair = f'(cert: "{certificate}", key: "{key}")'
        raise InvalidParameter(f"could not load X509 key pair {pair}: {error.strerror}") from None
    if "syslog-tls-skip-verify" in options:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
