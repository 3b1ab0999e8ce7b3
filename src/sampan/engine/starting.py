"""Start a container's process: everything a running container needs is taken here, and given back if it fails.

    monitor → mounts → cgroup → process, which begins ─────────────┐
        root filesystem (detached mount) → sandbox → user → spec → rest of the process → program
                                              └─▶ network, files of /etc ──────────────┘

The caller holds the container's lock. Nothing here is synced to disk: after a power cut no container runs, and the
record of one that does not run is on disk already.
"""

import asyncio
import os
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from sampan.engine import shm
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, Record
from sampan.engine.context import Context
from sampan.engine.device_requests import with_devices
from sampan.engine.furnishing import Furnishing
from sampan.engine.hosts_files import file_mounts
from sampan.engine.log_drivers.follow import Forwarding
from sampan.engine.making import Maker, Todo
from sampan.engine.membership import shares_network
from sampan.engine.mounts import Mounter, Taken
from sampan.engine.remap import check_remapped
from sampan.engine.runtimes import external_of
from sampan.engine.security import parse_security
from sampan.engine.spec import Findings, spec_of
from sampan.engine.trace import Trace
from sampan.errors import (
    Conflict,
    EngineError,
    InvalidParameter,
    NoSuchContainer,
    NotRunning,
)
from sampan.linux.idmap import acting_as_root, host_ids
from sampan.linux.openat2 import open_in_root
from sampan.linux.userns import identity as user_namespace
from sampan.network.member import NEW_USERNS
from sampan.oci import runtime_spec as oci
from sampan.runtime.users import resolve

MQUEUE = "/dev/mqueue"
JOINABLE = (("pid_mode", "pid"), ("ipc_mode", "ipc"))
JOINING = {
    "network": "joining network namespace of container",
    "pid": "failed to join PID namespace",
    "ipc": "failed to join IPC namespace",
    "user": "failed to join user namespace",
}


