"""A container's log as the monitor writes it: Docker's json-file format, whatever the driver, unless it is ``none``.

<id>-json.log           {"log":"text\\n","stream":"stdout","attrs":{…},"time":"2026-…Z"}  one line a message
<id>-json.log.1, .2 …   rotated ones, newest first
"""

import re

import msgspec

from sampan.engine.container import Container
from sampan.engine.defaults import parse_size
from sampan.runtime.launch import LogFile

DEFAULT_SIZE, DEFAULT_FILES = "20m", 5
"""A log never fills the disk: rotation is on unless ``max-size=-1`` asks for none."""


def log_file_of(container: Container) -> LogFile | None:
    """Where and how the monitor logs; None for the driver ``none``."""
    wanted = container.record.host_config.log_config
    if wanted.type == "none":
        return None
    size = wanted.config.get("max-size", DEFAULT_SIZE)
    return LogFile(
        path=container.log_path,
        max_size=0 if size == "-1" else parse_size(size),
        max_files=int(wanted.config.get("max-file", DEFAULT_FILES)),
        attributes=attributes_of(container),
    )


def attributes_of(container: Container) -> str:
    """The ``attrs`` of every line: labels and variables that the options name; "" for none."""
    options, config = container.record.host_config.log_config.config, container.record.config
    labels = chosen(config.labels or {}, options, "labels")
    variables = dict(variable.split("=", 1) for variable in config.env or () if "=" in variable)
    attributes = labels | chosen(variables, options, "env")
    if "tag" in options:
        attributes["tag"] = options["tag"].replace("{{.ID}}", container.id[:12]).replace("{{.Name}}", container.name)
    return msgspec.json.encode(attributes).decode() if attributes else ""


def chosen(values: dict[str, str], options: dict[str, str], option: str) -> dict[str, str]:
    """Those of ``values`` whose name is listed by ``option`` or matches ``option-regex``."""
    names = set(options.get(option, "").split(","))
    pattern = re.compile(options[f"{option}-regex"]) if f"{option}-regex" in options else None
    return {
        name: value for name, value in values.items() if name in names or (pattern and pattern.search(name) is not None)
    }
