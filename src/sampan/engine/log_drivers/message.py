"""What a driver sends: one entry of the log, and the container it comes from.

The tag of a message is a template (template.py) on what ``info`` gives.
"""

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sampan.api.times import format_time
from sampan.engine.log_drivers.template import compile_template, render

SHORT = 12  # letters of a short identifier


class Part(msgspec.Struct, frozen=True):
    """What an entry is of a line that was too long: whose, the how manieth (from 1), and whether the line ends."""

    id: str
    ordinal: int
    last: bool


class Entry(msgspec.Struct, frozen=True):
    """One line of output (without its line end), or a part of one that was too long."""

    time: int  # nanoseconds since 1970
    stream: str  # stdout or stderr
    line: bytes
    part: Part | None = None
    place: object = None  # in the log, for whoever gave it

    @property
    def text(self) -> str:
        """The line as text; bytes that are not UTF-8 become U+FFFD."""
        return self.line.decode(errors="replace")

    @property
    def exact(self) -> str:
        """The line as text from which ``encode(errors="surrogateescape")`` makes the same bytes again."""
        return self.line.decode(errors="surrogateescape")

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
    command: Sequence[str]
    created: int  # nanoseconds since 1970
    daemon_name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Sequence[str] = ()


NOBODY = Source("", "", "", "", (), 0, "")
"""Nobody's output: for checks before there is a container."""


def tag(options: Mapping[str, str], source: Source, default: str = "{{.ID}}") -> str:
    """The option ``tag``, else ``default``, filled in; raises InvalidParameter for a template that cannot be."""
    return render(options.get("tag", "") or default, info(options, source))


def check_tag(options: Mapping[str, str]) -> None:
    """Raise InvalidParameter for a ``tag`` that no container could have."""
    compile_template(options.get("tag", ""), info(options, NOBODY))


def info(options: Mapping[str, str], source: Source) -> dict[str, Any]:
    """What a tag's template can name: moby's logger.Info, its fields and its methods."""
    return {
        "ID": source.container_id[:SHORT],
        "FullID": source.container_id,
        "Name": source.name,
        "ImageID": source.image_id.removeprefix("sha256:")[:SHORT],
        "ImageFullID": source.image_id,
        "ImageName": source.image_name,
        "Command": " ".join(source.command),
        "Hostname": socket.gethostname(),
        "DaemonName": source.daemon_name,
        "ExtraAttributes": lambda _: extra(options, source),
        "Config": options,
        "ContainerID": source.container_id,
        "ContainerName": f"/{source.name}",
        "ContainerEntrypoint": "".join(source.command[:1]),
        "ContainerArgs": source.command[1:],
        "ContainerImageID": source.image_id,
        "ContainerImageName": source.image_name,
        "ContainerCreated": f"{format_time(source.created)[:-1].replace('T', ' ')} +0000 UTC",
        "ContainerEnv": source.env,
        "ContainerLabels": source.labels,
        "LogPath": "",
    }


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
