"""Make a container's first process, by its monitor.

    begin ──▶ cgroup → process in new namespaces, which makes file systems and waits      where it needs nobody else's
    make  ──▶ the rest of its plan, or the whole one → program executed                   namespaces, nor other rights

What the process does until it waits it does beside the engine, which finds out meanwhile what comes next.
"""

import socket
from asyncio import sleep
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from sampan.engine.attach import close_pending
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.devices import cgroup_rules
from sampan.engine.furnishing import Furnishing
from sampan.engine.log_files import log_file_of
from sampan.engine.resources import resources_of
from sampan.engine.runtimes import external_of
from sampan.engine.spec import early_mounts, own_namespaces
from sampan.engine.start_errors import explain_start
from sampan.errors import EngineError, InvalidParameter
from sampan.linux.cgroup import Cgroup
from sampan.oci import runtime_spec as oci
from sampan.runtime.container import beginning_from, cgroup_path, launch_from, prepare_cgroup, rest_from
from sampan.runtime.external import last_words
from sampan.runtime.external_bundle import remove_places
from sampan.runtime.launch import Launch, StartFailed
from sampan.runtime.monitor import EXIT, Monitor
from sampan.runtime.surroundings import Begun
from sampan.runtime.under_way import UnderWay


@dataclass(frozen=True)
class Todo:
    """What the process is made of: ``rootfs`` is a detached mount, ``trees`` those that binds show, by destination;
    ``ready`` as Furnishing has it.
    """

    spec: oci.Spec
    rootfs: int
    trees: Mapping[str, int]
    ready: int | None


@dataclass(frozen=True)
class Beginning:
    """A process that waits for the rest of its plan."""

    process: UnderWay
    begun: Begun


class Maker:
    """Makes first processes; what it took is given back by the ``undo`` it is given."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def prepare(self, container: Container, undo: AsyncExitStack) -> Monitor:
        """The monitor that is to make the process: it comes up while the rest is made ready."""
        for place in (container.state_dir, container.run_dir):
            (place / EXIT).unlink(missing_ok=True)
        try:
            monitor = Monitor.prepare(self._context.zygote, container.id, container.run_dir, container.state_dir)
        except StartFailed as error:
            raise explain_start(error, container.record.path) from error
        undo.push_async_callback(monitor.dismiss)
        return monitor

    async def begin(self, container: Container, monitor: Monitor, undo: AsyncExitStack) -> Beginning | None:
        """Have the process do what depends on the container's configuration alone; None where that is nothing."""
        host_config = container.record.host_config
        if not self._begins_early(container):
            return None
        try:
            resources = resources_of(host_config, cgroup_rules(host_config))
        except InvalidParameter as error:  # by now an error of the engine, as it is dockerd's
            raise EngineError(error.message) from error
        cgroup = self._cgroup(container, self.cgroup_path(container), resources, undo)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        launch, begun = beginning_from(
            wires(container), own_namespaces(host_config), early_mounts(host_config), cgroup, theirs.detach()
        )
        process = UnderWay(monitor, launch, ours)
        undo.push_async_callback(process.abandon)
        await sleep(0)  # it is sent
        return Beginning(process, begun)

    def _begins_early(self, container: Container) -> bool:
        """Whether the process needs no namespaces but its own, and has the rights of the host's users."""
        host_config = container.record.host_config
        joins = any(mode.startswith("container:") for mode in (host_config.pid_mode, host_config.ipc_mode))
        other_rights = self._context.remap_of(host_config) is not None or host_config.device_requests
        return not joins and not other_rights and external_of(self._context, container) is None

    def cgroup_path(self, container: Container) -> str:
        """Where in the hierarchies its cgroup is."""
        parent = container.record.host_config.cgroup_parent or self._context.config.cgroup_parent
        return cgroup_path(container.id, parent)

    @staticmethod
    def _cgroup(container: Container, path: str, resources: oci.Resources | None, undo: AsyncExitStack) -> Cgroup:
        container.cgroup = cgroup = prepare_cgroup(path, resources)
        undo.callback(cgroup.remove)
        return cgroup

    async def make(
        self,
        container: Container,
        monitor: Monitor,
        todo: Todo,
        beginning: Beginning | None,
        furnishing: Furnishing,
        undo: AsyncExitStack,
    ) -> None:
        """Make the process, and its network ready meanwhile; raises EngineError in Docker's words."""
        try:
            if beginning is None:
                launch = self._whole(container, todo, undo)
                async with furnishing.beside():
                    await monitor.launch(launch)
            else:
                netns, init = netns_of(container), self._wants_init(container)
                rest = rest_from(
                    todo.spec, container.id, beginning.begun,
                    rootfs=todo.rootfs, netns=netns, init=init, trees=todo.trees, ready=todo.ready,
                )  # fmt: skip
                async with furnishing.beside():
                    await beginning.process.complete(rest)
        except StartFailed as error:
            mounts = [mount.point for mount in container.record.mounts]
            raise explain_start(error, container.record.path, last_words(container.run_dir), mounts) from error
        finally:
            close_pending(container)

    def _whole(self, container: Container, todo: Todo, undo: AsyncExitStack) -> Launch:
        """All that the monitor is given at once."""
        init, netns, external = self._wants_init(container), netns_of(container), external_of(self._context, container)
        linux = todo.spec.linux or oci.Linux()
        cgroup = self._cgroup(container, linux.cgroups_path, linux.resources, undo)
        if external is not None:
            undo.callback(remove_places, container.id)
            return external.launch_from(
                todo.spec, wires(container),
                cgroup=cgroup, rootfs=todo.rootfs, netns=netns, init=init, trees=todo.trees,
            )  # fmt: skip
        return launch_from(
            todo.spec, wires(container),
            cgroup=cgroup, rootfs=todo.rootfs, netns=netns, init=init, trees=todo.trees, ready=todo.ready,
        )  # fmt: skip

    def _wants_init(self, container: Container) -> bool:
        """Whether the engine's init comes before the program: only where it is the first process of its namespace."""
        host_config = container.record.host_config
        if host_config.pid_mode:
            return False
        return self._context.config.init if host_config.init is None else host_config.init


def wires(container: Container) -> Launch:
    """Where the process's output goes and its input comes from; clients that wait to be attached go along."""
    config, (height, width) = container.record.config, (*container.record.host_config.console_size, 0, 0)[:2]
    return Launch(
        container_id=container.id,
        run_dir=container.run_dir,
        state_dir=container.state_dir,
        terminal=config.tty,
        console_size=(height, width) if config.tty and height and width else (0, 0),
        open_stdin=config.open_stdin,
        stdin_once=config.stdin_once,
        log=log_file_of(container),
        attached=tuple(container.pending),
    )


def netns_of(container: Container) -> int | None:
    """The network namespace it is to join; None for the host's, or that of another container."""
    own = container.record.host_config.network_mode != "host"
    return container.sandbox.netns if container.sandbox and own else None
