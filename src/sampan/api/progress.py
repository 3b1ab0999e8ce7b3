"""Progress of a long operation: a stream of JSON objects, one per message, until the body ends.

    {"status":"Pulling fs layer","progressDetail":{},"id":"4f4fb700ef54"}
    {"status":"Downloading","progressDetail":{"current":1024,"total":4096},"progress":"[=> ] …","id":"4f4fb700ef54"}
    {"stream":"Step 1/2 : FROM busybox\\n"}
    {"aux":{"ID":"sha256:…"}}
    {"errorDetail":{"message":"…"},"error":"…"}           the operation failed after the body had begun

An operation is given a ``Progress`` and awaits ``send`` for each message; a slow reader slows it down there.
"""

from typing import Any, Protocol

import msgspec

from sampan.api.wire import LowerWire, Wire, named, present


class ProgressDetail(LowerWire):
    """How far something is; the same unit for both, bytes unless ``units`` says otherwise."""

    current: int = 0
    total: int = 0
    start: int = 0
    hidecounts: bool = False
    units: str = ""


class ErrorDetail(LowerWire):
    """Why the operation failed; ``code`` is a build step's exit status."""

    code: int = 0
    message: str = present("")


class Message(LowerWire):
    """One message; only the members that are set are sent. ``aux`` is any value with a JSON form."""

    stream: str = ""
    status: str = ""
    progress_detail: ProgressDetail | None = named("progressDetail", None)
    progress: str = ""
    id: str = ""
    from_: str = named("from", "")
    time: int = 0
    time_nano: int = named("timeNano", 0)
    error_detail: ErrorDetail | None = named("errorDetail", None)
    error: str = ""
    aux: Any = None


class Progress(Protocol):
    """Where a long operation tells how far it is."""

    async def send(self, message: Message) -> None:
        """Deliver ``message``; returns when the reader can take more. Raises ConnectionError when it is gone."""


class Discard:
    """A ``Progress`` for callers that do not care."""

    async def send(self, message: Message) -> None:
        """Forget ``message``."""


class Record:
    """A ``Progress`` that keeps what it is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        """Append ``message`` to ``messages``."""
        self.messages.append(message)


class ImageID(Wire):
    """The ``aux`` of a build or a load: the image that came out."""

    id: str = named("ID", "")


class PushResult(Wire):
    """The ``aux`` of a push: what the registry has now."""

    tag: str = present("")
    digest: str = present("")
    size: int = present(0)


def status(text: str, id: str = "") -> Message:
    """A line of text, about the part ``id`` if given; without a number of how far it is."""
    return Message(status=text, id=id, progress_detail=ProgressDetail() if id else None)


def stream(text: str) -> Message:
    """Output of a build, as printed."""
    return Message(stream=text)


def advance(text: str, id: str, current: int, total: int) -> Message:
    """How far the part ``id`` is, with the bar that older clients print as it comes; bytes."""
    return Message(status=text, id=id, progress_detail=ProgressDetail(current, total), progress=bar(current, total))


def failure(error: str, code: int = 0) -> Message:
    """The last message of an operation that failed."""
    return Message(error_detail=ErrorDetail(code, error), error=error)


def bar(current: int, total: int) -> str:
    """``[===>   ]  1.5kB/3kB``, fifty wide; the count alone while ``total`` is unknown."""
    if total <= 0:
        return f"{size(current):>8}"
    done = min(50, current * 50 // total)
    return f"[{'=' * done}>{' ' * (50 - done)}] {size(current):>8}/{size(total)}"


def size(count: int) -> str:
    """``count`` bytes as people read it, decimal prefixes, four digits: ``1.5kB``."""
    value, units = float(count), ("B", "kB", "MB", "GB", "TB", "PB")
    step = 0
    while value >= 1000 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.4g}{units[step]}"


_encoder = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """``message`` as it goes over the wire, its line end included."""
    return _encoder.encode(message) + b"\r\n"
