"""What happens to containers over time: start, exit, restart, stop, kill, pause, remove; and adoption by a new daemon.

    start ─▶ launch ─▶ running ─▶ (monitor says exit) ─▶ end ─┬▶ exited ─▶ auto-remove
                                                              └▶ restarting ─ delay ─▶ launch

Each operation takes the container's lock for what it changes and lets go of it to wait for a process. The end of a
process is handled in one place, ``_end``, whoever caused it.
"""

import asyncio
import logging
import signal as signals
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from sampan.api.containers import RemoveOptions
from sampan.api.signals import parse_signal
from sampan.engine import shm
from sampan.engine import trace as traces
from sampan.engine.attach import close_pending
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, now, uptime
from sampan.engine.context import Context
from sampan.engine.execs import Execs
from sampan.engine.health import Health, Reactions
from sampan.engine.log_compression import Compression
from sampan.engine.log_drivers.follow import Forwarding
from sampan.engine.restart import next_delay, should_restart
from sampan.engine.runtimes import external_of
from sampan.engine.start_errors import exit_code_of
from sampan.engine.starting import Starter, settle
from sampan.engine.states import Status
from sampan.errors import Conflict, EngineError, NoSuchContainer
from sampan.linux.pidfd import age
from sampan.runtime.launch import Exit, MonitorGone
from sampan.runtime.monitor import Monitor, read_exit
from sampan.storage.snapshots import remove_path

log = logging.getLogger("sampan.engine")

DRAIN_TIMEOUT = 2.0
SECOND = 1_000_000_000
MUCH = 16 << 20
"""Bytes of a removed container whose place on the disk is not kept a moment longer than need be."""


