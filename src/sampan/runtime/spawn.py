"""One plan performed for the OCI command line: the caller's stdio, no monitor left behind. Blocking.

    process = spawn(plan, paused=run_hooks)     # created (waiting in WaitStart) or executed; raises StartFailed
    start_created(directory, "start.sock")      # later, from another process: let a created one go on
    exit = process.wait()                       # only where ``wait`` was asked for

``WaitStart`` listens on a SOCK_SEQPACKET socket (linux.unix_socket.listen_beneath) whose slot the plan carries; a note
of failure comes back over it, drawn in native/plan.h.
"""

import errno
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from sampan.linux.memfd import memory_file
from sampan.linux.unix_socket import connect_beneath, receive_packet, send_packet
from sampan.runtime.launch import Exit, StartFailed
from sampan.runtime.plan import Plan
from sampan.runtime.plan_encoding import encode
from sampan.runtime.program import start_program
from sampan.runtime.protocol import LONGEST, Message, MessageKind, StartFlag
from sampan.runtime.seccomp_listener import Deliver

_NOTE = struct.Struct("=IIii32s208s")
_NOTE_DESCRIPTOR, _NOTE_EXECUTING, _NOTE_FAILED = 3, 5, 6
_CONSOLE = 1


class Spawned(msgspec.Struct):
    """A process made by ``spawn``; the descriptors are the caller's to close."""

    pid: int
    created: bool  # it waits for ``start_created``; otherwise it was executed
    console: int | None = None  # the terminal's master
    _control: socket.socket | None = None
    _program: int = 0

    def wait(self) -> Exit:
        """Wait for the end of a process spawned with ``wait``."""
        assert self._control is not None, "spawned without wait"
        with self._control:
            packet, _ = receive_packet(self._control, LONGEST)
        os.waitpid(self._program, 0)
        if not packet:
            return Exit(128 + signal.SIGKILL, time.time(), False, signal.SIGKILL)
        message = Message.decode(packet)
        return Exit(message.v[0], time.time(), False, message.v[1])


def spawn(
    plan: Plan,
    paused: Callable[[str, int], None] | None = None,
    *,
    deliver: Deliver | None = None,
    stdio: Sequence[int] = (0, 1, 2),
    wait: bool = False,
) -> Spawned:
    """Perform ``plan`` with these stdio descriptors; returns when the process is created or executed.

    ``paused(name, pid)`` runs at each ``Pause``; its exception ends the child and is raised. ``deliver`` is given the
    seccomp listener. The plan's owned descriptors are closed in any case. Raises StartFailed.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as undo:
        undo.callback(ours.close)
        try:
            with theirs:
                program = start_program(["spawn"], theirs, stdio=stdio)
            _send_plan(ours, plan, wait)
        finally:
            for fd in plan.owned:
                os.close(fd)
        spawned = _serve(ours, program, paused, deliver)
        if wait and not spawned.created:
            spawned._control, spawned._program = ours, program
            undo.pop_all()
        else:
            os.waitpid(program, 0)
        return spawned


def start_created(directory: Path, name: str, deliver: Callable[[int], None] | None = None) -> None:
    """Let the process that waits on the socket ``name`` of ``directory`` go on; returns once it was executed.

    ``deliver`` is given the seccomp listener, which it closes.
    Raises StartFailed, and FileNotFoundError or ConnectionRefusedError where nothing waits.
    """
    with connect_beneath(directory, name) as connection:
        executing = False
        while (received := receive_packet(connection, LONGEST))[0]:
            packet, fds = received
            kind, _index, error, _number, step, object_ = _NOTE.unpack(packet)
            executing = executing or kind == _NOTE_EXECUTING
            if kind == _NOTE_DESCRIPTOR and deliver is not None:
                deliver(fds[0])
            if kind == _NOTE_FAILED:
                raise StartFailed(_string(step), error, _string(object_))
        if not executing:
            raise StartFailed("execute", errno.ECHILD, "the process ended before its program was executed")


def _string(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")


def _send_plan(control: socket.socket, plan: Plan, wait: bool) -> None:
    fd = memory_file("plan", encode(plan.operations))
    try:
        message = Message(MessageKind.START, flags=StartFlag.WAIT if wait else 0)
        send_packet(control, [message.encode()], [fd, *plan.fds])
    finally:
        os.close(fd)


def _serve(
    control: socket.socket, program: int, paused: Callable[[str, int], None] | None, deliver: Deliver | None
) -> Spawned:
    """Answer the program until there is a process. Descriptors that came before a failure are closed."""
    spawned = Spawned(0, False)
    try:
        while not spawned.pid:
            packet, fds = receive_packet(control, LONGEST)
            if not packet:
                raise StartFailed("spawn", errno.EPIPE, "sampan-monitor")
            message = Message.decode(packet)
            if message.kind is MessageKind.DESCRIPTOR and message.v[0] != _CONSOLE and deliver is not None:
                deliver(fds[0], message.v[1])
            else:
                _take(spawned, message, fds, control, paused)
    except BaseException:
        control.close()
        os.waitpid(program, 0)
        if spawned.console is not None:
            os.close(spawned.console)
        raise
    return spawned


def _take(
    spawned: Spawned,
    message: Message,
    fds: list[int],
    control: socket.socket,
    paused: Callable[[str, int], None] | None,
) -> None:
    match message.kind:
        case MessageKind.STARTED | MessageKind.CREATED:
            spawned.pid, spawned.created = message.v[0], message.kind is MessageKind.CREATED
        case MessageKind.FAILED:
            step, object_ = (*message.strings, "", "")[:2]
            raise StartFailed(step, message.v[1], object_)
        case MessageKind.DESCRIPTOR:
            spawned.console = fds[0]
        case MessageKind.PAUSED:
            if paused is not None:
                paused(message.strings[0], message.v[1])
            send_packet(control, [Message(MessageKind.CONTINUE).encode()])
        case _:
            raise StartFailed("spawn", errno.EPROTO, message.kind.name)
