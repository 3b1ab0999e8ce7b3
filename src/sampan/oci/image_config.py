"""The image config: what a container of the image runs with, its layers' diff IDs, and its history.

The digest of its bytes is the image ID. Docker's fields beyond the OCI specification (Healthcheck, OnBuild, Shell,
docker_version, container_config) are kept.

Source: https://github.com/opencontainers/image-spec config.md; moby's image JSON (api/types/container config).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import field

from sampan.errors import InvalidParameter
from sampan.oci import digest as digests
from sampan.oci.digest import ChainID, DiffID
from sampan.oci.document import Document
from sampan.oci.platform import Platform


class Healthcheck(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """HEALTHCHECK; durations in nanoseconds, 0 inherits."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """Defaults of a container made from the image (the member ``config``)."""

    user: str = ""
    exposed_ports: dict[str, dict[str, Any]] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None


class RootFS(msgspec.Struct, frozen=True):
    """Diff IDs of the layers, lowest first."""

    diff_ids: list[DiffID] = field(default_factory=list)
    type: str = "layers"


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of the image's making; ``empty_layer`` when it made no layer."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An image config; ``created`` is RFC 3339 with nanoseconds, empty when the image does not say."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = field(name="os.version", default="")
    os_features: tuple[str, ...] = field(name="os.features", default=())
    created: str = ""
    author: str = ""
    comment: str = ""
    parent: str = ""
    container: str = ""
    docker_version: str = ""
    config: RunConfig = field(default_factory=RunConfig)
    rootfs: RootFS
    history: Sequence[History] = ()
    steps: tuple[str, ...] = field(name="sampan.steps", default=())
    """Keys of the build steps that the last entries of ``history`` tell of: what ``--cache-from`` finds them by."""

    def __post_init__(self) -> None:
        for diff_id in self.rootfs.diff_ids:
            try:
                digests.parse(diff_id)
            except InvalidParameter as error:
                raise ValueError(error.message) from error

    @property
    def platform(self) -> Platform:
        return Platform(self.architecture, self.os, self.os_version, self.os_features, self.variant)

    @property
    def diff_ids(self) -> list[DiffID]:
        return self.rootfs.diff_ids

    @property
    def chain_id(self) -> ChainID | None:
        """Chain ID of all layers, None for an image without layers."""
        return digests.chain_id(self.rootfs.diff_ids)

    @property
    def chain_ids(self) -> list[ChainID]:
        """Chain ID up to each layer, lowest first."""
        chains: list[ChainID] = []
        for diff_id in self.rootfs.diff_ids:
            chains.append(digests.extend(chains[-1] if chains else None, diff_id))
        return chains


def decode(raw: bytes) -> Document[ImageConfig]:
    """Decode the bytes of a config; raises InvalidParameter."""
    return Document.decode(raw, ImageConfig, "image config")
