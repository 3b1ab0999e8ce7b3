"""A daemon that starts finds its containers again.

record says running, monitor answers      adopt: cgroup, sandbox, volumes, watch of its end
record says running, exit is on disk      it ended meanwhile: record the exit status, apply the restart policy
record says running, neither              the machine was switched off: exit status 137 … restart policy
run directory without record              a create that was not finished, or a build's command: ended and removed
record set aside, or not known at all     damage: what runs is ended, for nobody could; its files stay, see system check
"""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sampan.api.containers import RemoveOptions
from sampan.api.identifiers import LENGTH
from sampan.engine import shm, unfinished
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, now
from sampan.engine.context import Context
from sampan.engine.execs import Execs
from sampan.engine.lifecycle import SECOND, Lifecycle
from sampan.engine.membership import member_of
from sampan.engine.restart import starts_with_daemon
from sampan.engine.states import LIVE, Status
from sampan.errors import EngineError
from sampan.linux.cgroup import Cgroup
from sampan.runtime.container import cgroup_path, open_cgroup
from sampan.runtime.launch import Exit
from sampan.runtime.monitor import Monitor, read_exit
from sampan.storage.snapshots import remove_path

log = logging.getLogger("sampan.engine")

STARTS = 4
"""Containers that start at the same time when the daemon does."""
PATIENCE = 5.0
"""Seconds that the monitor of a killed command has for its last words."""