class Lifecycle:
    """The operations that change a container's state."""

    def __init__(self, context: Context, catalog: Catalog, execs: Execs) -> None:
        self._context = context
        self._catalog = catalog
        self._execs = execs
        self._forwarding = Forwarding(context)
        self._starter = Starter(context, catalog, self._forwarding)
        self._health = Health(context, catalog, execs, self._reactions())
        self._compression = Compression(context)
        self.closing = False

    def _reactions(self) -> Reactions:
        """What can be done with a container that becomes unhealthy."""
        return {"kill": self._kill_unhealthy, "stop": self.stop, "restart": self.restart}

    async def _kill_unhealthy(self, container: Container) -> None:
        """Kill without a user's will: the restart policy holds."""
        await self._kill(container, signals.SIGKILL)

    # start

    async def start(self, container: Container) -> bool:
        """Start a container; False when it runs already."""
        async with container.lock:
            if not container.allow("start"):
                return False
            container.record.restart_count, container.backoff = 0, 0.0
            container.record.manually_stopped = False
            await self._launch(container)
        return True

    async def _launch(self, container: Container) -> None:
        """Start the process and record it; a failure is recorded too, then raised."""
        trace = traces.begin(f"start {container.id[:12]}")
        async with AsyncExitStack() as failing:
            failing.push_async_exit(partial(self._start_failed, container))
            await self._starter.launch(container, trace)
        state = container.record.state
        state.status, state.exit_code, state.error, state.oom_killed = Status.RUNNING, 0, "", False
        state.started_at, container.began = now(), uptime()
        container.record.started_before = True
        self._watch(container)
        self._health.begin(container)
        self._forwarding.begin(container)
        self._compression.begin(container)
        self._catalog.note(container)
        self._announce(container, "start")
        trace.mark("record")
        trace.end()

    async def _start_failed(
        self, container: Container, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        """Whatever ended a start, its clients are told and the container is as before; system errors get a sentence."""
        if error is None:
            return
        if isinstance(error, EngineError):
            await self._failed(container, error)
            return
        failure = EngineError(f"failed to start container {container.id}: {error}")
        await self._failed(container, failure)
        if isinstance(error, OSError):
            raise failure from error

    async def _failed(self, container: Container, error: EngineError) -> None:
        """Record why a start failed; who waits for an end hears of it only where a restart was to bring one."""
        state = container.record.state
        state.error, state.exit_code, state.finished_at = error.message, exit_code_of(error), now()
        restarting = state.status == Status.RESTARTING
        if restarting:
            state.status = Status.EXITED
        container.monitor = container.cgroup = container.sandbox = None
        self._catalog.note(container)
        close_pending(container)
        if restarting:
            container.tell("next-exit", "not-running")
        if container.record.host_config.auto_remove:
            self._context.supervisor.spawn(self._auto_remove(container), f"removal of {container.id[:12]}")

    def _watch(self, container: Container) -> None:
        assert container.monitor is not None
        container.watching = self._context.supervisor.spawn(
            self._until_end(container, container.monitor), f"watch of {container.id[:12]}"
        )

    async def _until_end(self, container: Container, monitor: Monitor) -> None:
        """Wait for the process's end and handle it."""
        try:
            ended = await monitor.wait()
        except MonitorGone:
            ended = read_exit(container.state_dir, container.run_dir) or Exit(status=137, finished_at=now() / SECOND)
        with suppress(TimeoutError):
            await asyncio.wait_for(monitor.drained(), DRAIN_TIMEOUT)
        async with container.lock:
            if container.monitor is monitor:
                await self._end(container, ended)

    # end

    async def _end(self, container: Container, ended: Exit, *, restarts: bool = True) -> None:
        """The process is gone: record it, give everything back, tell everybody, restart or remove."""
        record = container.record
        record.state.exit_code = ended.status
        record.state.oom_killed = ended.oom_killed
        record.state.finished_at = int(ended.finished_at * SECOND)
        self._health.end(container)
        await self.give_back(container)
        again = restarts and self._wants_restart(container)
        record.state.status = Status.RESTARTING if again else Status.EXITED
        self._catalog.note(container)
        if ended.oom_killed:
            self._announce(container, "oom")
        run_time, container.began = container.run_time, None
        self._announce(container, "die", exitCode=str(ended.status), execDuration=str(int(run_time)))
        container.tell("next-exit", "not-running")
        if again:
            self._schedule_restart(container, run_time)
        elif record.host_config.auto_remove and not container.restart_on_exit:
            self._context.supervisor.spawn(self._auto_remove(container), f"removal of {container.id[:12]}")

    async def give_back(self, container: Container) -> None:
        """Return what a running container holds: execs, cgroup, sandbox, volumes, monitor. Idempotent."""
        for process in list(container.execs.values()):
            process.lost()
        self._execs.drop(container)
        external = external_of(self._context, container)
        if external is not None:
            await asyncio.get_running_loop().run_in_executor(self._context.threads, external.delete, container.id)
        if container.cgroup is not None:
            cgroup, container.cgroup = container.cgroup, None
            await asyncio.get_running_loop().run_in_executor(self._context.threads, cgroup.remove)
        if container.sandbox is not None:
            container.sandbox = None
            await self._context.networks.leave(container.id)
        shm.withdraw(container)
        await self._starter.mounter.release(container)
        self._context.storage.snapshots.held.let_go(container.id)
        if container.monitor is not None:
            await container.monitor.close()
            container.monitor = None

    def _wants_restart(self, container: Container) -> bool:
        record = container.record
        stopped = record.manually_stopped or container.restart_on_exit or self.closing
        return should_restart(
            record.host_config.restart_policy, record.state.exit_code, stopped=stopped, restarts=record.restart_count
        )

    def _schedule_restart(self, container: Container, run_time: float) -> None:
        container.backoff = next_delay(container.backoff, run_time)
        container.record.restart_count += 1
        container.restarting = self._context.supervisor.spawn(
            self._restart_later(container), f"restart of {container.id[:12]}"
        )

    async def _restart_later(self, container: Container) -> None:
        await asyncio.sleep(container.backoff)
        async with container.lock:
            if container.status != Status.RESTARTING:
                return
            try:
                await self._launch(container)
            except EngineError as error:
                log.warning("container %s could not be restarted: %s", container.id, error)

    async def _auto_remove(self, container: Container) -> None:
        with suppress(NoSuchContainer, Conflict):
            await self.remove(container, RemoveOptions(force=True, volumes=True))

    # adoption

    def adopt(self, container: Container) -> None:
        """A container that a former daemon started, found running."""
        container.began = uptime() - age(container.pid)
        self._watch(container)
        self._health.resume(container)
        self._forwarding.begin(container)
        self._compression.begin(container)
        self._catalog.note(container)

    async def ended_meanwhile(self, container: Container, ended: Exit) -> None:
        """A container that ended while there was no daemon; whether it starts again is not decided here."""
        async with container.lock:
            await self._end(container, ended, restarts=False)

    # stop, kill, restart

    async def stop(self, container: Container, signal: str = "", timeout: int | None = None) -> bool:
        """Signal, wait, kill; False when it does not run."""
        number = parse_signal(signal) if signal else self._stop_signal(container)
        if not container.allow("stop"):
            return False
        async with container.lock:
            if await self._give_up_restart(container):
                return True
            if not container.live:
                return False
            container.record.manually_stopped = True
            self._catalog.note(container)
            ended = container.wait("not-running" if not container.restart_on_exit else "next-exit")
            await self._signal(container, number)
        await self._end_within(container, ended, self._patience(container) if timeout is None else timeout)
        self._announce(container, "stop")
        return True

    async def shut_down(self, container: Container, seconds: int) -> None:
        """Stop because the daemon does: within the container's own patience, and ``seconds`` (-1: no bound) at most."""
        patience = self._patience(container)
        if seconds >= 0:
            patience = min(patience, seconds) if patience >= 0 else seconds
        async with container.lock:
            if not container.live:
                return
            ended = container.wait("next-exit")
            await self._signal(container, self._stop_signal(container))
        await self._end_within(container, ended, patience)

    def _patience(self, container: Container) -> int:
        """Seconds the container has between its stop signal and SIGKILL; -1 is for ever."""
        timeout = container.record.config.stop_timeout
        return self._context.config.default_stop_timeout if timeout is None else timeout

    async def _end_within(self, container: Container, ended: "asyncio.Future[tuple[int, str]]", patience: int) -> None:
        """Wait for the end; after ``patience`` seconds (-1: never) make it."""
        try:
            await asyncio.wait_for(asyncio.shield(ended), None if patience < 0 else patience)
        except TimeoutError:
            await self._kill(container, signals.SIGKILL)
            await ended

    async def _give_up_restart(self, container: Container) -> bool:
        """End a restart that waits for its time; the caller holds the lock."""
        if container.status != Status.RESTARTING:
            return False
        await settle(container.restarting)
        container.restarting = None
        container.record.manually_stopped = True
        container.record.state.status = Status.EXITED
        self._catalog.note(container)
        container.tell("not-running")
        self._announce(container, "stop")
        return True

    def _stop_signal(self, container: Container) -> int:
        named = container.record.config.stop_signal
        return parse_signal(named) if named else signals.SIGTERM

    async def _signal(self, container: Container, number: int) -> None:
        """Send a signal to the first process; a deadly one also thaws a paused container."""
        if container.monitor is None:
            return
        with suppress(MonitorGone):
            await container.monitor.signal(number)
        self._announce(container, "kill", signal=str(int(number)))
        if container.record.state.status == Status.PAUSED and number in (signals.SIGKILL, self._stop_signal(container)):
            self._thaw(container)

    async def _kill(self, container: Container, number: int) -> None:
        async with container.lock:
            if container.live:
                await self._signal(container, number)

    async def kill(self, container: Container, number: int = signals.SIGKILL) -> None:
        """Send a signal; SIGKILL returns once the container is dead. Raises NotRunning."""
        async with container.lock:
            container.allow("kill")
            deadly = number in (signals.SIGKILL, self._stop_signal(container))
            if await self._give_up_restart(container):
                return
            if deadly or not container.record.config.stop_signal:
                container.record.manually_stopped = True
                self._catalog.note(container)
            ended = container.wait("next-exit")
            await self._signal(container, number)
        if number == signals.SIGKILL:
            await ended
        else:
            ended.cancel()

    async def restart(self, container: Container, signal: str = "", timeout: int | None = None) -> None:
        """Stop, then start; auto-removal waits meanwhile, and so does who would see it stopped."""
        container.restart_on_exit = True
        returning = container.returning = asyncio.Event()
        try:
            try:
                await self.stop(container, signal, timeout)
            finally:
                container.restart_on_exit = False
            await self.start(container)
        finally:
            returning.set()
        self._announce(container, "restart")

    # pause

    async def pause(self, container: Container) -> None:
        """Freeze all processes."""
        async with container.lock:
            container.allow("pause")
            if container.cgroup is not None:
                await asyncio.get_running_loop().run_in_executor(self._context.threads, container.cgroup.freeze)
            container.record.state.status = Status.PAUSED
            self._catalog.note(container)
            self._announce(container, "pause")

    async def unpause(self, container: Container) -> None:
        """Thaw all processes."""
        async with container.lock:
            container.allow("unpause")
            self._thaw(container)

    @asynccontextmanager
    async def frozen(self, container: Container, *, wanted: bool) -> AsyncIterator[None]:
        """Hold all processes still for the time of the block; told as a pause, as dockerd does."""
        async with container.lock:
            cgroup = container.cgroup
            if not wanted or cgroup is None or container.record.state.status != Status.RUNNING:
                yield
                return
            await asyncio.get_running_loop().run_in_executor(self._context.threads, cgroup.freeze)
            self._announce(container, "pause")
            try:
                yield
            finally:
                cgroup.thaw()
                self._announce(container, "unpause")

    def _thaw(self, container: Container) -> None:
        if container.cgroup is not None:
            container.cgroup.thaw()
        container.record.state.status = Status.RUNNING
        self._catalog.note(container)
        self._announce(container, "unpause")

    # remove

    async def remove(self, container: Container, options: RemoveOptions, called: str = "") -> None:
        """Remove a container, ``called`` so by who asks, and all that is only its own."""
        if not options.force and not container.removing:
            await self._allow_removal(container, called or container.name)
        if container.removing:
            raise Conflict(f"removal of container {container.name} is already in progress")
        container.removing = True
        try:
            while not await self._removed(container, volumes=options.volumes):
                await self._end_for_removal(container)
        finally:
            container.removing = False

    async def _allow_removal(self, container: Container, called: str) -> None:
        """Raises Conflict for a container that runs, or does so once a start that is under way is through."""
        async with container.lock:
            if container.id not in self._catalog:
                raise NoSuchContainer(called)
            try:
                container.allow("remove")
            except Conflict as error:
                raise error.within(f'cannot remove container "{called}"') from None

    async def _removed(self, container: Container, *, volumes: bool) -> bool:
        """Remove it unless it runs, be it that it was started meanwhile; whether it is gone."""
        async with container.lock:
            if container.id not in self._catalog:
                return True
            if container.live:
                return False
            await settle(container.restarting)
            await settle(container.forwarding)
            container.record.state.status, container.record.removing_volumes = Status.DEAD, volumes
            self._catalog.note(container)
            close_pending(container)
            await asyncio.get_running_loop().run_in_executor(self._context.threads, self._remove_files, container)
            self._execs.drop(container)
            await self._release_volumes(container, remove=volumes)
            await self._context.networks.leave(container.id)
            self._catalog.forget(container)
        container.tell("removed", "next-exit", "not-running")
        self._announce(container, "destroy")
        return True

    async def _end_for_removal(self, container: Container) -> None:
        async with container.lock:
            container.record.manually_stopped = True
            if await self._give_up_restart(container) or not container.live:
                return
            ended = container.wait("next-exit")
            await self._signal(container, signals.SIGKILL)
        await ended

    def _remove_files(self, container: Container) -> None:
        """The writable layer, log and state; in a thread, for it may be much."""
        snapshots = self._context.storage.snapshots
        much = snapshots.held.lingers(container.id) and snapshots.usage(container.id).size > MUCH
        snapshots.remove(container.id)
        if much:
            snapshots.held.drop(container.id)  # an open mount keeps what was removed on the disk
        remove_path(container.state_dir)
        remove_path(container.run_dir)

    async def _release_volumes(self, container: Container, *, remove: bool) -> None:
        volumes = self._context.volumes
        for mount in container.record.mounts:
            if mount.point.type != "volume":
                continue
            volumes.dereference(mount.point.name, container.id)
            if remove and volumes.is_anonymous(mount.point.name):
                with suppress(Conflict):
                    await volumes.remove(mount.point.name, force=True)

    def _announce(self, container: Container, action: str, **attributes: str) -> None:
        self._context.events.publish("container", action, container.id, container.attributes(**attributes))
