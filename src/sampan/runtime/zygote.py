"""The zygote: one process of the C program, from which every monitor is forked.

    connection = zygote.monitor(container_id)      # a new monitor listens at its other end

A fork of the zygote takes a tenth of a millisecond and leaves this process alone; starting the program from here would
take more than one, and hold every thread of the interpreter until the kernel has executed it.

Monitors are children of this process all the same: it reaps them. The zygote ends when its owner closes it or dies.
"""

import os
import signal
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from sampan.linux.unix_socket import send_packet
from sampan.runtime.launch import StartFailed
from sampan.runtime.program import start_program
from sampan.runtime.protocol import Message, MessageKind, strings

_ROOM = " " * 80
"""Where a monitor writes its container's name, for lists of processes."""


class Zygote:
    """Starts its process at the first use, and again should somebody have killed it; ``close`` it."""

    def __init__(self) -> None:
        self._pid = 0
        self._control: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process; monitors are not concerned."""
        if self._control is None:
            return
        self._control.close()
        self._control = None
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def monitor(self, container_id: str) -> socket.socket:
        """A new monitor's connection; the first word on it is BORN, or FAILED. Raises StartFailed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, ExitStack() as undo:
            undo.callback(ours.close)
            try:
                self._ask(Message(MessageKind.MONITOR, text=strings([container_id])).encode(), theirs)
            except OSError as error:
                raise StartFailed("monitor", error.errno or 0, "sampan-monitor") from error
            undo.pop_all()
        return ours

    def _ask(self, request: bytes, connection: socket.socket) -> None:
        try:
            send_packet(self._control or self._start(), [request], [connection.fileno()])
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            send_packet(self._start(), [request], [connection.fileno()])

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, ExitStack() as undo:
            undo.callback(ours.close)
            self._pid = start_program(["zygote", _ROOM], theirs)
            undo.pop_all()
        self._control = ours
        return ours
