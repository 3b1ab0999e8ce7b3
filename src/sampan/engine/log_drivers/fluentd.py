"""The fluentd driver: the forward protocol's message mode, ``[tag, time, record]`` in MessagePack.

With sub-second precision the time is the protocol's EventTime: extension 0, seconds and nanoseconds, big endian.
Source: https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
"""

import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from sampan.engine.log_drivers.message import Entry, Source, extra, tag
from sampan.engine.log_drivers.options import address
from sampan.engine.log_drivers.transport import Stream
from sampan.errors import InvalidParameter

EVENT_TIME = 0


def event_time(nanoseconds: int, precise: bool) -> Any:
    """Seconds, or the protocol's extension with nanoseconds."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return msgspec.msgpack.Ext(EVENT_TIME, struct.pack(">II", seconds, fraction)) if precise else seconds


def refuse_acknowledgement(options: Mapping[str, str]) -> None:
    """Raise InvalidParameter where receipts are asked for."""
    if options.get("fluentd-request-ack", "") in ("1", "true"):
        raise InvalidParameter("fluentd-request-ack is not supported: entries are resent from the log file instead")


class Fluentd:
    """One container's messages to a forward input."""

    def __init__(self, options: Mapping[str, str], source: Source) -> None:
        refuse_acknowledgement(options)
        scheme, host, port = address("fluentd", options)
        self.transport = Stream(host if scheme == "unix" else (host, port))
        self.precise = options.get("fluentd-sub-second-precision", "") in ("1", "true")
        self.tag = tag(options.get("tag", ""), source)
        self.fields = {
            "container_id": source.container_id,
            "container_name": f"/{source.name}",
            **extra(options, source),
        }

    def encode(self, entry: Entry) -> bytes:
        """One message of the protocol."""
        record = {**self.fields, "source": entry.stream, "log": entry.text}
        if entry.partial:
            record["partial_message"] = "true"
        return msgspec.msgpack.encode([self.tag, event_time(entry.time, self.precise), record])

    async def send(self, entry: Entry) -> None:
        """Deliver one entry; raises OSError."""
        await self.transport.send(self.encode(entry))

    async def close(self) -> None:
        """Let go of the receiver."""
        await self.transport.close()
