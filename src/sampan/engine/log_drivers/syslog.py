"""The syslog driver: RFC 3164 as Unix writes it, RFC 5424 with seconds or microseconds.

unix     <30>Nov 23 20:31:05 tag[pid]: line
rfc5424  <30>1 2026-11-23T20:31:05Z host tag pid tag - line        over TCP each message ends with a line feed
"""

import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping

from sampan.engine.log_drivers.message import Entry, Source, tag
from sampan.engine.log_drivers.options import address, facility
from sampan.engine.log_drivers.transport import Datagrams, Stream, Transport, udp
from sampan.errors import InvalidParameter

INFORMATION, ERROR = 6, 3


def unix(entry: Entry, name: str) -> str:
    """Local time without a host, as syslog(3) writes."""
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime(entry.time / 1e9))
    return f"{stamp} {name}[{os.getpid()}]: {entry.text}"


def rfc3164(entry: Entry, name: str) -> str:
    """RFC 3164 with the host's name."""
    stamp = time.strftime("%b %e %H:%M:%S", time.localtime(entry.time / 1e9))
    return f"{stamp} {socket.gethostname()} {name}[{os.getpid()}]: {entry.text}"


def rfc5424(entry: Entry, name: str, fraction: str = "") -> str:
    """RFC 5424 without structured data."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(entry.time // 10**9)) + fraction + "Z"
    return f"1 {stamp} {socket.gethostname()} {name} {os.getpid()} {name} - {entry.text}"


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
        return self.frame(f"<{priority}>{self.format(entry, self.tag)}".encode())

    async def send(self, entry: Entry) -> None:
        """Deliver one entry; raises OSError."""
        await self.transport.send(self.encode(entry))

    async def close(self) -> None:
        """Let go of the receiver."""
        await self.transport.close()


def framing(scheme: str, form: str) -> Callable[[bytes], bytes]:
    """How messages are told apart: datagrams are; streams by line feeds, RFC 5425's by their length before them."""
    if scheme in ("udp", "unixgram"):
        return bytes
    if scheme == "tcp+tls" and form.startswith("rfc5424"):
        return lambda message: b"%d %b" % (len(message), message)
    return lambda message: message + b"\n"


def transport(scheme: str, host: str, port: int, options: Mapping[str, str]) -> Transport:
    """The way to the receiver that an address names."""
    if scheme == "unixgram":
        return Datagrams(socket.AF_UNIX, host)
    if scheme == "unix":
        return Stream(host)
    if scheme == "udp":
        return udp(host, port)
    return Stream((host, port), tls(options) if scheme == "tcp+tls" else None)


def tls(options: Mapping[str, str]) -> ssl.SSLContext:
    """TLS as the ``syslog-tls-*`` options say; raises InvalidParameter for files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=options.get("syslog-tls-ca-cert") or None)
        if options.get("syslog-tls-cert"):
            context.load_cert_chain(options["syslog-tls-cert"], options.get("syslog-tls-key") or None)
    except OSError as error:
        raise InvalidParameter(f"invalid syslog-tls-* options: {error}") from None
    if "syslog-tls-skip-verify" in options:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
