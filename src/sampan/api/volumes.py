"""Volumes: create, inspect, list, prune."""

from typing import Any

from sampan.api.wire import Wire, omitted_map, present, present_list


class VolumeCreateRequest(Wire):
    """Body of ``POST /volumes/create``; an empty name asks for a generated one."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = omitted_map("DriverOpts")
    labels: dict[str, str] = omitted_map("Labels")
    cluster_volume_spec: dict[str, Any] | None = None


class VolumeUsage(Wire):
    """Bytes of a volume and how many containers use it; -1 is unknown."""

    ref_count: int = present(-1)
    size: int = present(-1)


class Volume(Wire):
    """A volume as every operation shows it."""

    created_at: str = ""
    driver: str = present("")
    labels: dict[str, str] | None = present(None)
    mountpoint: str = present("")
    name: str = present("")
    options: dict[str, str] | None = present(None)
    scope: str = present("local")
    status: dict[str, Any] | None = None
    usage_data: VolumeUsage | None = None


class VolumeListResponse(Wire):
    """Answer of ``GET /volumes``."""

    volumes: list[Volume] = present_list()
    warnings: list[str] | None = present(None)


class VolumesPruneReport(Wire):
    """Names of the removed volumes and the bytes that gave back."""

    volumes_deleted: list[str] | None = present(None)
    space_reclaimed: int = present(0)
