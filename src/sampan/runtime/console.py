"""The terminal's master given away (``--console-socket``) or served here, and signals passed on, in the foreground."""

import array
import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from sampan.errors import InvalidParameter
from sampan.runtime.spawn import Spawned

_NOT_PASSED_ON = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGPIPE}


def send_console(path: Path, master: int) -> None:
    """Send the master's descriptor to the unix socket ``path``. Raises InvalidParameter where nobody listens."""
    _send(path, "console socket", b"/dev/pts/ptmx", master)


def send_pidfd(path: str, kind: bytes, pid: int) -> None:
    """Send a pidfd of a new process to the unix socket ``path``, if one is named; ``kind`` as runc calls it."""
    if path:
        pidfd = os.pidfd_open(pid)
        try:
            _send(Path(path), "pidfd socket", kind, pidfd)
        finally:
            os.close(pidfd)


def _send(path: Path, called: str, words: bytes, fd: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except OSError as error:
            raise InvalidParameter(f"{called} {path}: {error.strerror}") from error
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        connection.sendmsg([words], rights)


class Foreground:
    """A process whose end is waited for: signals go to it, and its terminal, if any, is shown on ours."""

    def __init__(self, spawned: Spawned) -> None:
        self._spawned = spawned

    def wait(self) -> int:
        """Wait for the end; the exit status as shells count it."""
        for number in signal.valid_signals() - _NOT_PASSED_ON:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, self._pass_on)
        if self._spawned.console is None:
            return self._spawned.wait().status
        with self._raw():
            relay = threading.Thread(target=self._relay, args=(self._spawned.console,), daemon=True)
            relay.start()
            status = self._spawned.wait().status
            relay.join()
        os.close(self._spawned.console)
        return status

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._spawned.pid, number)

    @contextlib.contextmanager
    def _raw(self) -> Iterator[None]:
        """Our terminal in raw mode, its size kept on the other; nothing where stdin is none."""
        if not sys.stdin.isatty():
            yield
            return
        before = termios.tcgetattr(0)
        self._resize()
        signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        tty.setraw(0)
        modes = termios.tcgetattr(0)
        modes[1] |= (
            termios.OPOST
        )  # ours still makes lines begin at the left: the other terminal adds no carriage returns
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
        try:
            yield
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)

    def _resize(self) -> None:
        if self._spawned.console is not None:
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self._spawned.console, termios.TIOCSWINSZ, size)

    @staticmethod
    def _relay(master: int) -> None:
        """Copy both ways until the terminal's other side is closed."""
        poll = select.poll()
        poll.register(master, select.POLLIN)
        poll.register(0, select.POLLIN)
        with contextlib.suppress(OSError):
            while True:
                for fd, _events in poll.poll():
                    data = os.read(fd, 65536)
                    if fd == master and not data:
                        return
                    if not data:
                        poll.unregister(0)
                    os.write(1 if fd == master else master, data)