class Starter:
    """Makes processes of created containers."""

    def __init__(self, context: Context, catalog: Catalog, forwarding: Forwarding) -> None:
        self._context = context
        self._catalog = catalog
        self._forwarding = forwarding
        self._maker = Maker(context)
        self.mounter = Mounter(context.volumes, context.storage.images, context.storage.snapshots)

    async def launch(self, container: Container, trace: Trace) -> None:
        """Start the container's process; sets ``monitor``, ``cgroup`` and ``sandbox``. Raises EngineError."""
        async with AsyncExitStack() as undo:
            with ExitStack() as held:
                monitor = self._maker.prepare(container, undo)
                taken = await self._take_mounts(container, undo, held)
                undo.push_async_callback(self._forwarding.withdraw, container)
                await self._forwarding.open(container)
                trace.mark("mounts")
                beginning = await self._maker.begin(container, monitor, undo)  # with the host's mounts as they are now
                trace.mark("beginning")
                rootfs = await self._mount_root(container, undo)
                trace.mark("root")
                furnishing = await self._join_networks(container, undo, held)
                trace.mark("namespace")
                spec = self._decided(container, rootfs, taken)
                trace.mark("spec")
                todo = Todo(spec, rootfs, taken.trees, furnishing.ready)
                await self._maker.make(container, monitor, todo, beginning, furnishing, undo)
                container.monitor = monitor
                trace.mark("process")
            undo.pop_all()

    async def _take_mounts(self, container: Container, undo: AsyncExitStack, held: ExitStack) -> Taken:
        """What the user mounts, and a /dev/shm that is shared."""
        undo.push_async_callback(self.mounter.release, container)
        taken = await self.mounter.take(container, held, self._context.remap_of(container.record.host_config))
        taken.shared_memory = self._shared_memory(container, undo)
        return taken

    async def _mount_root(self, container: Container, undo: AsyncExitStack) -> int:
        """The root file system, held until the container has ended."""
        host_config, snapshots = container.record.host_config, self._context.storage.snapshots
        remap = self._context.remap_of(host_config)
        if remap is not None:
            check_remapped(host_config)
        if snapshots.held.lingers(container.id):
            await asyncio.get_running_loop().run_in_executor(self._context.threads, snapshots.held.drop, container.id)
        fd = snapshots.mount(container.id, grounded=True, volatile=host_config.auto_remove, mapped=remap)
        snapshots.held.hold(container.id, fd)
        undo.callback(snapshots.held.let_go, container.id)
        return fd

    async def _join_networks(self, container: Container, undo: AsyncExitStack, held: ExitStack) -> Furnishing:
        """Take a sandbox, or find the one that is shared."""
        record, furnishing = container.record, Furnishing(self._context.networks, container)
        if donor_id := shares_network(record):
            donor = self._donor(donor_id, "network").record.config
            record.config.hostname, record.config.domainname = donor.hostname, donor.domainname
        else:
            first = asks_of_network(record) or external_of(self._context, container) is not None
            await furnishing.open(self._userns(container), undo, held, first=first)
        return furnishing

    def _donor(self, container_id: str, kind: str) -> Container:
        """The running container whose namespace is shared; raises EngineError, Conflict, NotRunning."""
        try:
            donor = self._catalog.find(container_id)
        except NoSuchContainer as error:
            raise EngineError(error.message).within(JOINING[kind]) from None
        if not donor.live or donor.monitor is None:
            if kind == "network":
                raise Conflict(
                    "cannot join network namespace of a non running container: "
                    f"container {donor.name} is {donor.status}"
                )
            raise NotRunning(donor.id).within(JOINING[kind])
        return donor

    def _decided(self, container: Container, rootfs: int, taken: Taken) -> oci.Spec:
        """The specification; what is wrong by now is an error of the engine, as it is dockerd's."""
        try:
            return self._spec(container, rootfs, taken)
        except InvalidParameter as error:
            raise EngineError(error.message) from error

    def _spec(self, container: Container, rootfs: int, taken: Taken) -> oci.Spec:
        """Find out what the image and the neighbours say, then decide."""
        record, context = container.record, self._context
        host_config = record.host_config
        identity = resolve(rootfs, record.config.user, host_config.group_add or ())
        remap = context.remap_of(host_config)
        maps = remap.maps if remap else None
        with acting_as_root(maps):
            make_directory(rootfs, record.config.working_dir, host_ids(maps, identity.uid, identity.gid))
        mounts = taken.mounts
        covered = {mount.destination for mount in mounts}
        owner = self._catalog.find(shares_network(record)) if shares_network(record) else container
        mounts += file_mounts(owner, covered, read_only=host_config.readonly_rootfs, mapped=remap is not None)
        if host_config.ipc_mode == "host" and Path(MQUEUE).is_dir() and MQUEUE not in covered:
            mounts.append(oci.Mount(MQUEUE, "bind", MQUEUE, ("rbind", "nosuid", "noexec", "nodev")))
        found = Findings(
            identity=identity,
            mounts=mounts,
            maps=maps,
            joined=self._joined(container),
            shared_memory=taken.shared_memory,
            link_environment=container.sandbox.environment if container.sandbox else (),
        )
        security = parse_security(host_config, context.config)
        spec = spec_of(record, security, context.config, found, self._maker.cgroup_path(container))
        return with_devices(spec, host_config.device_requests or (), context.config.cdi_spec_dirs)

    def _joined(self, container: Container) -> dict[str, str]:
        """Paths of the namespaces of other containers."""
        host_config = container.record.host_config
        joined = {}
        for mode, type_ in JOINABLE:
            kind, _, container_id = getattr(host_config, mode).partition(":")
            if kind == "container":
                donor = self._donor(container_id, type_)
                if type_ == "ipc" and donor.record.host_config.ipc_mode not in ("shareable", "host"):
                    hint = "(hint: use IpcMode:shareable for the donor container)"
                    raise InvalidParameter(f"container {donor.id}: non-shareable IPC {hint}").within(JOINING[type_])
                joined[type_] = f"/proc/{donor.pid}/ns/{type_}"
        if donor_id := shares_network(container.record):
            joined["network"] = f"/proc/{self._donor(donor_id, 'network').pid}/ns/net"
        if container.sandbox is not None and container.sandbox.userns:
            joined["user"] = container.sandbox.userns
        elif userns := self._userns(container):
            joined["user"] = userns
        return joined

    def _userns(self, container: Container) -> str:
        """The user namespace of a remapped container: that of those whose namespaces it shares, or NEW_USERNS.

        "" is the host's. Raises InvalidParameter where these are of different ones.
        """
        host_config = container.record.host_config
        if self._context.remap_of(host_config) is None:
            return ""
        modes = (host_config.network_mode, host_config.pid_mode, host_config.ipc_mode)
        shared = [mode.partition(":")[2] for mode in modes if mode.startswith("container:")]
        donors = [self._donor(donor, "user") for donor in shared]
        paths = {user_namespace(donor.pid): f"/proc/{donor.pid}/ns/user" for donor in donors}
        if len(paths) > 1 or user_namespace(os.getpid()) in paths:
            raise InvalidParameter(
                "containers that share namespaces must share a user namespace: give all of them --userns=host or none"
            )
        return next(iter(paths.values()), NEW_USERNS)

    def _shared_memory(self, container: Container, undo: AsyncExitStack) -> str:
        """Source of a /dev/shm that is shared: the container's own, or its donor's; "" for a private one."""
        kind, _, container_id = container.record.host_config.ipc_mode.partition(":")
        if kind == "container":
            return str(shm.shared_directory(self._donor(container_id, "ipc")))
        if kind == "shareable":
            undo.callback(shm.withdraw, container)
            remap = self._context.remap_of(container.record.host_config)
            return shm.provide(container, remap.maps.root if remap else (0, 0))
        return ""