class Restore:
    """What is done once, before the first request."""

    def __init__(self, context: Context, catalog: Catalog, lifecycle: Lifecycle, execs: Execs) -> None:
        self._context = context
        self._catalog = catalog
        self._lifecycle = lifecycle
        self._execs = execs

    async def run(self) -> None:
        """Load records, adopt what runs, settle what does not, start what a policy wants started."""
        self._catalog.load()
        for container in self._catalog:
            for mount in container.record.mounts:
                if mount.point.type == "volume":
                    self._context.volumes.reference(mount.point.name, container.id)
        await asyncio.gather(*(self._reconnect(container) for container in self._catalog))
        self._execs.restore()
        await self._restore_networks()
        for container in list(self._catalog):
            await self._settle(container)
        await self._clean()
        self._start_again()

    async def _reconnect(self, container: Container) -> None:
        """Find the monitor of a container, if there is one."""
        container.monitor = await Monitor.reconnect(container.run_dir, container.state_dir)
        if container.monitor is None:
            return
        container.cgroup = self._cgroup(container)
        with suppress(OSError):  # it has just ended
            root = os.open(f"/proc/{container.monitor.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._context.storage.snapshots.held.hold(container.id, root)
        for mount in container.record.mounts:
            if mount.point.type == "volume":
                self._context.volumes.adopt(mount.point.name, container.id)
        state = container.record.state
        if state.status not in LIVE:
            state.status, state.started_at = Status.RUNNING, int(container.monitor.started_at * SECOND)
        if state.status != Status.PAUSED:
            container.cgroup.thaw()  # a commit or a copy that paused it was cut short

    async def _restore_networks(self) -> None:
        members = [
            member_of(container.record, container.pid)
            for container in self._catalog
            if container.monitor is not None and not container.record.host_config.network_mode.startswith("container:")
        ]
        for container_id, sandbox in (await self._context.networks.restore(members)).items():
            self._catalog.find(container_id).sandbox = sandbox

    async def _settle(self, container: Container) -> None:
        """Bring the record and the container in line."""
        state = container.record.state
        ended = read_exit(container.state_dir, container.run_dir) or Exit(status=137, finished_at=now() / SECOND)
        if container.monitor is None:
            self._clear(container)
        if container.monitor is not None:
            self._lifecycle.adopt(container)
        elif state.status in LIVE:
            await self._lifecycle.ended_meanwhile(container, ended)
        elif state.status == Status.DEAD:  # its removal was begun
            await self._lifecycle.remove(
                container, RemoveOptions(force=True, volumes=container.record.removing_volumes)
            )
            return
        elif state.status == Status.EXITED and container.record.host_config.auto_remove:
            await self._lifecycle.remove(container, RemoveOptions(force=True, volumes=True))
        elif state.status == Status.RESTARTING:
            state.status = Status.EXITED
            self._catalog.note(container)

    def _start_again(self) -> None:
        """Start what its policy wants started, in the order of the last starts; who joins another's network waits."""
        wanted = [container for container in self._catalog if _starts(container)]
        starts: dict[str, asyncio.Task[None]] = {}
        one_by_one = asyncio.Semaphore(STARTS)
        for container in sorted(wanted, key=lambda each: (bool(self._lenders(each)), each.record.state.started_at)):
            needed = [starts[id] for id in self._lenders(container) if id in starts]
            work = self._start(container, needed, one_by_one)
            starts[container.id] = self._context.supervisor.spawn(work, f"start of {container.id[:12]}")

    def _lenders(self, container: Container) -> list[str]:
        """IDs of the containers whose namespaces this one joins."""
        config = container.record.host_config
        names = [mode.partition(":") for mode in (config.network_mode, config.ipc_mode, config.pid_mode)]
        found = []
        for kind, _, name in names:
            with suppress(EngineError):
                found += [self._catalog.find(name).id] if kind == "container" else []
        return found

    def _clear(self, container: Container) -> None:
        """Remove what a start that a crash cut short has left of a container that does not run."""
        self._cgroup(container).remove()
        shm.withdraw(container)
        remove_path(container.run_dir)

    def _cgroup(self, container: Container) -> Cgroup:
        parent = container.record.host_config.cgroup_parent or self._context.config.cgroup_parent
        return open_cgroup(cgroup_path(container.id, parent))

    async def _start(
        self, container: Container, needed: Sequence["asyncio.Task[None]"], one_by_one: asyncio.Semaphore
    ) -> None:
        await asyncio.gather(*needed, return_exceptions=True)
        try:
            async with one_by_one:
                await self._lifecycle.start(container)
        except EngineError as error:
            log.warning("container %s could not be started: %s", container.id, error)

    async def _clean(self) -> None:
        """Remove run directories, writable layers and volumes of creations and builds that were not finished."""
        roots = self._context.roots
        for id in {path.name for place in (roots.monitors, roots.containers) for path in place.iterdir()}:
            if id in self._catalog:
                unfinished.settle(roots.containers / id)
            elif len(id) == LENGTH:
                await self._end(roots.monitors / id, roots.containers / id)
                remove_path(roots.monitors / id)
                await self._clear_unknown(roots.containers / id)

    async def _clear_unknown(self, directory: Path) -> None:
        """Remove the directory of a container without record, unless the record was lost: then it is left."""
        if self._has_lost_its_record(directory):
            log.error("%s belongs to a container whose record is lost; see `sampan system check`", directory)
            return
        for volume in unfinished.noted(directory):
            await self._context.volumes.remove(volume, force=True)
        self._context.storage.snapshots.remove(directory.name)
        remove_path(directory)

    def _has_lost_its_record(self, directory: Path) -> bool:
        """A writable layer is written down before it is made and until it is removed: with one here, both are lost."""
        known = {active.key for active in self._context.storage.snapshots.actives()}
        unknown = directory.name not in known and (directory / "upper").exists()
        return unknown or directory.name in self._catalog.aside

    async def _end(self, run_dir: Path, state_dir: Path) -> None:
        """Kill what runs without a record: the command of a build step whose daemon is gone, and its result with it."""
        monitor = await Monitor.reconnect(run_dir, state_dir)
        if monitor is not None:
            await monitor.signal(signal.SIGKILL)
            with suppress(TimeoutError):
                await asyncio.wait_for(monitor.drained(), PATIENCE)
            await monitor.close()
        open_cgroup(cgroup_path(run_dir.name, self._context.config.cgroup_parent)).remove()


def _starts(container: Container) -> bool:
    record = container.record
    return (
        container.monitor is None
        and container.status == Status.EXITED
        and record.started_before
        and starts_with_daemon(
            record.host_config.restart_policy,
            record.state.exit_code,
            stopped=record.manually_stopped,
            restarts=record.restart_count,
        )
    )
