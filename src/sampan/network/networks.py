"""The networks service: the API's seven operations, and the life of a container's sandbox."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sampan.api import networks as n
from sampan.api.filters import Filters
from sampan.api.ports import PortMap
from sampan.config import Config
from sampan.network.member import Member, Sandbox
from sampan.storage.database import Database

Announce = Callable[[str, str, str, Mapping[str, str]], None]
"""``Events.publish``: type, action, ID, attributes."""


class Directory(Protocol):
    """What networks ask of the engine about containers; ``Networks.directory`` is set by the engine's wiring."""

    def member(self, reference: str) -> Member:
        """The container as it stands, running or not; raises NoSuchContainer."""

    async def set_endpoint(self, container_id: str, network: str, settings: n.EndpointSettings | None) -> None:
        """Record that the container is (or with None: is no longer) connected to the network of that name.

        For a running container the sandbox has changed already: write its ``hosts`` and ``resolv_conf``.
        """


class Networks:
    """All networks of one data root; ``open`` before use, ``close`` at the end."""

    directory: Directory

    def __init__(self, config: Config, database: Database, run: Path, announce: Announce) -> None: ...

    async def open(self) -> None:
        """Make the predefined networks' links and the firewall's table, and fill the pool."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop serving; running containers keep their namespaces, addresses and published ports."""
        raise NotImplementedError

    async def create(self, request: n.NetworkCreateRequest) -> n.NetworkCreateResponse:
        raise NotImplementedError

    async def inspect(self, reference: str, *, verbose: bool = False, scope: str = "") -> n.NetworkInspect:
        raise NotImplementedError

    async def list(self, filters: Filters) -> Sequence[n.NetworkSummary]:
        raise NotImplementedError

    async def remove(self, reference: str) -> None:
        raise NotImplementedError

    async def prune(self, filters: Filters) -> n.NetworksPruneReport:
        raise NotImplementedError

    async def connect(self, reference: str, request: n.NetworkConnectRequest) -> None:
        raise NotImplementedError

    async def disconnect(self, reference: str, request: n.NetworkDisconnectRequest) -> None:
        raise NotImplementedError

    async def join(self, member: Member) -> Sandbox:
        """Give a starting container its namespace; all or nothing. ``host`` gives the host's own namespace."""
        raise NotImplementedError

    async def leave(self, container_id: str) -> None:
        """Give everything back; idempotent."""
        raise NotImplementedError

    async def restore(self, members: Iterable[Member]) -> dict[str, Sandbox]:
        """After a daemon restart: adopt running containers; what belongs to no member is given back."""
        raise NotImplementedError

    def check(self, member: Member) -> None:
        """Raise what ``join`` would raise for wishes that can never be met (at container creation)."""
        raise NotImplementedError

    async def publish(self, container_id: str, ports: PortMap) -> Sandbox:
        """Make ``ports`` the published ports of a running container: the live counterpart of ``-p``."""
        raise NotImplementedError
