"""The C program as this process runs it: a sealed copy in memory, and how it is started.

Run from a sealed memfd it cannot be overwritten through /proc/<pid>/exe from inside a container (CVE-2019-5736), and an
upgrade of the package on disk does not disturb a running daemon.
"""

import os
import signal
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from sampan.linux.memfd import sealed_file

PROGRAM = Path(__file__).parents[1] / "_native" / "sampan-monitor"
CONTROL = 3

# What this process ignores (Python itself some, a shell's background job others) no container may inherit.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_RESETTABLE = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


@cache
def sealed_program() -> int:
    """The descriptor of the program's copy, made once."""
    return sealed_file("sampan-monitor", PROGRAM.read_bytes())


def start_program(arguments: Sequence[str], control: socket.socket, *, stdio: Sequence[int] | None = None) -> int:
    """Start the program with ``control`` as descriptor 3 and nothing else of ours; returns its pid.

    ``stdio`` are its descriptors 0–2; without them it gets /dev/null and a session of its own. Raises OSError.
    """
    fds = [(os.POSIX_SPAWN_DUP2, control.fileno(), CONTROL)]
    if stdio is None:
        null = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0)]
        actions = [*null, *((os.POSIX_SPAWN_DUP2, 0, fd) for fd in (1, 2)), *fds]
    else:
        actions = [*((os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)), *fds]
    return os.posix_spawn(
        f"/proc/self/fd/{sealed_program()}",
        ["sampan-monitor", *arguments],
        {},
        file_actions=actions,
        setsid=stdio is None,
        setsigmask=(),
        setsigdef=_RESETTABLE if stdio is None else _IGNORED_BY_PYTHON,
    )
