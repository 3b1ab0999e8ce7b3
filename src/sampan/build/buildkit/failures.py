"""Errors as gRPC has them, with the lines of the Dockerfile that they are about.

    grpc-status-details-bin = google.rpc.Status ── details: Any(errdefs.Source+json, {info, ranges}) …

Source: buildkit util/grpcerrors, solver/errdefs/errdefs.proto.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from grpclib.const import Status
from grpclib.encoding.base import StatusDetailsCodecBase
from grpclib.exceptions import GRPCError

from sampan.build.buildkit import messages as m
from sampan.build.errors import place_of, told_to_buildkit
from sampan.errors import EngineError, NotFound, Unsupported

SOURCE = "github.com/moby/buildkit/errdefs.Source+json"


@dataclass(frozen=True, slots=True)
class Text:
    """A Dockerfile as users know it."""

    filename: str
    text: str


class Details(StatusDetailsCodecBase):
    """Packs and unpacks the details (``Any``) of an error."""

    def encode(self, status: Status, message: str | None, details: Any) -> bytes:
        """A ``google.rpc.Status``."""
        packed: bytes = m.Status(code=status.value, message=message or "", details=details).SerializeToString()
        return packed

    def decode(self, status: Status, message: str | None, data: bytes) -> Any:
        """The details of one."""
        return list(m.Status.FromString(data).details)


def grpc_error(error: EngineError, source: Text | None = None) -> GRPCError:
    """The error for a client; ``source`` is the Dockerfile that it may be about."""
    message = told_to_buildkit(error)
    status = Status.NOT_FOUND if isinstance(error, NotFound) else Status.UNKNOWN
    if isinstance(error, Unsupported):
        status = Status.UNIMPLEMENTED
    return GRPCError(status, message, _details(error, source) or None)


def returned_error(status: Any) -> GRPCError:
    """What a client says went wrong, for the call that it answers."""
    return GRPCError(Status(status.code) if status.code else Status.UNKNOWN, status.message, list(status.details))


def _details(error: EngineError, source: Text | None) -> Sequence[Any]:
    span = place_of(error)
    if span is None or source is None:
        return []
    said = {
        "info": {
            "filename": source.filename,
            "data": base64.b64encode(source.text.encode()).decode(),
            "language": "Dockerfile",
        },
        "ranges": [{"start": {"line": span.start}, "end": {"line": span.end}}],
    }
    return [m.Detail(type_url=SOURCE, value=msgspec.json.encode(said))]
