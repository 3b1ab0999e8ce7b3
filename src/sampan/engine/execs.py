"""Execs: further processes in running containers; the API's four operations.

    created ─start─▶ running ─▶ ended (exit_code)          kept until its container is gone, or EXPIRY after its end

After a restart of the daemon an exec is known by its id as before: its process went on under the monitor, and its
record says the rest (exec_records.py).
"""

import asyncio
import errno
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from sampan.api import identifiers
from sampan.api.exec import ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecProcess, ExecStartRequest
from sampan.api.hijack import Accept
from sampan.engine.archive import running_root
from sampan.engine.attach import DETACH_KEYS
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, Exec, now
from sampan.engine.context import Context
from sampan.engine.detach_keys import parse_detach_keys
from sampan.engine.environment import environment_of
from sampan.engine.exec_records import KILLED, NOT_EXECUTED, ExecRecord, unseen_end
from sampan.engine.runtimes import external_of
from sampan.engine.security import capabilities_of, parse_security
from sampan.engine.spec import Findings, capability_sets, spec_of, user_of
from sampan.engine.start_errors import explain_exec
from sampan.engine.states import Status
from sampan.errors import Conflict, EngineError, InvalidParameter, NoSuchContainer, NoSuchExec, NotFound, NotRunning
from sampan.linux import capabilities
from sampan.oci import runtime_spec as oci
from sampan.runtime.container import exec_from
from sampan.runtime.launch import AtEnd, AttachedStream, Ending, ExecLaunch, MonitorGone, StartFailed
from sampan.runtime.monitor import ExecHandle, Monitor
from sampan.runtime.users import Identity, resolve
from sampan.storage.records import Records

EXPIRY = 300.0
"""Seconds after its end for which an exec can be inspected."""
START_PATIENCE = 10.0
"""Seconds that a new size of the terminal waits for the process: clients send it as soon as the start is answered."""
SECOND = 1_000_000_000

log = logging.getLogger("sampan.engine")


