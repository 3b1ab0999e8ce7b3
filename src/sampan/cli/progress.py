"""Docker's progress stream as lines: one per message, the last state of a layer rewritten in place on a terminal."""

from collections.abc import Iterable
from typing import Any, TextIO

from sampan.errors import EngineError


def show(messages: Iterable[Any], output: TextIO) -> None:
    """Print messages of pull, push, load or build; raises EngineError for the stream's own error."""
    rows: dict[str, int] = {}
    for message in messages:
        if "errorDetail" in message or "error" in message:
            raise EngineError(message.get("errorDetail", {}).get("message") or message["error"])
        if "stream" in message:
            output.write(message["stream"])
        elif "status" in message:
            status(message, rows, output)
        output.flush()


def status(message: dict[str, Any], rows: dict[str, int], output: TextIO) -> None:
    """One layer's state: its own row on a terminal, a line whenever it changes elsewhere."""
    layer = message.get("id", "")
    text = f"{layer}: {message['status']}" if layer else message["status"]
    if not output.isatty():
        if not message.get("progress"):
            output.write(text + "\n")
        return
    text = f"{text} {message.get('progress', '')}".rstrip()
    if layer and layer in rows:
        up = len(rows) - rows[layer]
        output.write(f"\x1b[{up}A\x1b[2K\r{text}\r\x1b[{up}B")
        return
    if layer:
        rows[layer] = len(rows)
    output.write(text + "\n")
