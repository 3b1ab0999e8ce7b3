"""A container's log as the monitor writes it: Docker's json-file format, whatever the driver, unless it is ``none``.

<id>-json.log           {"log":"text\\n","stream":"stdout","attrs":{…},"time":"2026-…Z"}  one line a message,
                        "bytes":"…" in base64 where they are not UTF-8 and the driver is not json-file
<id>-json.log.1, .2 …   rotated ones, newest first; .1.gz, .2.gz … once they are compressed (log_parts)

A driver that sends elsewhere reads the same file; its bounds are the options ``cache-max-size`` and ``cache-max-file``.
"""

from collections.abc import Mapping

import msgspec

from sampan.engine.container import Container
from sampan.engine.log_drivers.message import Source, extra, tag
from sampan.engine.log_drivers.options import FORWARDING, buffer_of
from sampan.engine.log_drivers.values import boolean, decimal_size
from sampan.runtime.launch import LogFile

DEFAULT_SIZE, DEFAULT_FILES = 20 << 20, 5
"""A log never fills the disk: rotation is on unless ``max-size=-1`` asks for none."""
FORWARDED_QUEUE = 16 << 20
"""A driver's option bounds what waits for its receiver; this, what waits for the file of its messages."""
DAEMON_NAME = "docker"


def log_file_of(container: Container) -> LogFile | None:
    """Where and how the monitor logs; None for the driver ``none``."""
    if container.record.host_config.log_config.type == "none":
        return None
    options = rotation_of(container)
    size = options.get("max-size", "")
    return LogFile(
        path=container.log_path,
        max_size=0 if size == "-1" else decimal_size(size) if size else DEFAULT_SIZE,
        max_files=max(1, int(options.get("max-file", DEFAULT_FILES))),
        attributes=attributes_of(container),
        queue=queue_of(container),
        exact=container.record.host_config.log_config.type != "json-file",
    )


def queue_of(container: Container) -> int:
    """Bytes that may wait for the disk where ``mode=non-blocking`` says that the program does not; 0 otherwise."""
    wanted = container.record.host_config.log_config
    buffer = buffer_of(wanted.config)
    return max(buffer, FORWARDED_QUEUE) if buffer and wanted.type in FORWARDING else buffer


def rotation_of(container: Container) -> Mapping[str, str]:
    """The options that bound the file: the driver's own, or those of the file that a driver's messages pass."""
    wanted = container.record.host_config.log_config
    if wanted.type not in FORWARDING:
        return wanted.config
    return {name[6:]: value for name, value in wanted.config.items() if name.startswith("cache-")}


def compressed(container: Container) -> bool:
    """Whether rotated files are compressed: asked of ``json-file``, otherwise unless it was refused."""
    wanted = container.record.host_config.log_config
    default = "false" if wanted.type in ("json-file", "none") else "true"
    return boolean(rotation_of(container).get("compress", "") or default)


def readable(container: Container) -> bool:
    """Whether ``docker logs`` may read the file: it is the journal's own, or was not asked to be kept."""
    wanted = container.record.host_config.log_config
    if wanted.type in ("json-file", "local", "journald"):
        return True
    return wanted.type != "none" and not boolean(wanted.config.get("cache-disabled") or "false")


def attributes_of(container: Container) -> str:
    """The ``attrs`` of every line: labels and variables that the options name; "" for none."""
    options, source = container.record.host_config.log_config.config, source_of(container)
    attributes = extra(options, source)
    if options.get("tag"):
        attributes["tag"] = tag(options, source)
    return msgspec.json.encode(attributes, order="deterministic").decode() if attributes else ""


def source_of(container: Container) -> Source:
    """What drivers say about a container."""
    record = container.record
    return Source(
        container_id=record.id,
        name=record.name,
        image_id=record.image,
        image_name=record.config.image,
        command=[record.path, *record.args],
        created=record.created,
        daemon_name=DAEMON_NAME,
        labels=record.config.labels or {},
        env=record.config.env or (),
    )
