"""Settings taken out of the final image: what no instruction of a Dockerfile can do.

    SAMPAN_UNSET_ENV=A,B   SAMPAN_UNSET_LABEL=a,b   SAMPAN_UNSET_VOLUME=/data   SAMPAN_UNSET_EXPOSE=80,53/udp

They are build arguments, so that every client can say them; ``sampan build`` and ``sampan.build`` have names for them.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from sampan.oci.image_config import RunConfig

T = TypeVar("T")
ARGUMENTS = frozenset(f"SAMPAN_UNSET_{kind}" for kind in ("ENV", "LABEL", "VOLUME", "EXPOSE"))


def unset(config: RunConfig, arguments: Mapping[str, str]) -> RunConfig:
    """The config without what the build's ``arguments`` name; what is not there is no error."""
    env, labels, volumes, ports = (
        frozenset(name for name in arguments.get(f"SAMPAN_UNSET_{kind}", "").split(",") if name)
        for kind in ("ENV", "LABEL", "VOLUME", "EXPOSE")
    )
    protocols = {port if "/" in port else f"{port}/tcp" for port in ports}
    return msgspec.structs.replace(
        config,
        env=[entry for entry in config.env or () if entry.partition("=")[0] not in env] if env else config.env,
        labels=_without(config.labels, labels),
        volumes=_without(config.volumes, volumes),
        exposed_ports=_without(config.exposed_ports, protocols),
    )


def _without(settings: Mapping[str, T] | None, names: frozenset[str] | set[str]) -> dict[str, T] | None:
    if not names or not settings:
        return dict(settings) if settings is not None else None
    return {name: value for name, value in settings.items() if name not in names} or None