class Execs:
    """The service; ``engine.execs``."""

    def __init__(self, context: Context, catalog: Catalog) -> None:
        self._context = context
        self._catalog = catalog
        self._all: dict[str, Exec] = {}
        self._records = Records(context.storage.database, "exec", ExecRecord)

    def restore(self) -> None:
        """Know the execs of a former daemon; once, after monitors were found and before run directories are cleared."""
        for exec_id, record in list(self._records.all()):
            if record.container in self._catalog:
                self._take_up(exec_id, record)
            else:
                self._records.delete(exec_id)
        for container in self._catalog:
            if container.monitor is not None:
                for handle in container.monitor.execs.values():
                    if handle.exec_id not in self._all:  # a health check's
                        self._context.supervisor.spawn(_forget(container.monitor, handle), "exec of a former daemon")

    def _take_up(self, exec_id: str, record: ExecRecord) -> None:
        container, request = self._catalog.find(record.container), record.request
        keys = parse_detach_keys(request.detach_keys) if request.detach_keys else DETACH_KEYS
        process = Exec(exec_id, container, request, keys, None, record.running, record.exit_code, record.finished)
        self._all[exec_id] = process
        if process.exit_code is not None:
            self._expire_later(process)
            return
        container.execs[exec_id] = process
        process.handle = container.monitor.execs.get(exec_id) if container.monitor else None
        if process.handle is not None:
            process.started.set()
            self._context.supervisor.spawn(self._until_end(process), f"exec {exec_id[:12]}")
        elif process.running:
            self._ended(process, unseen_end(exec_id, container.run_dir, container_runs=container.monitor is not None))
            self._expire_later(process)

    def drop(self, container: Container) -> None:
        """The container ended or is removed: execs that were never started go with it."""
        for process in list(container.execs.values()):
            if process.exit_code is None:
                del container.execs[process.id]
                self._all.pop(process.id, None)
                self._records.delete(process.id)

    def _save(self, process: Exec) -> None:
        """Write the record; a health check's exec has none."""
        if process.id in self._all:
            self._records.put(
                process.id,
                ExecRecord(process.container.id, process.request, process.running, process.exit_code, process.finished),
            )

    async def create(self, reference: str, request: ExecCreateRequest) -> ExecCreateResponse:
        """Prepare an exec; raises NotRunning, Conflict, InvalidParameter."""
        container = self._catalog.find(reference)
        if not request.cmd:
            raise InvalidParameter("No exec command specified")
        self._check_ready(container, called=reference)
        if request.user:
            identity_of(container, request.user)
        keys = parse_detach_keys(request.detach_keys) if request.detach_keys else DETACH_KEYS
        process = Exec(identifiers.generate(), container, request, keys)
        self._all[process.id] = container.execs[process.id] = process
        self._save(process)
        self.announce(process, f"exec_create: {told(request.cmd)}")
        return ExecCreateResponse(id=process.id)

    async def start(self, exec_id: str, request: ExecStartRequest, accept: Accept | None) -> None:
        """Run it; with ``accept`` the client's connection becomes its stdio."""
        process = self._find(exec_id)
        self._check_ready(process.container)
        try:
            self._claim(process)
        except Conflict:
            if accept is not None:
                await accept(request.tty)  # as Docker tells it: on the connection (compose starts what it attached to)
            raise
        try:
            await self._start(process, request, accept)
        except (EngineError, ConnectionError):
            process.running, process.finished = False, now()
            process.exit_code = NOT_EXECUTED if process.exit_code is None else process.exit_code
            process.started.set()
            process.container.execs.pop(process.id, None)
            self._save(process)
            self._expire_later(process)
            raise

    def _check_ready(self, container: Container, called: str = "") -> None:
        """Whether something can be run in ``container``; a container that does not run goes by its ID."""
        if container.id not in self._catalog:
            raise NoSuchContainer(container.id)
        container.allow("exec", called if container.status == Status.PAUSED else "")

    def _claim(self, process: Exec) -> None:
        """Make the start this caller's; raises Conflict when it was another's."""
        if process.exit_code is not None:
            raise Conflict(f"exec command {process.id} has already run")
        if process.running:
            raise Conflict(f"exec command {process.id} is already running")
        process.running = True
        self._save(process)

    async def _start(self, process: Exec, request: ExecStartRequest, accept: Accept | None) -> None:
        streams: list[AttachedStream] = []
        if accept is not None:
            # As Docker has it, how the output is framed is the start's choice, not the exec's.
            connection = await accept(request.tty)
            streams.append(
                AttachedStream(
                    fd=connection.sock.fileno(),
                    stdin=process.request.attach_stdin,
                    stdout=process.request.attach_stdout,
                    stderr=process.request.attach_stderr,
                    framed=not request.tty,
                    detach_keys=process.detach_keys if process.request.tty else b"",
                    early=connection.early,
                    at_end=AtEnd.CLOSE_STDIN,
                )
            )
            await self.run(process, streams, request.console_size)
            connection.take().close()
        else:
            await self.run(process, streams, request.console_size)

    async def run(self, process: Exec, streams: list[AttachedStream], size: list[int] | None = None) -> ExecHandle:
        """Start the process of an exec with ``streams`` as its stdio; raises EngineError."""
        container = process.container
        command = process.request.cmd or []
        self.announce(process, f"exec_start: {told(command)}")
        process.running = True
        try:
            if container.monitor is None:
                raise NotRunning(container.id)
            process.handle = await container.monitor.exec(self._launch(process, streams, size))
        except StartFailed as error:
            failure = explain_exec(error, command[0])
            process.exit_code = NOT_EXECUTED if error.errno != errno.ENOENT else 127
            raise failure from error
        except MonitorGone:
            raise NotRunning(container.id) from None
        process.started.set()
        for stream in streams:
            if stream.done is not None:
                stream.done.add_done_callback(partial(self._left, process))
        self._context.supervisor.spawn(self._until_end(process), f"exec {process.id[:12]}")
        return process.handle

    def _left(self, process: Exec, ending: "asyncio.Future[Ending]") -> None:
        """A client is gone; who typed the detach keys left the process running."""
        if not ending.cancelled() and ending.result() == Ending.DETACHED:
            self.announce(process, "exec_detach")

    def _launch(self, process: Exec, streams: list[AttachedStream], size: list[int] | None) -> ExecLaunch:
        container = process.container
        spec = self.spec_of(container)
        external = external_of(self._context, container)
        if external is not None:
            return external.exec_from(
                self._process(process, size),
                spec,
                container_id=container.id,
                run_dir=container.run_dir,
                exec_id=process.id,
                open_stdin=process.request.attach_stdin,
                attached=streams,
            )
        return exec_from(
            self._process(process, size),
            spec,
            pid=container.pid,
            cgroup=container.cgroup,
            exec_id=process.id,
            privileged=process.request.privileged,
            open_stdin=process.request.attach_stdin,
            attached=streams,
        )

    def spec_of(self, container: Container) -> oci.Spec:
        """The container's spec as far as an exec inherits from it."""
        path = container.cgroup.path if container.cgroup else ""
        security = parse_security(container.record.host_config, self._context.config)
        remap = self._context.remap_of(container.record.host_config)
        found = Findings(Identity(), maps=remap.maps if remap else None)
        return spec_of(container.record, security, self._context.config, found, path)

    def _process(self, process: Exec, size: list[int] | None) -> oci.Process:
        """The process as the specification has it."""
        request, record = process.request, process.container.record
        identity = identity_of(process.container, request.user or record.config.user)
        names = capabilities.NAMES if request.privileged else capabilities_of(record.host_config)
        height, width = (*(size or request.console_size or ()), 0, 0)[:2]
        return oci.Process(
            terminal=request.tty,
            console_size=oci.Box(height, width) if request.tty and height and width else None,
            user=user_of(identity),
            args=request.cmd or (),
            env=environment_of(record.config, identity.home, more=request.env or (), terminal=request.tty),
            cwd=request.working_dir or record.config.working_dir or "/",
            capabilities=capability_sets(names, identity.uid),
            no_new_privileges=parse_security(record.host_config, self._context.config).no_new_privileges,
            oom_score_adj=record.host_config.oom_score_adj or None,
        )

    async def _until_end(self, process: Exec) -> None:
        assert process.handle is not None
        try:
            status = (await process.handle.wait()).status
        except MonitorGone:
            status = KILLED
        monitor = process.container.monitor
        if process.exit_code is None:
            self._ended(process, status)
        if monitor is not None:
            await monitor.forget(process.handle)
        await self._expire(process)

    def _ended(self, process: Exec, status: int) -> None:
        """Record an end and tell of it."""
        process.running, process.exit_code, process.finished = False, status, now()
        process.container.execs.pop(process.id, None)
        try:
            self._save(process)
        except EngineError as error:
            log.error("the end of exec %s is not on disk: %s", process.id, error)
        self.announce(process, "exec_die", exitCode=str(status))

    def _expire_later(self, process: Exec) -> None:
        self._context.supervisor.spawn(self._expire(process), f"expiry of exec {process.id[:12]}")

    async def _expire(self, process: Exec) -> None:
        """Keep an exec that ended for a while; the clock may have been set meanwhile."""
        age = (now() - process.finished) / SECOND
        await asyncio.sleep(min(EXPIRY, max(0.0, EXPIRY - age)))
        if self._all.pop(process.id, None) is not None:
            self._records.delete(process.id)

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """Size of the terminal; waits for a start that is under way. Raises InvalidParameter before the start."""
        process = self._find(exec_id)
        if process.exit_code is not None:
            raise NotFound(f"process does not exist {exec_id}: not found")
        if process.running:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.started.wait(), START_PATIENCE)
        if process.handle is None or process.container.monitor is None:
            raise InvalidParameter("exec process is not started")
        await process.container.monitor.resize(rows, columns, process.id)

    def _hear(self, process: Exec) -> None:
        """Take in an end that was told but not heard: who saw the output's end asks for the status at once."""
        handle, monitor = process.handle, process.container.monitor
        if handle is None or process.exit_code is not None:
            return
        if monitor is not None:
            monitor.catch_up()
        if (end := handle.ended()) is not None:
            self._ended(process, end.status)

    async def inspect(self, exec_id: str) -> ExecInspect:
        """State and exit status; raises NoSuchExec once its container is removed, too."""
        process = self._find(exec_id)
        try:
            self._catalog.find(process.container.id)
        except NoSuchContainer:
            raise NoSuchExec(exec_id) from None
        self._hear(process)
        request = process.request
        program, *arguments = request.cmd or [""]
        return ExecInspect(
            id=process.id,
            running=process.running,
            exit_code=process.exit_code,
            process_config=ExecProcess(
                tty=request.tty,
                entrypoint=program,
                arguments=arguments,
                privileged=request.privileged,
                user=request.user,
            ),
            open_stdin=request.attach_stdin,
            open_stderr=request.attach_stderr,
            open_stdout=request.attach_stdout,
            container_id=process.container.id,
            detach_keys=process.request.detach_keys,
            pid=process.handle.pid if process.handle else 0,
        )

    def _find(self, exec_id: str) -> Exec:
        process = self._all.get(exec_id)
        if process is None:
            raise NoSuchExec(exec_id)
        return process

    def announce(self, process: Exec, action: str, **attributes: str) -> None:
        container = process.container
        self._context.events.publish(
            "container", action, container.id, container.attributes(execID=process.id, **attributes)
        )


async def _forget(monitor: Monitor, handle: ExecHandle) -> None:
    """Wait for the end of an exec that nobody asks for."""
    await handle.wait()
    await monitor.forget(handle)


def identity_of(container: Container, user: str) -> Identity:
    """Who ``user`` is in a running container; raises InvalidParameter, NotRunning."""
    try:
        root = running_root(container)
    except (FileNotFoundError, ProcessLookupError):
        raise NotRunning(container.id) from None
    try:
        return resolve(root, user, container.record.host_config.group_add or ())
    finally:
        os.close(root)


def told(command: Sequence[str]) -> str:
    """A command in an event: program and arguments with a space between, as Docker has it without arguments too."""
    return f"{''.join(command[:1])} {' '.join(command[1:])}"
