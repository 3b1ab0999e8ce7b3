"""The client of a container's monitor: start it, find it again, and everything asked of it since.

One Monitor is one container whose first process was made. The monitor's process outlives this one.

    monitor = Monitor.prepare(zygote, id, run_dir, state_dir)   # a fork, which nobody waits for
    await monitor.launch(launch)                           # raises StartFailed(step, errno, object)
    monitor = await Monitor.reconnect(run_dir, state_dir)  # None: no monitor there; then read_exit
    await monitor.attach(stream); ending = await stream.done
    handle = await monitor.exec(exec_launch); exit = await handle.wait()
    exit = await monitor.wait()

In ``run_dir`` lies monitor.sock, in ``state_dir`` the file ``exit`` once the first process ended: lines of status,
signal, finished (ns since the epoch) and oom, written before anyone hears of the end; in ``run_dir`` if the disk was
full. If the monitor itself is killed,
the kernel kills the first process with it (DieWithParent) and no such file appears. The kernel forgets that order when
the program itself gains privileges at execve (a set-user-ID entrypoint).

An exec's end is told to every new connection until ``forget`` says that it is recorded. What was not recorded when the
monitor goes it leaves in ``run_dir/execs``: a line of exec id and status for each.
"""

import asyncio
import errno
import itertools
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from sampan.linux.memfd import memory_file
from sampan.linux.pidfd import open_process, send_signal, wait_ended
from sampan.linux.unix_socket import connect_beneath, peer_pid
from sampan.runtime.channel import Channel
from sampan.runtime.launch import AttachedStream, Ending, ExecLaunch, Exit, Launch, MonitorGone, StartFailed
from sampan.runtime.plan import Plan
from sampan.runtime.plan_encoding import encode
from sampan.runtime.protocol import (
    LONGEST_EARLY,
    LONGEST_KEYS,
    VERSION,
    Message,
    MessageKind,
    StartFlag,
    StreamFlag,
    strings,
)
from sampan.runtime.zygote import Zygote

log = logging.getLogger("sampan.runtime")

Pause = Callable[[str, int], Awaitable[None]]
Listener = Callable[[int], None]

SOCKET = "monitor.sock"
EXIT = "exit"
EXECS = "execs"
_KILLED = 128 + signal.SIGKILL
_FIRST = 0
_REFUSED = "monitor"  # the step of a start that came to no plan: run or state directory, log file
_T = TypeVar("_T")


def read_exit(state_dir: Path, run_dir: Path) -> Exit | None:
    """The exit status recorded in one of the directories; None when none is (yet), or none that can be read."""
    for path in (state_dir / EXIT, run_dir / EXIT):
        with suppress(OSError, ValueError, KeyError):
            lines = (line.partition("=") for line in path.read_text().split())
            values = {key: int(value) for key, _, value in lines}
            return Exit(values["status"], values["finished"] / 1e9, bool(values["oom"]), values["signal"])
    return None


def read_execs(run_dir: Path) -> dict[str, int]:
    """Exit statuses, by exec id, of execs whose end nobody recorded before their container and its monitor ended.

    A line that a full disk cut short is left out.
    """
    try:
        lines = (run_dir / EXECS).read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    whole = (line.split() for line in lines if line.endswith("\n"))
    return {words[0]: int(words[1]) for words in whole if len(words) == 2 and words[1].isdecimal()}


class ExecHandle:
    """A process run by ``Monitor.exec``, or one that a reconnected monitor runs still."""

    def __init__(self, exec_id: str, number: int, pid: int = 0) -> None:
        self.exec_id = exec_id
        self.number = number  # the monitor's
        self.pid = pid
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    async def wait(self) -> Exit:
        """Wait for its end; any number may."""
        return await asyncio.shield(self.exited)

    def ended(self) -> Exit | None:
        """How it ended, if that is known."""
        known = self.exited.done() and not self.exited.cancelled() and self.exited.exception() is None
        return self.exited.result() if known else None


