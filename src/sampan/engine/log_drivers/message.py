"""What a driver sends: one entry of the log, and the container it comes from.

The tag of a message is a template of Docker's: ``{{.ID}}``, ``{{.Name}}``, ``{{.ImageName}}``…; no functions.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sampan.errors import InvalidParameter

SHORT = 12  # letters of a short identifier
FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


@dataclass(frozen=True)
class Entry:
    """One line of output (without its line end), or a part of one that was too long."""

    time: int  # nanoseconds since 1970
    stream: str  # stdout or stderr
    line: bytes
    partial: bool = False

    @property
    def text(self) -> str:
        """The line as text; bytes that are not UTF-8 become U+FFFD."""
        return self.line.decode(errors="replace")

    @property
    def from_stderr(self) -> bool:
        """Whether the container called it an error."""
        return self.stream == "stderr"


@dataclass(frozen=True)
class Source:
    """The container whose output it is."""

    container_id: str
    name: str
    image_id: str
    image_name: str
    command: str
    created: int  # nanoseconds since 1970
    daemon_name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Sequence[str] = ()


TAG_FIELDS: Mapping[str, Callable[[Source], str]] = {
    "ID": lambda source: source.container_id[:SHORT],
    "FullID": lambda source: source.container_id,
    "Name": lambda source: source.name,
    "ImageID": lambda source: source.image_id.removeprefix("sha256:")[:SHORT],
    "ImageFullID": lambda source: source.image_id,
    "ImageName": lambda source: source.image_name,
    "Command": lambda source: source.command,
    "DaemonName": lambda source: source.daemon_name,
}


def tag(template: str, source: Source) -> str:
    """``template`` (default ``{{.ID}}``) filled in; raises InvalidParameter for a field that does not exist."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in TAG_FIELDS:
            raise InvalidParameter(f"failed to parse log tag: {template!r} has no field {match[1]!r}")
        return TAG_FIELDS[match[1]](source)

    return FIELD.sub(value, template or "{{.ID}}")


def extra(options: Mapping[str, str], source: Source) -> dict[str, str]:
    """Labels and variables that the options ``labels``, ``labels-regex``, ``env`` and ``env-regex`` choose."""
    env = dict(entry.partition("=")[::2] for entry in source.env)
    return {
        **chosen(source.labels, options.get("labels", ""), options.get("labels-regex", "")),
        **chosen(env, options.get("env", ""), options.get("env-regex", "")),
    }


def chosen(values: Mapping[str, str], names: str, pattern: str) -> dict[str, str]:
    """Those of ``values`` that are listed in ``names`` (commas) or whose name matches ``pattern``."""
    listed = {name.strip() for name in names.split(",")}
    return {
        name: value
        for name, value in values.items()
        if name in listed or (pattern and re.search(pattern, name) is not None)
    }
