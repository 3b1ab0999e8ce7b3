"""Health checks: a command run in the container at intervals, and what its results say.

    starting ─ success ─▶ healthy ─ retries failures in a row ─▶ unhealthy ─ success ─▶ healthy

During the start period failures do not count, and the check runs at the (shorter) start interval. The last five
results are kept. A container's label ``io.sampan.health-on-failure`` says what to do when it becomes unhealthy:
``none``, ``stop``, ``restart``, or ``kill`` (its restart policy decides what follows).
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from sampan.api import containers as c
from sampan.api import identifiers
from sampan.api.exec import ExecCreateRequest
from sampan.api.times import format_duration, format_time
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, Exec, now
from sampan.engine.context import Context
from sampan.engine.execs import Execs, told
from sampan.engine.states import Status
from sampan.errors import EngineError, InvalidParameter
from sampan.runtime.launch import AttachedStream, MonitorGone
from sampan.runtime.monitor import ExecHandle

SECOND = 1_000_000_000
INTERVAL, TIMEOUT, START_INTERVAL, RETRIES = 30 * SECOND, 30 * SECOND, 5 * SECOND, 3
RESULTS = 5
MAXIMUM_OUTPUT = 4096
DYING = 10.0
"""Seconds that a killed check has to be gone."""
ON_FAILURE = "io.sampan.health-on-failure"
ACTIONS = ("none", "kill", "restart", "stop")
SHELL = ["/bin/sh", "-c"]


Reactions = Mapping[str, Callable[[Container], Coroutine[Any, Any, object]]]
"""What to do with an unhealthy container, by the label's value."""


class Health:
    """Runs the health checks of all containers."""

    def __init__(self, context: Context, catalog: Catalog, execs: Execs, reactions: Reactions) -> None:
        self._context = context
        self._reactions = reactions
        self._catalog = catalog
        self._execs = execs

    def begin(self, container: Container) -> None:
        """The container runs: check it from now on, if it has a check."""
        command = command_of(container)
        if not command:
            container.record.state.health = None
            return
        before = container.record.state.health
        container.record.state.health = c.Health(status="starting", log=(before.log if before else None) or [])
        container.checking = self._context.supervisor.spawn(
            self._check_for_ever(container, command), f"health of {container.id[:12]}"
        )

    def resume(self, container: Container) -> None:
        """The container runs still, after a restart of the daemon."""
        if command := command_of(container):
            container.checking = self._context.supervisor.spawn(
                self._check_for_ever(container, command), f"health of {container.id[:12]}"
            )

    def end(self, container: Container) -> None:
        """The container does not run any more."""
        if container.checking is not None:
            container.checking.cancel()
            container.checking = None
        if container.record.state.health is not None and container.record.state.health.status != "unhealthy":
            container.record.state.health.status = "unhealthy"

    async def _check_for_ever(self, container: Container, command: list[str]) -> None:
        config = container.record.config.healthcheck
        assert config is not None
        period = config.start_period / SECOND
        while True:
            starting = container.run_time < period and status_of(container) == "starting"
            wait = (config.start_interval or START_INTERVAL) if starting else (config.interval or INTERVAL)
            await asyncio.sleep(wait / SECOND)
            if container.status != Status.RUNNING:
                continue
            in_period = container.run_time < period
            result = await self._check(container, command, config.timeout or TIMEOUT)
            self._record(container, result, config.retries or RETRIES, in_period=in_period)

    async def _check(self, container: Container, command: list[str], timeout: int) -> c.HealthcheckResult:
        """Run the check once."""
        begun = now()
        try:
            code, output = await self._run(container, command, timeout)
        except EngineError as error:
            code, output = -1, error.message
        return c.HealthcheckResult(start=format_time(begun), end=format_time(now()), exit_code=code, output=output)

    async def _run(self, container: Container, command: list[str], timeout: int) -> tuple[int, str]:
        """Exit status and output of the check's command; it is killed after ``timeout`` nanoseconds."""
        request = ExecCreateRequest(cmd=command, attach_stdout=True, attach_stderr=True)
        process = Exec(identifiers.generate(), container, request)
        self._execs.announce(process, f"exec_create: {told(command)}")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        output = bytearray()
        try:
            stream = AttachedStream(fd=theirs.fileno(), stdin=False, framed=False)
            handle = await self._execs.run(process, [stream])
            theirs.close()
            try:
                async with asyncio.timeout(timeout / SECOND):
                    await read_all(ours, output)
                    ended = await handle.wait()
            except TimeoutError:
                await self._kill(container, process.id, handle)
                said = f": {shown(output)}" if output else ""
                return -1, f"Health check exceeded timeout ({format_duration(timeout)}){said}"
            return ended.status, shown(output)
        finally:
            theirs.close()
            ours.close()

    async def _kill(self, container: Container, exec_id: str, handle: ExecHandle) -> None:
        """End a check that takes too long, so that checks do not pile up."""
        if container.monitor is None:
            return
        with suppress(MonitorGone, TimeoutError):
            await container.monitor.signal(signal.SIGKILL, exec_id)
            async with asyncio.timeout(DYING):
                await handle.wait()

    def _record(self, container: Container, result: c.HealthcheckResult, retries: int, *, in_period: bool) -> None:
        """Count a result, and announce a change."""
        health = container.record.state.health
        if health is None or not container.live:
            return
        before = health.status
        health.log = [*(health.log or []), result][-RESULTS:]
        if result.exit_code == 0:
            health.status, health.failing_streak = "healthy", 0
        elif not (in_period and before == "starting"):
            health.failing_streak += 1
            if health.failing_streak >= retries:
                health.status = "unhealthy"
        self._catalog.note(container)
        if health.status != before:
            self._context.events.publish(
                "container", f"health_status: {health.status}", container.id, container.attributes()
            )
            if health.status == "unhealthy":
                self._react(container)

    def _react(self, container: Container) -> None:
        """Do what the container's label asks for."""
        action = (container.record.config.labels or {}).get(ON_FAILURE, "none")
        if action in self._reactions:
            self._context.supervisor.spawn(self._reactions[action](container), f"health of {container.id[:12]}")


def check_label(labels: Mapping[str, str]) -> None:
    """Raise InvalidParameter for a reaction that is none."""
    if (action := labels.get(ON_FAILURE, "none")) not in ACTIONS:
        raise InvalidParameter(f"invalid {ON_FAILURE}: '{action}', expected one of {', '.join(ACTIONS)}")


def command_of(container: Container) -> list[str]:
    """The check's command; none for no check."""
    config = container.record.config
    match (config.healthcheck or c.HealthConfig()).test:
        case ["CMD", *command]:
            return command
        case ["CMD-SHELL", *command]:
            return [*(config.shell or SHELL), *command]
        case _:
            return []


def status_of(container: Container) -> str:
    """``none`` for a container without health check."""
    health = container.record.state.health
    return health.status if health else "none"


async def read_all(connection: socket.socket, kept: bytearray) -> None:
    """Read until the end, and keep one byte more than is shown."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(connection, 16384):
        kept += data[: MAXIMUM_OUTPUT + 1 - len(kept)]


def shown(output: bytearray) -> str:
    """Output as results hold it; what is longer ends in dots."""
    dots = "..." if len(output) > MAXIMUM_OUTPUT else ""
    return output[:MAXIMUM_OUTPUT].decode(errors="replace") + dots
