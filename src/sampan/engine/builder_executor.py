"""A build step's command in a container of ours: the ``Executor`` that ``build`` declares.

    rootfs (the step's mount) → sandbox → files of /etc → user → spec → cgroup → monitor, as in ``starting``

The container has no record: it is nobody's but the step's, and everything of it is gone when ``run`` returns.
"""

import asyncio
import dataclasses
import shutil
import socket
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

from sampan.api.containers import ContainerConfig
from sampan.api.host_config import HostConfig
from sampan.api.stdcopy import Demultiplexer, Stream
from sampan.build.executor import Command, Output, StepMount
from sampan.build.threads import in_thread
from sampan.engine.container import Container, Record
from sampan.engine.context import Context
from sampan.engine.defaults import finish_host_config
from sampan.engine.host import host
from sampan.engine.hosts_files import file_mounts, write_network_files
from sampan.engine.membership import member_of
from sampan.engine.mounts import detached
from sampan.engine.remap import check_remapped
from sampan.engine.security import parse_security
from sampan.engine.spec import Findings, spec_of
from sampan.engine.start_errors import explain_start
from sampan.linux.cgroup import Cgroup
from sampan.linux.mount import idmap
from sampan.linux.userns import Mapped
from sampan.network.member import NEW_USERNS, Member
from sampan.oci import runtime_spec as oci
from sampan.runtime.container import cgroup_path, launch_from, prepare_cgroup
from sampan.runtime.launch import AttachedStream, Launch, MonitorGone, StartFailed
from sampan.runtime.monitor import Monitor
from sampan.runtime.users import resolve
from sampan.runtime.zygote import Zygote

CHUNK = 1 << 16
DRAIN_SECONDS = 5.0
SIGKILL = 9

T = TypeVar("T")


class ContainerExecutor:
    """Runs commands upon the engine's runtime, networks and limits."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def mapped(self) -> Mapped | None:
        """The daemon's own users for containers; a build cannot choose others."""
        return self._context.remap

    async def run(self, command: Command, output: Output) -> int:
        """Run to the end; see ``build.executor.Executor``."""
        container = self._container(command)
        if self.mapped is not None:
            check_remapped(container.record.host_config)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(asyncio.to_thread, shutil.rmtree, container.state_dir, ignore_errors=True)
            container.state_dir.mkdir(parents=True, mode=0o710)
            undo.push_async_callback(asyncio.to_thread, shutil.rmtree, container.run_dir, ignore_errors=True)
            undo.push_async_callback(self._context.networks.leave, container.id)
            container.sandbox = await _whole(self._context.networks.join(self._member(container)))
            write_network_files(container, container.sandbox)
            cgroup, monitor, reading = await self._start(container, command, undo)
            return await _finish(monitor, cgroup, reading, output)

    def _member(self, container: Container) -> Member:
        """The step on its network; having no record, it has no endpoints that could have been taken away."""
        return dataclasses.replace(
            member_of(container.record),
            disconnected=False,
            userns=NEW_USERNS if self.mapped else "",
        )

    def _container(self, command: Command) -> Container:
        context, limits = self._context, command.limits
        host_config = HostConfig(
            network_mode=command.network,
            extra_hosts=list(command.extra_hosts),
            privileged=command.insecure,
            memory=limits.memory,
            memory_swap=limits.memory_swap,
            cpu_shares=limits.cpu_shares,
            cpu_period=limits.cpu_period,
            cpu_quota=limits.cpu_quota,
            cpuset_cpus=limits.cpuset_cpus,
            cpuset_mems=limits.cpuset_mems,
            shm_size=limits.shm_size,
            ulimits=list(limits.ulimits),
            cgroup_parent=limits.cgroup_parent,
        )
        finish_host_config(host_config, context.config, host())
        config = ContainerConfig(
            hostname=command.hostname or command.id[:12],
            user=command.user,
            env=list(command.env),
            working_dir=command.cwd,
        )
        argv = list(command.argv)
        record = Record(
            id=command.id,
            name=f"build-{command.id[:12]}",
            created=0,
            image="",
            config=config,
            host_config=host_config,
            path=argv[0],
            args=argv[1:],
        )
        return Container(record, context.roots.containers / command.id, context.roots.monitors / command.id)

    async def _start(
        self, container: Container, command: Command, undo: AsyncExitStack
    ) -> tuple[Cgroup, Monitor, socket.socket]:
        """The started command and our end of its output. Raises EngineError."""
        spec = self._spec(container, command)
        assert spec.linux is not None
        assert container.sandbox is not None
        cgroup = await in_thread(prepare_cgroup, spec.linux.cgroups_path, spec.linux.resources)
        undo.push_async_callback(asyncio.to_thread, cgroup.remove)
        reading, writing = socket.socketpair()
        undo.callback(reading.close)
        with writing, ExitStack() as held:
            sources = {mount.target: mount.source for mount in command.mounts if isinstance(mount.source, int)}
            launch = launch_from(
                spec,
                Launch(
                    container_id=container.id,
                    run_dir=container.run_dir,
                    state_dir=container.state_dir,
                    attached=[AttachedStream(writing.fileno())],
                ),
                cgroup=cgroup,
                rootfs=command.rootfs,
                netns=container.sandbox.netns if command.network != "host" else None,
                trees={target: self._shown(fd, held) for target, fd in sources.items()},
            )
            try:
                monitor = await _started(launch, self._context.zygote)
            except StartFailed as error:
                raise explain_start(error, command.argv[0]) from error
        undo.push_async_callback(monitor.close)
        reading.setblocking(False)
        return cgroup, monitor, reading

    def _shown(self, fd: int, held: ExitStack) -> int:
        """A detached mount of what is there, by its owners as the command has them."""
        tree = detached(fd, held)
        if self.mapped is not None:
            idmap(tree, self.mapped.namespace, recursive=True)
        return tree

    def _spec(self, container: Container, command: Command) -> oci.Spec:
        record, config = container.record, self._context.config
        mapped, sandbox = self.mapped, container.sandbox
        mounts = [mount_of(mount, mapped=mapped is not None) for mount in command.mounts]
        covered = {mount.destination for mount in mounts}
        mounts += file_mounts(container, covered, read_only=False, mapped=mapped is not None)
        found = Findings(
            identity=resolve(command.rootfs, command.user),
            mounts=mounts,
            maps=mapped.maps if mapped else None,
            joined={"user": sandbox.userns} if sandbox and sandbox.userns else {},
        )
        security = parse_security(record.host_config, config)
        parent = record.host_config.cgroup_parent or config.cgroup_parent
        return spec_of(record, security, config, found, cgroup_path(container.id, parent))


