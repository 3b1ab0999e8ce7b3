"""Start a container's process: everything a running container needs is taken here, and given back if it fails.

    root filesystem (detached mount) → sandbox → files of /etc → user → mounts → spec → cgroup → process
    monitor, which comes up meanwhile ──────────────────────────────────────────────────────┘

The caller holds the container's lock. Nothing here is synced to disk: after a power cut no container runs, and the
record of one that does not run is on disk already.
"""

import asyncio
import dataclasses
import os
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path

from sampan.engine import shm
from sampan.engine.attach import close_pending
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.device_requests import with_devices
from sampan.engine.hosts_files import file_mounts, write_network_files
from sampan.engine.log_drivers.follow import Forwarding
from sampan.engine.log_files import log_file_of
from sampan.engine.membership import member_of, record_endpoints, shares_network
from sampan.engine.mounts import Mounter, Taken
from sampan.engine.remap import check_remapped
from sampan.engine.runtimes import external_of, refuse_unsupported
from sampan.engine.security import parse_security
from sampan.engine.spec import Findings, spec_of
from sampan.engine.start_errors import explain_start
from sampan.engine.trace import Trace
from sampan.errors import (
    Conflict,
    EngineError,
    InvalidParameter,
    NoSuchContainer,
    NotRunning,
)
from sampan.linux.cgroup import Cgroup
from sampan.linux.idmap import acting_as_root, host_ids
from sampan.linux.openat2 import open_in_root
from sampan.linux.userns import identity as user_namespace
from sampan.network.member import NEW_USERNS
from sampan.oci import runtime_spec as oci
from sampan.runtime.container import cgroup_path, launch_from, prepare_cgroup
from sampan.runtime.external import last_words
from sampan.runtime.launch import Launch, StartFailed
from sampan.runtime.monitor import EXIT, Monitor
from sampan.runtime.users import resolve

MQUEUE = "/dev/mqueue"
JOINABLE = (("pid_mode", "pid"), ("ipc_mode", "ipc"))


