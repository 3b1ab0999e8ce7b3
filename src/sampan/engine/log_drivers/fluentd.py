"""The fluentd driver: the forward protocol's message mode, ``[tag, time, record, option]`` in MessagePack.

With sub-second precision the time is the protocol's EventTime: extension 0, seconds and nanoseconds, big endian.
Source: https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
"""

import base64
import os
import ssl
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from sampan.engine.log_drivers.message import Entry, Source, extra, tag
from sampan.engine.log_drivers.options import address, duration
from sampan.engine.log_drivers.transport import TIMEOUT, Stream
from sampan.engine.log_drivers.values import boolean

EVENT_TIME = 0


def event_time(nanoseconds: int, precise: bool) -> Any:
    """Seconds, or the protocol's extension with nanoseconds."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return msgspec.msgpack.Ext(EVENT_TIME, struct.pack(">II", seconds, fraction)) if precise else seconds


def text_of(entry: Entry) -> str | msgspec.Raw:
    """The line as MessagePack's text, whose bytes need not be UTF-8 there (str 32: db, four bytes of length)."""
    try:
        return entry.line.decode()
    except UnicodeDecodeError:
        return msgspec.Raw(b"\xdb" + struct.pack(">I", len(entry.line)) + entry.line)


class Fluentd:
    """One container's messages to a forward input."""

    def __init__(self, options: Mapping[str, str], source: Source) -> None:
        scheme, host, port = address("fluentd", options)
        self.transport = Stream(
            host if scheme == "unix" else (host, port),
            ssl.create_default_context() if scheme == "tls" else None,
            timeout=duration(options.get("fluentd-write-timeout", ""), "") or TIMEOUT,
            patience=duration(options.get("fluentd-read-timeout", ""), "") or TIMEOUT,
        )
        self.precise = boolean(options.get("fluentd-sub-second-precision") or "false")
        self.asynchronous = boolean(options.get("fluentd-async") or "false")
        self.reconnects = duration(options.get("fluentd-async-reconnect-interval", ""), "") if self.asynchronous else 0
        self.acknowledged = boolean(options.get("fluentd-request-ack") or "false")
        self.tag = tag(options, source)
        self.fields = {
            "container_id": source.container_id,
            "container_name": f"/{source.name}",
            **extra(options, source),
        }

    def encode(self, entry: Entry, chunk: str = "") -> bytes:
        """One message of the protocol; the receiver answers with the name of its ``chunk``."""
        record = {**self.fields, "source": entry.stream, "log": text_of(entry)}
        if entry.part:
            record |= {
                "partial_message": "true",
                "partial_id": entry.part.id,
                "partial_ordinal": str(entry.part.ordinal),
                "partial_last": "true" if entry.part.last else "false",
            }
        option = {"chunk": chunk} if chunk else {}
        return msgspec.msgpack.encode([self.tag, event_time(entry.time, self.precise), record, option])

    async def open(self) -> None:
        """Connect, unless ``fluentd-async`` says that this is not waited for; raises OSError."""
        if not self.asynchronous:
            await self.transport.connect()

    async def send(self, entry: Entry) -> None:
        """Deliver one entry; raises OSError, also where a receipt was asked for and does not come."""
        if self.reconnects and self.transport.age > self.reconnects:
            await self.transport.close()
        if not self.acknowledged:
            await self.transport.send(self.encode(entry))
            return
        chunk = base64.b64encode(os.urandom(16)).decode()
        await self.transport.send(self.encode(entry, chunk))
        answer = await self.transport.receive(len(msgspec.msgpack.encode({"ack": chunk})))
        if answer != msgspec.msgpack.encode({"ack": chunk}):
            await self.transport.close()
            raise OSError("fluentd: the receiver acknowledged another message")

    async def close(self) -> None:
        """Let go of the receiver."""
        await self.transport.close()