def mount_of(mount: StepMount, *, mapped: bool = False) -> oci.Mount:
    """A step's mount as the runtime specification has it; what has a path is ``mapped`` to the command's users."""
    access = "ro" if mount.read_only else "rw"
    if mount.source is None:
        options: Sequence[str] = ("nosuid", "nodev", access, *([f"size={mount.size}"] if mount.size else []))
        return oci.Mount(mount.target, "tmpfs", "tmpfs", options)
    if isinstance(mount.source, Path):
        chosen = ("rbind", "rprivate", access, *(("idmap",) if mapped else ()))
        return oci.Mount(mount.target, "bind", str(mount.source), chosen)
    return oci.Mount(mount.target, "bind", "", ("rbind", "rprivate", access))


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Do ``work`` to its end; when cancelled meanwhile, afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _started(launch: Launch, zygote: Zygote) -> Monitor:
    """Start the monitor; when cancelled meanwhile, what it started is killed first. Raises StartFailed."""
    starting = asyncio.ensure_future(Monitor.start(launch, zygote))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(StartFailed):
            monitor = await starting
            await _kill(monitor)
            await monitor.close()
        raise


async def _kill(monitor: Monitor) -> None:
    """Kill the command and wait until its monitor is gone too."""
    with suppress(MonitorGone, OSError):
        await monitor.signal(SIGKILL)
    await monitor.wait()
    with suppress(TimeoutError):
        await asyncio.wait_for(monitor.drained(), DRAIN_SECONDS)


async def _finish(monitor: Monitor, cgroup: Cgroup, reading: socket.socket, output: Output) -> int:
    """Deliver the output, wait for the end; a cancelled command is killed first."""
    copying = asyncio.ensure_future(_copy(reading, output))
    try:
        ended = await monitor.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(copying, DRAIN_SECONDS)
        return ended.status
    except BaseException:
        await asyncio.shield(_kill(monitor))
        raise
    finally:
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(monitor.drained(), DRAIN_SECONDS)


async def _copy(reading: socket.socket, output: Output) -> None:
    loop, demultiplexer = asyncio.get_running_loop(), Demultiplexer()
    while data := await loop.sock_recv(reading, CHUNK):
        for stream, payload in demultiplexer.feed(data):
            await output(bytes(payload), stream == Stream.STDERR)
