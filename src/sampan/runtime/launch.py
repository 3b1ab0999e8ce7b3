"""The values the monitor is given and gives back: launches, attached streams, exits, failures. No I/O."""

from collections.abc import Sequence
from enum import IntEnum
from errno import ENOENT
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sampan.errors import EngineError
from sampan.runtime.plan import EMPTY, Plan

if TYPE_CHECKING:
    import asyncio  # the OCI command line starts in half the time without it


class StartFailed(EngineError):
    """A container's or an exec's process could not be made.

    ``step`` is the operation's name as in the plan ("execute", "attach", …), ``errno`` the kernel's (ECHILD where a
    hook failed by its own status), ``object`` the path or name concerned; of a hook, which it was and what it said.
    """

    def __init__(self, step: str, errno: int, object_: str, message: str = "") -> None:
        super().__init__(message or _told(step, errno, object_))
        self.step, self.errno, self.object = step, errno, object_


def _told(step: str, number: int, object_: str) -> str:
    """The sentence for a step that failed: runc's, where clients look for it."""
    from os import strerror

    reason = strerror(number).lower()
    if step == "run_hook":
        return f"error running {object_}"
    if step == "write_sysctl":
        key = object_.replace("/", ".")
        return f"open sysctl {key} file: {reason}" if number == ENOENT else f"failed to write sysctl {key}: {reason}"
    return f"{step}: {object_}: {reason}"


class MonitorGone(EngineError):
    """The monitor's process ended or its socket is closed; the exit record says what is known."""


class AtEnd(IntEnum):
    """What the end of a client's input does (dockerd's rules: engine/containers decides)."""

    CLOSE_STDIN = 0  # the process sees end of file: StdinOnce, every exec
    END_STREAM = 1  # the client is let go: attach to a container with OpenStdin alone, or to a terminal
    NOTHING = 2


class Ending(IntEnum):
    """Why an attached stream is over."""

    FINISHED = 0  # the process's output ended and was delivered
    DETACHED = 1  # the detach keys were typed
    CLOSED = 2  # the client went away, or its input ended under END_STREAM
    LOST = 3  # the monitor went away


class AttachedStream(msgspec.Struct, eq=False):
    """One client joined to a process's stdio.

    ``fd`` is a connected stream socket; the monitor gets a duplicate, the caller closes its own once the stream
    was handed over (``attach``/``start``/``exec`` returned). With ``framed`` stdout and stderr carry Docker's 8-byte
    headers, terminal or not. ``early`` are bytes of input that were read already. ``detach_keys``
    are looked for in the input (terminals only, by Docker's rule: pass b"" otherwise). ``done`` is set when it is over.
    """

    fd: int
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    framed: bool = True
    detach_keys: bytes = b""
    early: bytes = b""
    at_end: AtEnd = AtEnd.CLOSE_STDIN
    done: "asyncio.Future[Ending] | None" = None


class LogFile(msgspec.Struct, frozen=True):
    """A log in Docker's json-file format. ``max_size`` in bytes, 0: never rotated; ``max_files`` counts the live one.

    ``attributes`` is a JSON object as text, put into every line as ``attrs`` ("": none). ``queue`` is how many bytes
    may wait for the disk before lines are dropped; 0: none is dropped, the program waits. With ``exact`` an entry that
    is not UTF-8 has its ``bytes`` in base64 too.
    """

    path: Path
    max_size: int = 0
    max_files: int = 1
    attributes: str = ""
    queue: int = 0
    exact: bool = False


class External(msgspec.Struct, frozen=True):
    """The plan's program is another OCI runtime (``runc create …``, ``runc exec --detach …``).

    It must write the process's pid to ``pid_file``; with a terminal it sends the master to ``console_socket``,
    on which the monitor listens. The monitor, their subreaper, adopts that process.
    """

    pid_file: Path
    console_socket: Path | None = None


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the monitor needs to make a container's first process; without a ``plan`` until one is compiled."""

    container_id: str
    plan: Plan = EMPTY
    run_dir: Path  # made if missing; holds monitor.sock
    state_dir: Path  # exists; gets the file ``exit``
    terminal: bool = False
    console_size: tuple[int, int] = (0, 0)  # rows, columns
    open_stdin: bool = False
    stdin_once: bool = False
    log: LogFile | None = None
    attached: Sequence[AttachedStream] = ()
    oom_events: Path | None = None  # v1 memory.oom_control or v2 memory.events: read at exit for Exit.oom_killed
    external: External | None = None


class ExecLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the monitor needs to run another process in the container."""

    exec_id: str
    plan: Plan
    terminal: bool = False
    console_size: tuple[int, int] = (0, 0)
    open_stdin: bool = False
    attached: Sequence[AttachedStream] = ()
    external: External | None = None


class Exit(msgspec.Struct, frozen=True):
    """How a process ended. ``status`` as shells and Docker count it: 128 + signal for a signal."""

    status: int
    finished_at: float  # seconds since the epoch
    oom_killed: bool = False
    signal: int = 0
