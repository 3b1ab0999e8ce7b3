"""What a daemon that runs takes over of a configuration read again (SIGHUP), and the event that tells of it.

The keys are those that dockerd reloads; all others keep the values they had when the daemon started.

Source: moby daemon/reload.go, https://docs.docker.com/reference/cli/dockerd/#configuration-reload-behavior
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sampan.config import Config, Runtime, shown
from sampan.engine.defaults import parse_size


def _list(values: list[str]) -> str:
    return msgspec.json.encode(values).decode()


def _runtimes(runtimes: Mapping[str, Runtime]) -> str:
    return " ".join(f"{name}:{runtime.path}" for name, runtime in runtimes.items())


def _size(size: str | int) -> str:
    return str(parse_size(size))


RELOADED: Mapping[str, Callable[[Any], str]] = {
    "runtimes": _runtimes,
    "default-runtime": str,
    "default-shm-size": _size,
    "default-ipc-mode": str,
    "default-cgroupns-mode": str,
    "debug": shown,
    "max-concurrent-downloads": str,
    "max-concurrent-uploads": str,
    "max-download-attempts": str,
    "shutdown-timeout": str,
    "default-stop-timeout": str,
    "features": shown,
    "labels": _list,
    "insecure-registries": _list,
    "registry-mirrors": _list,
    "live-restore": shown,
}
"""Keys that are reloaded, and how the event shows their values."""


def reloaded(running: Config, read: Config) -> Config:
    """The settings of a daemon with ``running`` ones that has ``read`` its configuration again."""
    changed = {name: getattr(read, name) for name in (key.replace("-", "_") for key in RELOADED)}
    return msgspec.structs.replace(running, **changed)


def attributes(config: Config) -> dict[str, str]:
    """Attributes of the event: every setting that could have changed."""
    return {key: told(getattr(config, key.replace("-", "_"))) for key, told in RELOADED.items()}
