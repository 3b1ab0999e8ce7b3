"""Daemons that are killed at a chosen step: nothing of the product knows about it.

A *step* is anything the daemon does that leaves a trace on the host: a file made, moved, removed or opened for
writing (cgroups and sysctls are files), a raw system call (mounts, namespaces), a statement that changes the
database, a message to the kernel's network or to a monitor, a process started. Python's audit events, SQLite's
trace and two functions of ours show them all.

    cells (a file, mapped by both)    [steps left, 0 = never]  [steps seen]
    test                              writes ``left``, does the operation
    daemon                            counts down, and kills itself before the step that makes ``left`` zero

Run as a program this is the nursery: it has imported the daemon, and forks one for each line of standard input
(a JSON array: log file, arguments…), answering with its pid. That makes a start cost a tenth of a second.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EVENTS = frozenset(
    (
        *("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.symlink", "os.truncate", "os.chown"),
        *("os.chmod", "os.setxattr", "os.utime", "os.posix_spawn", "os.fork", "socket.sendmsg", "socket.bind"),
    )
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
READING = ("SELECT", "PRAGMA", "BEGIN")


class Steps:
    """The two cells in ``path``, shared between a test and its daemons."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(16)
            self._cells = memoryview(mmap.mmap(file.fileno(), 16)).cast("q")

    def arm(self, left: int) -> None:
        """Kill at the ``left``-th step from now; 0 is never."""
        self._cells[1] = 0
        self._cells[0] = left

    @property
    def seen(self) -> int:
        """Steps since ``arm``."""
        return self._cells[1]

    def step(self) -> None:
        """The daemon is about to take a step."""
        self._cells[1] += 1
        if self._cells[0]:
            self._cells[0] -= 1
            if not self._cells[0]:
                os.kill(os.getpid(), signal.SIGKILL)


class Nursery:
    """The program below, as the test holds it."""

    def __init__(self, cells: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(cells)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, log: Path, arguments: Sequence[str]) -> int:
        """Fork a daemon; returns its pid."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(log), *arguments]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """No more daemons; those that run go on."""
        self._process.communicate()


def watch(steps: Steps) -> None:
    """Count every step of this process from here on."""
    from sampan.linux import syscall as syscalls
    from sampan.linux.rtnetlink import Rtnetlink
    from sampan.storage.database import Database

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            steps.step()

    def before(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            steps.step()
            return function(*arguments, **named)

        setattr(owner, name, counted)

    def statement(sql: str) -> None:
        if not sql.lstrip().startswith(READING):
            steps.step()

    opened = Database.__init__

    def traced(self: Database, path: Path, **options: Any) -> None:
        opened(self, path, **options)
        self._connection.set_trace_callback(statement)

    Database.__init__ = traced  # type: ignore[method-assign]
    before(syscalls, "_syscall")
    before(Rtnetlink, "_ask")
    sys.addaudithook(audit)


def serve(cells: Path) -> None:
    """Fork a daemon for each line of standard input."""
    from sampan.daemon.main import main

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        log, *arguments = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, fd in enumerate((null, file, file)):
            os.dup2(fd, number)
        os.closerange(3, 64)
        watch(Steps(cells))
        os._exit(main(arguments))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
