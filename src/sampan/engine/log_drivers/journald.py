"""The journald driver: the journal's native protocol, one datagram of fields.

    NAME=value\n                              a value without a line feed
    NAME\n<8 bytes length, little endian>value\n   any other
Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import os
import re
import struct
from collections.abc import Mapping

from sampan.api.times import format_time
from sampan.engine.log_drivers.message import SHORT, Entry, Source, extra, tag
from sampan.engine.log_drivers.transport import Datagrams

SOCKET = "/run/systemd/journal/socket"
INFORMATION, ERROR = "6", "3"


def field(name: str, value: bytes) -> bytes:
    """One field as it stands in the datagram."""
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def field_name(name: str) -> str:
    """A label's or variable's name as the journal allows it: capitals, digits, underscores, no leading underscore."""
    return re.sub(r"[^A-Z0-9_]", "_", name.upper()).lstrip("_")


class Journald:
    """One container's messages to the host's journal."""

    def __init__(self, options: Mapping[str, str], source: Source, path: str = SOCKET) -> None:
        name = tag(options, source)
        self.ordinal = 0
        self.transport = Datagrams(path)
        self.fields = {
            "CONTAINER_ID": source.container_id[:SHORT],
            "CONTAINER_ID_FULL": source.container_id,
            "CONTAINER_NAME": source.name,
            "CONTAINER_TAG": name,
            "IMAGE_NAME": source.image_name,
            "SYSLOG_IDENTIFIER": name,
            "CONTAINER_LOG_EPOCH": os.urandom(32).hex(),
            **{field_name(key): value for key, value in extra(options, source).items()},
        }

    def encode(self, entry: Entry) -> bytes:
        """One datagram."""
        fields = {**self.fields, "PRIORITY": ERROR if entry.from_stderr else INFORMATION}
        self.ordinal += 1
        fields |= {"SYSLOG_TIMESTAMP": format_time(entry.time), "CONTAINER_LOG_ORDINAL": str(self.ordinal)}
        if entry.part:
            fields |= {
                "CONTAINER_PARTIAL_ID": entry.part.id,
                "CONTAINER_PARTIAL_ORDINAL": str(entry.part.ordinal),
                "CONTAINER_PARTIAL_LAST": "true" if entry.part.last else "false",
            } | ({} if entry.part.last else {"CONTAINER_PARTIAL_MESSAGE": "true"})
        return field("MESSAGE", entry.line) + b"".join(field(key, value.encode()) for key, value in fields.items())

    async def open(self) -> None:
        """Raise OSError unless there is a journal."""
        try:
            await self.transport.connect()
        except OSError as error:
            raise OSError("journald is not enabled on this host") from error

    async def send(self, entry: Entry) -> None:
        """Deliver one entry; raises OSError when there is no journal."""
        await self.transport.send(self.encode(entry))

    async def close(self) -> None:
        """Let go of the journal."""
        await self.transport.close()