class Starter:
    """Makes processes of created containers."""

    def __init__(self, context: Context, catalog: Catalog, forwarding: Forwarding) -> None:
        self._context = context
        self._catalog = catalog
        self._forwarding = forwarding
        self.mounter = Mounter(context.volumes, context.storage.images, context.storage.snapshots)

    async def launch(self, container: Container, trace: Trace) -> None:
        """Start the container's process; sets ``monitor``, ``cgroup`` and ``sandbox``. Raises EngineError."""
        async with AsyncExitStack() as undo:
            with ExitStack() as held:
                monitor = self._prepare_monitor(container, undo)
                rootfs = await self._mount_root(container, undo)
                trace.mark("root")
                await self._join_networks(container, undo)
                trace.mark("network")
                undo.push_async_callback(self.mounter.release, container)
                taken = await self.mounter.take(container, held, self._context.remap_of(container.record.host_config))
                spec = self._decided(container, rootfs, taken, undo)
                trace.mark("spec")
                container.cgroup = self._prepare_cgroup(spec, undo)
                trace.mark("cgroup")
                launch = self._launch(container, spec, rootfs, taken.trees)
                trace.mark("plan")
                undo.push_async_callback(self._forwarding.withdraw, container)
                await self._forwarding.open(container)
                await self._run(container, monitor, launch)
                trace.mark("monitor")
            undo.pop_all()

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

    async def _join_networks(self, container: Container, undo: AsyncExitStack) -> None:
        """Take a sandbox, or find the one that is shared."""
        record = container.record
        if donor_id := shares_network(record):
            donor = self._donor(donor_id, "join network of").record.config
            record.config.hostname, record.config.domainname = donor.hostname, donor.domainname
            return
        undo.push_async_callback(self._context.networks.leave, container.id)
        member = dataclasses.replace(member_of(record), userns=self._userns(container))
        container.sandbox = await self._context.networks.join(member)
        record_endpoints(container, container.sandbox)
        write_network_files(container, container.sandbox)

    def _donor(self, container_id: str, what: str) -> Container:
        """The running container whose namespace is shared; raises Conflict."""
        try:
            donor = self._catalog.find(container_id)
        except NoSuchContainer as error:
            raise EngineError(f"cannot {what} container {container_id}: {error.message}") from None
        if not donor.live or donor.monitor is None:
            if what.startswith("join network"):
                raise Conflict(
                    "cannot join network namespace of a non running container: "
                    f"container {donor.name} is {donor.status}"
                )
            raise NotRunning(donor.id)
        return donor

    def _decided(self, container: Container, rootfs: int, taken: Taken, undo: AsyncExitStack) -> oci.Spec:
        """The specification; what is wrong by now is an error of the engine, as it is dockerd's."""
        try:
            return self._spec(container, rootfs, taken, undo)
        except InvalidParameter as error:
            raise EngineError(error.message) from error

    def _spec(self, container: Container, rootfs: int, taken: Taken, undo: AsyncExitStack) -> oci.Spec:
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
            shared_memory=self._shared_memory(container, undo),
            link_environment=container.sandbox.environment if container.sandbox else (),
        )
        security = parse_security(host_config, context.config)
        parent = host_config.cgroup_parent or context.config.cgroup_parent
        spec = spec_of(record, security, context.config, found, cgroup_path(container.id, parent))
        return with_devices(spec, host_config.device_requests or (), context.config.cdi_spec_dirs)

    def _joined(self, container: Container) -> dict[str, str]:
        """Paths of the namespaces of other containers."""
        host_config = container.record.host_config
        joined = {}
        for mode, type_ in JOINABLE:
            kind, _, container_id = getattr(host_config, mode).partition(":")
            if kind == "container":
                donor = self._donor(container_id, f"join {type_} namespace of")
                if type_ == "ipc" and donor.record.host_config.ipc_mode not in ("shareable", "host"):
                    raise InvalidParameter(
                        f"container {donor.id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
                    )
                joined[type_] = f"/proc/{donor.pid}/ns/{type_}"
        if donor_id := shares_network(container.record):
            joined["network"] = f"/proc/{self._donor(donor_id, 'join network of').pid}/ns/net"
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
        donors = [self._donor(donor, "join user namespace of") for donor in shared]
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
            return str(shm.shared_directory(self._donor(container_id, "join ipc namespace of")))
        if kind == "shareable":
            undo.callback(shm.withdraw, container)
            remap = self._context.remap_of(container.record.host_config)
            return shm.provide(container, remap.maps.root if remap else (0, 0))
        return ""

    def _prepare_cgroup(self, spec: oci.Spec, undo: AsyncExitStack) -> Cgroup:
        assert spec.linux is not None
        cgroup = prepare_cgroup(spec.linux.cgroups_path, spec.linux.resources)
        undo.callback(cgroup.remove)
        return cgroup

    def _launch(self, container: Container, spec: oci.Spec, rootfs: int, trees: dict[str, int]) -> Launch:
        """What the monitor is given; clients that wait to be attached go along."""
        config, sandbox = container.record.config, container.sandbox
        own_network = sandbox is not None and container.record.host_config.network_mode != "host"
        init = wants_init(container, self._context.config.init)
        external = external_of(self._context, container)
        if external is not None:
            remapped = self._context.remap_of(container.record.host_config) is not None
            refuse_unsupported(container, init=init, trees=bool(trees), remapped=remapped)
        make = partial(launch_from, init=init, trees=trees) if external is None else external.launch_from
        return make(
            spec,
            container.id,
            cgroup=container.cgroup,
            rootfs=rootfs,
            netns=sandbox.netns if sandbox and own_network else None,
            run_dir=container.run_dir,
            state_dir=container.state_dir,
            open_stdin=config.open_stdin,
            stdin_once=config.stdin_once,
            log=log_file_of(container),
            attached=tuple(container.pending),
        )

    def _prepare_monitor(self, container: Container, undo: AsyncExitStack) -> Monitor:
        """The monitor that is to make the process: it comes up while the rest is made ready."""
        try:
            monitor = Monitor.prepare(self._context.zygote, container.id, container.run_dir, container.state_dir)
        except StartFailed as error:
            raise explain_start(error, container.record.path) from error
        undo.push_async_callback(monitor.dismiss)
        return monitor

    async def _run(self, container: Container, monitor: Monitor, launch: Launch) -> None:
        """Hand over to the monitor; raises EngineError in Docker's words."""
        for place in (container.state_dir, container.run_dir):
            (place / EXIT).unlink(missing_ok=True)
        try:
            await monitor.launch(launch)
        except StartFailed as error:
            mounts = [mount.point for mount in container.record.mounts]
            raise explain_start(error, container.record.path, last_words(container.run_dir), mounts) from error
        finally:
            close_pending(container)
        container.monitor = monitor


def wants_init(container: Container, default: bool) -> bool:
    """Whether the engine's init comes before the program."""
    wanted = container.record.host_config.init
    return default if wanted is None else wanted


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
