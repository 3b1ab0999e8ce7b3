"""The gelf driver: Graylog's JSON, compressed in UDP datagrams (chunked when long), or ended by a NUL over TCP.

A chunk: 1e 0f, 8 bytes message id, 1 byte number, 1 byte count, up to 1420 bytes of data; 128 chunks at most.
Source: https://go2docs.graylog.org/current/getting_in_log_data/gelf.html
"""

import errno
import os
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping

import msgspec

from sampan.api.times import format_time
from sampan.engine.log_drivers.message import Entry, Source, extra, tag
from sampan.engine.log_drivers.options import address
from sampan.engine.log_drivers.transport import Datagrams, Stream, Transport

MAGIC = b"\x1e\x0f"
CHUNK = 1420
MOST_CHUNKS = 128
INFORMATION, ERROR = 6, 3

COMPRESSIONS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": lambda data, level: zlib.compress(data, level, zlib.MAX_WBITS | 16),
    "zlib": zlib.compress,
    "none": lambda data, level: data,
}


def chunks(message: bytes) -> Iterator[bytes]:
    """Datagrams of one message; raises OSError for one that 128 chunks cannot hold."""
    if len(message) <= CHUNK:
        yield message
        return
    count = -(-len(message) // CHUNK)
    if count > MOST_CHUNKS:
        raise OSError(errno.EMSGSIZE, f"gelf: a message of {len(message)} bytes is too long for UDP")
    name = os.urandom(8)
    for number in range(count):
        yield MAGIC + name + bytes((number, count)) + message[number * CHUNK : (number + 1) * CHUNK]


class Gelf:
    """One container's messages to a GELF receiver."""

    def __init__(self, options: Mapping[str, str], source: Source) -> None:
        scheme, host, port = address("gelf", options)
        self.target = (host, port)
        self.transport: Transport = Stream(self.target) if scheme == "tcp" else Datagrams(self.target)
        self.compress = COMPRESSIONS[options.get("gelf-compression-type", "gzip")]
        self.level = int(options.get("gelf-compression-level", "1"))
        self.host = socket.gethostname()
        self.fields = {
            "_container_id": source.container_id,
            "_container_name": source.name,
            "_image_id": source.image_id,
            "_image_name": source.image_name,
            "_command": " ".join(source.command),
            "_tag": tag(options, source),
            "_created": format_time(source.created),
            **{name if name.startswith("_") else f"_{name}": value for name, value in extra(options, source).items()},
        }

    def encode(self, entry: Entry) -> bytes:
        """The message's JSON."""
        return msgspec.json.encode(
            {
                "version": "1.1",
                "host": self.host,
                "short_message": entry.text,
                "timestamp": entry.time // 10**6 / 1000,
                "level": ERROR if entry.from_stderr else INFORMATION,
                **self.fields,
            }
        )

    async def open(self) -> None:
        """Connect; raises OSError."""
        try:
            await self.transport.connect()
        except OSError as error:
            raise OSError(
                f"gelf: cannot connect to GELF endpoint: {self.target[0]}:{self.target[1]} {error}"
            ) from error

    async def send(self, entry: Entry) -> None:
        """Deliver one entry, unless it is empty; raises OSError."""
        if not entry.line:
            return
        message = self.encode(entry)
        if isinstance(self.transport, Stream):
            await self.transport.send(message + b"\0")
            return
        for datagram in chunks(self.compress(message, self.level)):
            await self.transport.send(datagram)

    async def close(self) -> None:
        """Let go of the receiver."""
        await self.transport.close()
