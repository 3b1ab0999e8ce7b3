"""Mounts: as requested in ``HostConfig.Mounts`` and as reported in ``Mounts`` of a container."""

from sampan.api.wire import Wire, named, omitted_list, omitted_map, present, present_named


class BindOptions(Wire):
    """Options of a bind mount; ``id_map`` is ours (docs/volumes.md)."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False
    id_map: str = named("IDMap", "")


class DriverConfig(Wire):
    """Driver with which a missing volume is created."""

    name: str = ""
    options: dict[str, str] = omitted_map()


class VolumeOptions(Wire):
    """Options of a volume mount."""

    no_copy: bool = False
    labels: dict[str, str] = omitted_map()
    subpath: str = ""
    driver_config: DriverConfig | None = None


class ImageOptions(Wire):
    """Options of an image mounted as files."""

    subpath: str = ""


class TmpfsOptions(Wire):
    """Options of a tmpfs; ``size_bytes`` 0 is the kernel's default, ``mode`` is decimal on the wire."""

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] = omitted_list()


class Mount(Wire):
    """One ``--mount``: ``type`` is bind, volume, tmpfs, image, npipe or cluster."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None
    cluster_options: dict[str, str] | None = None


class MountPoint(Wire):
    """One mount of an existing container."""

    type: str = ""
    name: str = ""
    source: str = present("")
    destination: str = present("")
    driver: str = ""
    mode: str = present("")
    rw: bool = present_named("RW", False)
    propagation: str = present("")