class _Start:
    """A start under way: what the monitor says of it until the program is executed."""

    def __init__(self, paused: Pause | None) -> None:
        self.paused = paused
        self.started: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.refused: BaseException | None = None
        self.pausing: asyncio.Task[None] | None = None


class _Process(NamedTuple):
    """The monitor's own process; ``child`` is its pid where it is ours to reap."""

    pidfd: int
    child: int = 0


class Monitor:
    """One container's monitor."""

    def __init__(self, connection: socket.socket, state_dir: Path, run_dir: Path) -> None:
        loop = asyncio.get_running_loop()
        self.pid = 0  # of the container's first process, in the daemon's pid namespace
        self.started_at = 0.0
        self.dropped = 0  # lines that the log's queue had no room for
        self.on_listener: Listener | None = None  # takes a seccomp listener's descriptor
        self._state_dir, self._run_dir = state_dir, run_dir
        self._process: asyncio.Future[_Process | None] = loop.create_future()  # None: it never came to be
        self._handles: dict[int, ExecHandle] = {}  # by the monitor's number
        self._exited: asyncio.Future[Exit] = loop.create_future()
        self._starts: dict[int, _Start] = {}
        self._stillborn: StartFailed | None = None  # why it did not come up, told before it got anything to launch
        self._streams: dict[int, asyncio.Future[Ending]] = {}
        self._numbers = itertools.count(time.monotonic_ns() // 1000 % (1 << 31) + 1)
        self._greeted: asyncio.Future[None] = loop.create_future()
        self._channel = Channel(connection, self._received, self._lost)
        self._gone = loop.create_task(_wait_monitor(self._process))

    @classmethod
    async def start(cls, launch: Launch, zygote: Zygote, paused: Pause | None = None) -> "Monitor":
        """``prepare`` and ``launch`` in one."""
        try:
            monitor = cls.prepare(zygote, launch.container_id, launch.run_dir, launch.state_dir)
        except BaseException:
            _close(launch.plan)
            raise
        await monitor.launch(launch, paused)
        return monitor

    @classmethod
    def prepare(cls, zygote: Zygote, container_id: str, run_dir: Path, state_dir: Path) -> "Monitor":
        """Have a monitor made, which comes up while its caller makes the container ready. Raises StartFailed.

        ``dismiss`` one that gets nothing to ``launch``.
        """
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(zygote.monitor(container_id), state_dir, run_dir)

    async def launch(self, launch: Launch, paused: Pause | None = None) -> None:
        """Start the container; returns once the program was executed.

        ``paused(name, pid)`` is awaited at each ``Pause`` of the plan while the child waits; its exception ends the
        child and is raised here. Raises StartFailed; then nothing is left running.
        """
        try:
            for stream in launch.attached:
                await self._attach(stream, _FIRST)
            started = await self._start_first(launch, paused)
        except BaseException as error:
            await self._abandon(isinstance(error, StartFailed) and error.step != _REFUSED)
            if isinstance(error, MonitorGone) and self._stillborn is not None:
                raise self._stillborn from None
            raise
        finally:
            _close(launch.plan)
        self.pid, self.started_at = started.v[0], started.v[1] / 1e9
        self._greeted.set_result(None)

    async def dismiss(self) -> None:
        """End a monitor that has no container; nothing happens to one that is gone."""
        if not self._gone.done():
            await self._abandon(ending=False)

    async def _abandon(self, ending: bool) -> None:
        """Wait for the end of a monitor whose start failed; one that is not ``ending`` by itself is killed."""
        if not ending and (process := await self._process):
            send_signal(process.pidfd, signal.SIGKILL)
        await asyncio.shield(self._gone)
        self._channel.close()
        self._lost()

    @classmethod
    async def reconnect(cls, run_dir: Path, state_dir: Path) -> "Monitor | None":
        """The monitor that listens in ``run_dir``, after a restart of the daemon; None when none does."""
        try:
            connection = connect_beneath(run_dir, SOCKET)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        pidfd = open_process(peer_pid(connection))
        if pidfd is None:
            connection.close()
            return None
        monitor = cls(connection, state_dir, run_dir)
        monitor._process.set_result(_Process(pidfd))
        await monitor._greeted
        if not monitor.pid and read_exit(state_dir, run_dir) is None:
            await monitor.close()
            return None
        return monitor

    async def attach(self, stream: AttachedStream) -> "Awaitable[Ending]":
        """Join a client to the first process's stdio; returns ``stream.done``. Raises MonitorGone."""
        return await self._attach(stream, _FIRST)

    async def exec(self, process: ExecLaunch) -> ExecHandle:
        """Run another process; returns once it was executed. Raises StartFailed, MonitorGone."""
        number = next(self._numbers)
        try:
            for stream in process.attached:
                await self._attach(stream, number)
            text = [process.exec_id, *_external(process)]
            flags = _flags(process) | StartFlag.STDIN_ONCE
            message = Message(MessageKind.START, number, (*process.console_size, 0, 0), strings(text), flags)
            handle = self._handles[number] = ExecHandle(process.exec_id, number)
            handle.pid = (await self._start(message, process.plan, None, None)).v[0]
        except BaseException:
            self._handles.pop(number, None)
            raise
        finally:
            _close(process.plan)
        return handle

    @property
    def execs(self) -> dict[str, ExecHandle]:
        """The execs that run, by id; after ``reconnect`` also those that ended while nobody listened."""
        return {handle.exec_id: handle for handle in self._handles.values()}

    def catch_up(self) -> None:
        """Hear what the monitor has told: it tells of an end before clients see the output's end."""
        self._channel.catch_up()

    async def forget(self, handle: ExecHandle) -> None:
        """The end of this exec is recorded: the monitor need not keep it for the next daemon."""
        self._handles.pop(handle.number, None)
        with suppress(MonitorGone):
            await self._channel.send(Message(MessageKind.FORGET, handle.number))

    async def resize(self, rows: int, columns: int, exec_id: str | None = None) -> None:
        """Set the terminal's size; no effect without a terminal or on a process that ended."""
        number = self._number(exec_id)
        if number is not None:
            await self._channel.request(Message(MessageKind.RESIZE, number, (rows, columns, 0, 0)))

    async def signal(self, number: int, exec_id: str | None = None) -> bool:
        """Send a signal to the first process or an exec; False when it is gone already."""
        process = self._number(exec_id)
        if process is None:
            return False
        try:
            failed = await self._channel.request(Message(MessageKind.SIGNAL, process, (number, 0, 0, 0)))
        except MonitorGone:
            return False
        if failed not in (0, errno.ESRCH):
            raise OSError(failed, f"kill: {os.strerror(failed)}")
        return failed == 0

    async def wait(self) -> Exit:
        """Wait for the end of the first process; any number may."""
        return await asyncio.shield(self._exited)

    async def drained(self) -> None:
        """Wait until the monitor itself is gone: all output is in the log and with the clients."""
        await asyncio.shield(self._gone)

    async def close(self) -> None:
        """Let go of the connection; the container goes on. Waiters are cancelled."""
        self._channel.close()
        self._exited.cancel()
        for stream in self._streams.values():
            stream.cancel()
        for handle in self.execs.values():
            handle.exited.cancel()
        self._gone.cancel()

    def _number(self, exec_id: str | None) -> int | None:
        if exec_id is None:
            return _FIRST
        handle = self.execs.get(exec_id)
        return handle.number if handle else None

    async def _attach(self, stream: AttachedStream, process: int) -> "asyncio.Future[Ending]":
        if len(stream.early) > LONGEST_EARLY or len(stream.detach_keys) > LONGEST_KEYS:
            raise ValueError("too many early bytes or detach keys for one stream")
        number = next(self._numbers)
        if stream.done is None:
            stream.done = asyncio.get_running_loop().create_future()
        self._streams[number] = stream.done
        sizes = (number, int(stream.at_end), len(stream.detach_keys), len(stream.early))
        message = Message(MessageKind.ATTACH, process, sizes, stream.detach_keys + stream.early, _stream_flags(stream))
        failed = await self._channel.request(message, [stream.fd])
        if failed:
            self._streams.pop(number, None)
            raise MonitorGone(f"attach: {os.strerror(failed)}")
        return stream.done

    async def _start_first(self, launch: Launch, paused: Pause | None) -> Message:
        log = launch.log
        text = [launch.container_id, *_external(launch), str(launch.run_dir.absolute())]
        text += [
            str(launch.state_dir.absolute()),
            str(log.path.absolute()) if log else "",
            log.attributes if log else "",
            str(log.queue if log else 0),
            "exact" if log and log.exact else "",
        ]
        sizes = (*launch.console_size, log.max_size if log else 0, log.max_files if log else 0)
        flags = _flags(launch) | (StartFlag.STDIN_ONCE if launch.stdin_once else 0)
        message = Message(MessageKind.START, _FIRST, sizes, strings(text), flags)
        return await self._start(message, launch.plan, launch.oom_events, paused)

    async def _start(self, message: Message, plan: Plan, oom_events: Path | None, paused: Pause | None) -> Message:
        start = self._starts[message.process] = _Start(paused)
        try:
            with ExitStack() as opened:
                fds = [memory_file("plan", encode(plan.operations))]
                opened.callback(os.close, fds[0])
                if oom_events is not None:
                    fds.append(os.open(oom_events, os.O_RDONLY | os.O_CLOEXEC))
                    opened.callback(os.close, fds[1])
                    message = _with_flag(message, StartFlag.OOM)
                failed = await self._channel.request(message, [*fds, *plan.fds])
            if failed:
                raise StartFailed(_REFUSED, failed, message.strings[0])
            return await start.started
        except MonitorGone:
            self._channel.catch_up()  # the zygote may have said why there is none
            if not start.started.done():
                raise
            return await start.started
        except StartFailed:
            if start.refused is not None:
                raise start.refused from None
            raise
        finally:
            del self._starts[message.process]
            if start.pausing is not None:
                start.pausing.cancel()

    def _received(self, message: Message, fds: list[int]) -> None:
        handlers = {
            MessageKind.HELLO: self._hello,
            MessageKind.STARTED: self._started,
            MessageKind.PAUSED: self._paused,
            MessageKind.FAILED: self._failed,
            MessageKind.EXITED: self._ended,
            MessageKind.ENDED: self._stream_ended,
            MessageKind.DROPPED: self._dropped,
        }
        if message.kind is MessageKind.BORN:
            self._process.set_result(_Process(fds.pop(0), message.v[0]))
        if message.kind is MessageKind.DESCRIPTOR and fds and self.on_listener is not None:
            self.on_listener(fds.pop(0))
        for fd in fds:
            os.close(fd)
        if handler := handlers.get(message.kind):
            handler(message)

    def _dropped(self, message: Message) -> None:
        self.dropped = message.v[0]
        log.warning("log of %s: %d lines were dropped so far: its disk is too slow", self._state_dir.name, self.dropped)

    def _hello(self, message: Message) -> None:
        self.pid, self.started_at = message.v[0], message.v[1] / 1e9
        if message.v[2] > VERSION:
            log.warning("the monitor of %s is newer than this daemon: version %d", *message.strings, message.v[2])
        _resolve(self._greeted, None)

    def _started(self, message: Message) -> None:
        start = self._starts.get(message.process)
        if not self._greeted.done() and message.process != _FIRST:
            self._handles[message.process] = ExecHandle(message.strings[0], message.process, message.v[0])
        if start and not start.started.done():
            start.started.set_result(message)

    def _failed(self, message: Message) -> None:
        start = self._starts.get(message.process)
        step, object_ = (*message.strings, "", "")[:2]
        failure = StartFailed(step, message.v[1], object_)
        if start is None:
            self._stillborn = failure
        elif not start.started.done():
            start.started.set_exception(failure)

    def _paused(self, message: Message) -> None:
        if start := self._starts.get(message.process):
            start.pausing = asyncio.get_running_loop().create_task(self._pause(start, message))

    async def _pause(self, start: _Start, message: Message) -> None:
        answer = 0
        if start.paused is not None:
            try:
                await start.paused(message.strings[0], message.v[1])
            except Exception as error:  # noqa: BLE001  (whatever it is, it is raised from start)
                start.refused, answer = error, errno.ECANCELED
        with suppress(MonitorGone):
            await self._channel.send(Message(MessageKind.CONTINUE, message.process, (answer, 0, 0, 0)))

    def _ended(self, message: Message) -> None:
        status, number, seconds, nanoseconds = message.v
        exit_ = Exit(status, (seconds * 10**9 + nanoseconds) / 1e9, bool(message.flags & 1), number)
        if message.process == _FIRST:
            _resolve(self._exited, exit_)
        elif not self._greeted.done():
            self._handles[message.process] = handle = ExecHandle(message.strings[0], message.process)
            handle.exited.set_result(exit_)
        elif ended := self._handles.pop(message.process, None):
            _resolve(ended.exited, exit_)

    def _stream_ended(self, message: Message) -> None:
        if done := self._streams.pop(message.v[0], None):
            _resolve(done, Ending(message.v[1]))

    def _lost(self) -> None:
        """The monitor is gone: what it told or left on disk counts, or it was killed and took the container along."""
        killed = Exit(_KILLED, time.time(), False, signal.SIGKILL)
        _resolve(self._process, None)
        _resolve(self._greeted, None)
        for start in self._starts.values():
            if not start.started.done():
                start.started.set_exception(StartFailed("monitor", errno.EPIPE, "sampan-monitor"))
        for done in self._streams.values():
            _resolve(done, Ending.LOST)
        if not self._exited.done():
            self._exited.set_result(read_exit(self._state_dir, self._run_dir) or killed)
        for handle in self._handles.values():
            _resolve(handle.exited, killed)
        self._streams.clear()
        self._handles.clear()


def _resolve(future: "asyncio.Future[_T]", value: _T) -> None:
    """Set a result unless the waiter gave up."""
    if not future.done():
        future.set_result(value)


async def _wait_monitor(born: "asyncio.Future[_Process | None]") -> None:
    """Wait for the monitor's end, and reap it where it is our child."""
    process = await born
    if process is None:
        return
    try:
        await wait_ended(process.pidfd)
        if process.child:
            with suppress(ChildProcessError):
                os.waitpid(process.child, 0)  # noqa: ASYNC222  (it ended: this only reaps)
    finally:
        os.close(process.pidfd)


def _close(plan: Plan) -> None:
    for fd in plan.owned:
        os.close(fd)


def _external(launch: Launch | ExecLaunch) -> Sequence[str]:
    if launch.external is None:
        return "", ""
    console = launch.external.console_socket
    return str(launch.external.pid_file), str(console) if console else ""


def _flags(launch: Launch | ExecLaunch) -> int:
    return (
        (StartFlag.TERMINAL if launch.terminal else 0)
        | (StartFlag.STDIN if launch.open_stdin else 0)
        | (StartFlag.EXTERNAL if launch.external else 0)
    )


def _stream_flags(stream: AttachedStream) -> int:
    return (
        (StreamFlag.STDIN if stream.stdin else 0)
        | (StreamFlag.STDOUT if stream.stdout else 0)
        | (StreamFlag.STDERR if stream.stderr else 0)
        | (StreamFlag.FRAMED if stream.framed else 0)
    )


def _with_flag(message: Message, flag: StartFlag) -> Message:
    return Message(message.kind, message.process, message.v, message.text, message.flags | flag, message.serial)