def asks_of_network(record: Record) -> bool:
    """Whether what the process is told at its making depends on its network: variables of links, parameters, hooks."""
    host_config = record.host_config
    return bool(host_config.links or host_config.sysctls or host_config.device_requests)


def make_directory(root: int, path: str, owner: tuple[int, int]) -> None:
    """Make the working directory where the image has none, for ``owner`` (on the host).

    Raises InvalidParameter for a file.
    """
    parts = [part for part in path.split("/") if part]
    for depth in range(1, len(parts) + 1):
        current = "/" + "/".join(parts[:depth])
        try:
            os.close(open_in_root(root, current, os.O_PATH | os.O_DIRECTORY))
        except NotADirectoryError:
            raise InvalidParameter(f"Cannot mkdir: {path} is not a directory") from None
        except FileNotFoundError:
            make_child(root, current, owner)


def make_file(root: int, path: str, owner: tuple[int, int]) -> None:
    """Make an empty file to mount on where there is nothing, with the directories above it."""
    above, _, name = path.rpartition("/")
    make_directory(root, above, owner)
    parent = open_in_root(root, above or "/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent)
        os.fchown(made, *owner)
        os.close(made)
    except FileExistsError:
        return
    finally:
        os.close(parent)


def make_child(root: int, path: str, owner: tuple[int, int]) -> None:
    """Make one directory whose parent is there, owned by the user."""
    parent, _, name = path.rpartition("/")
    above = open_in_root(root, parent or "/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.mkdir(name, 0o755, dir_fd=above)
        os.chown(name, *owner, dir_fd=above, follow_symlinks=False)
    finally:
        os.close(above)


async def settle(task: "asyncio.Task[None] | None") -> None:
    """Cancel a background task of a container and wait until it is over."""
    if task is not None and task is not asyncio.current_task():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
