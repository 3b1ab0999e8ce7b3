"""The client of a container's monitor: start it, find it again, and everything asked of it since.

One Monitor is one container whose first process was made. The monitor's process outlives this one.

    monitor = await Monitor.start(launch)                  # raises StartFailed(step, errno, object)
    monitor = await Monitor.reconnect(run_dir, state_dir)  # None: no monitor there; then read_exit(state_dir)
    await monitor.attach(stream); ending = await stream.done
    handle = await monitor.exec(exec_launch); exit = await handle.wait()
    exit = await monitor.wait()
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from sampan.runtime.launch import AttachedStream, Ending, ExecLaunch, Exit, Launch

Pause = Callable[[str, int], Awaitable[None]]


def read_exit(state_dir: Path) -> Exit | None:
    """The exit status recorded in ``state_dir/exit``; None when none is (yet)."""
    raise NotImplementedError


class ExecHandle:
    """A process run by ``Monitor.exec``."""

    exec_id: str
    pid: int

    async def wait(self) -> Exit:
        """Wait for its end."""
        raise NotImplementedError


class Monitor:
    """One container's monitor."""

    pid: int  # of the container's first process, in the daemon's pid namespace
    started_at: float
    execs: dict[str, ExecHandle]

    @classmethod
    async def start(cls, launch: Launch, paused: Pause | None = None) -> "Monitor":
        """Start the monitor's process and the container; returns once the program was executed.

        ``paused(name, pid)`` is awaited at each ``Pause`` of the plan while the child waits; its exception ends the
        child and is raised here. Raises StartFailed; then nothing is left running.
        """
        raise NotImplementedError

    @classmethod
    async def reconnect(cls, run_dir: Path, state_dir: Path) -> "Monitor | None":
        """The monitor that listens in ``run_dir``, after a restart of the daemon; None when none does."""
        raise NotImplementedError

    async def attach(self, stream: AttachedStream) -> "Awaitable[Ending]":
        """Join a client to the first process's stdio; returns ``stream.done``."""
        raise NotImplementedError

    async def exec(self, process: ExecLaunch) -> ExecHandle:
        """Run another process; returns once it was executed. Raises StartFailed."""
        raise NotImplementedError

    async def resize(self, rows: int, columns: int, exec_id: str | None = None) -> None:
        """Set the terminal's size; no effect without a terminal."""
        raise NotImplementedError

    async def signal(self, number: int, exec_id: str | None = None) -> bool:
        """Send a signal to the first process or an exec; False when it is gone already."""
        raise NotImplementedError

    async def wait(self) -> Exit:
        """Wait for the end of the first process."""
        raise NotImplementedError

    async def drained(self) -> None:
        """Wait until the monitor itself is gone: all output is in the log and with the clients."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of the connection; the container goes on."""
        raise NotImplementedError
