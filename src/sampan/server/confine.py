"""Holds one request to its client's grant: containers it may not see are absent, what reaches the host is refused.

    ``confine`` ─▶ grant for the operation ─▶ whole: nothing more
                ─▶ the containers that path, query or body name: 404 unless they carry the labels,
                   and the name in the path becomes the ID that was checked
                ─▶ the body, where the operation makes something: 403 with the field that reaches the host

What is left to handlers: a new container gets ``Call.labels``, and lists are filtered by them (``container_filters``).
"""

from collections.abc import Awaitable, Callable

from sampan.api.containers import ContainerCreateRequest, ContainerInspect, ContainerUpdateRequest
from sampan.api.exec import ExecCreateRequest
from sampan.api.host_config import HostConfig
from sampan.api.networks import NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest
from sampan.api.volumes import VolumeCreateRequest
from sampan.errors import Forbidden, NoSuchContainer, NoSuchExec, NotFound
from sampan.server.access import (
    INSIDE,
    Access,
    Grant,
    container_reaches,
    entering_reaches,
    network_reaches,
    others_named,
    update_reaches,
    volume_reaches,
    volumes_named,
)
from sampan.server.call import Call
from sampan.server.peer import Peer

CONTAINER_PATH, EXEC_PATH = "/containers/{", "/exec/{"


async def confine(access: Access, peer: Peer, call: Call, operation: str, path: str) -> None:
    """Check ``call``, a request for ``operation`` at the route ``path``; raises Forbidden, NotFound."""
    grant = access.grant(peer, operation)
    if grant.whole:
        return
    call.labels = grant.labels
    guard = Guard(call, grant, operation)
    if path.startswith(CONTAINER_PATH):
        await guard.container_in_path()
    elif path.startswith(EXEC_PATH):
        await guard.exec_in_path()
    if operation in BODIES:
        await BODIES[operation](guard)


class Guard:
    """One request under one grant."""

    def __init__(self, call: Call, grant: Grant, operation: str) -> None:
        self._call = call
        self._grant = grant
        self._operation = operation

    async def container_in_path(self) -> None:
        """The container the path names; its ID takes the name's place, so that no rename comes in between."""
        call = self._call
        if self._operation == "container_delete" and call.flag("link"):
            await self.visible(call.reference.strip("/").rpartition("/")[0])
            return
        found = await self.visible(call.reference)
        call.path = {**call.path, next(iter(call.path)): found.id}

    async def exec_in_path(self) -> None:
        """The container of the exec that the path names."""
        shown = await self._call.engine.execs.inspect(self._call.reference)
        try:
            await self.visible(shown.container_id)
        except NoSuchContainer:
            raise NoSuchExec(self._call.reference) from None

    async def visible(self, reference: str, *, entered: bool = False) -> ContainerInspect:
        """The container meant; NoSuchContainer unless it has the labels, Forbidden if it is too strong to enter."""
        found = await self._call.engine.containers.inspect(reference)
        have = found.config.labels or {}
        if any(have.get(name) != value for name, value in self._grant.labels.items()):
            raise NoSuchContainer(reference)
        if entered or self._operation in INSIDE:
            self.refuse(entering_reaches(found.host_config), f" of container {reference}")
            await self._existing_volumes(found.host_config)
        return found

    def refuse(self, field: str, where: str = "") -> None:
        """Raise Forbidden when a ``field`` reaches the host and the grant does not."""
        if field and not self._grant.host_access:
            raise Forbidden(f"access denied: {field}{where} reaches the host, which needs a rule with host-access")

    async def new_container(self) -> None:
        """A container to be made, and those it would share with."""
        request = await self._call.body(ContainerCreateRequest, required=True)
        self.refuse(container_reaches(request))
        for reference in others_named(request.host_config):
            await self.visible(reference, entered=True)
        await self._existing_volumes(request.host_config)
        endpoints = request.networking_config.endpoints_config
        for name in (request.host_config.network_mode, *endpoints, *(each.network_id for each in endpoints.values())):
            await self._existing_network(name)

    async def _existing_volumes(self, host_config: HostConfig) -> None:
        """A volume that somebody with host access made may be any directory of the host."""
        for name in volumes_named(host_config):
            try:
                volume = await self._call.engine.volumes.inspect(name)
            except NotFound:
                continue
            made = VolumeCreateRequest(driver=volume.driver, driver_opts=volume.options or {})
            self.refuse(volume_reaches(made), f" of volume {name}")

    async def _existing_network(self, name: str) -> None:
        """The host's own network has an ID too."""
        if not name or name.startswith("container:"):
            return
        try:
            network = await self._call.engine.networks.inspect(name, verbose=False, scope="")
        except NotFound:
            return
        self.refuse("NetworkMode" if network.driver == "host" else "", f" {name}")

    async def new_exec(self) -> None:
        """A process to be run in a container."""
        request = await self._call.body(ExecCreateRequest)
        self.refuse("Privileged" if request.privileged else "")

    async def updated(self) -> None:
        """A container to get other limits."""
        self.refuse(update_reaches(await self._call.body(ContainerUpdateRequest)))

    async def new_volume(self) -> None:
        """A volume to be made."""
        self.refuse(volume_reaches(await self._call.body(VolumeCreateRequest)))

    async def new_network(self) -> None:
        """A network to be made."""
        self.refuse(network_reaches(await self._call.body(NetworkCreateRequest)))

    async def connected(self) -> None:
        """The container to be connected."""
        await self._existing_network(self._call.reference)
        await self.visible((await self._call.body(NetworkConnectRequest)).container)

    async def disconnected(self) -> None:
        """The container to be disconnected."""
        await self.visible((await self._call.body(NetworkDisconnectRequest)).container)

    async def committed(self) -> None:
        """The container to be made an image of."""
        await self.visible(self._call.text("container"))

    async def imported(self) -> None:
        """An image fetched from a URL: the daemon would fetch it from the host's network."""
        self.refuse("fromSrc" if self._call.text("fromSrc") not in ("", "-") else "")


# Operations that name or make things elsewhere than in the path.
BODIES: dict[str, Callable[[Guard], Awaitable[None]]] = {
    "container_create": Guard.new_container,
    "container_exec": Guard.new_exec,
    "container_update": Guard.updated,
    "volume_create": Guard.new_volume,
    "network_create": Guard.new_network,
    "network_connect": Guard.connected,
    "network_disconnect": Guard.disconnected,
    "image_commit": Guard.committed,
    "image_create": Guard.imported,
}
