"""Volumes: the six operations of the API, and what containers need of a volume."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sampan.api.filters import Filters
from sampan.api.volumes import Volume, VolumeCreateRequest, VolumeListResponse, VolumesPruneReport
from sampan.storage.database import Database

Announce = Callable[[str, str, str, Mapping[str, str]], None]
"""``Events.publish``: type, action, ID, attributes."""


class Volumes:
    """All volumes of one data root.

    A container *references* a volume from its creation to its removal, and *acquires* it from start to stop.
    References live in memory: the engine repeats them when it loads its containers.
    """

    def __init__(self, root: Path, database: Database, announce: Announce) -> None: ...

    async def create(self, request: VolumeCreateRequest) -> Volume:
        """The volume of that name, made if there is none; Conflict for another driver."""
        raise NotImplementedError

    async def inspect(self, name: str) -> Volume:
        """One volume; raises NoSuchVolume."""
        raise NotImplementedError

    async def list(self, filters: Filters) -> VolumeListResponse:
        """All volumes that ``filters`` (dangling, driver, label, name) let through."""
        raise NotImplementedError

    async def remove(self, name: str, *, force: bool) -> None:
        """Raises Conflict while a container references it; ``force`` forgives a missing one."""
        raise NotImplementedError

    async def prune(self, filters: Filters) -> VolumesPruneReport:
        """Remove unused anonymous volumes, with ``all=true`` the named ones too."""
        raise NotImplementedError

    async def usage(self) -> VolumeListResponse:
        """All volumes with their ``usage_data``, for ``GET /system/df``."""
        raise NotImplementedError

    def reference(self, name: str, container_id: str) -> None:
        """Note that the container uses the volume; until ``dereference`` it cannot be removed."""

    def dereference(self, name: str, container_id: str) -> None:
        """The container no longer exists; idempotent."""

    def is_anonymous(self, name: str) -> bool:
        """Whether the engine made up the name, so that ``rm -v`` takes the volume along."""
        raise NotImplementedError

    async def acquire(self, name: str, container_id: str) -> Path:
        """Mount the volume for a container that starts; returns the directory on the host."""
        raise NotImplementedError

    def adopt(self, name: str, container_id: str) -> None:
        """After a daemon restart: the running container still has the volume acquired."""

    async def release(self, name: str, container_id: str) -> None:
        """The container stopped; idempotent."""

    def open(self, name: str, subpath: str = "") -> int:
        """An O_PATH fd on an acquired volume, or on a path in it that never leads outside; the caller closes it."""
        raise NotImplementedError

    async def populate(self, name: str, root: int, path: str) -> None:
        """Copy what the image has at ``path`` (in the file system ``root``) into the volume, if that is empty.

        Owners, modes, times, links and attributes are kept; the volume's own directory takes those of ``path``.
        """
        raise NotImplementedError
