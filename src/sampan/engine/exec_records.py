"""What is kept on disk of an exec, so that a daemon that is started again knows its id and exit status.

    created ─▶ record               the next daemon can start it
    start ───▶ running = true       written before the client's connection is taken over
    end ─────▶ exit_code, finished  then the monitor may forget it, and the record goes some minutes later

A record that says *running* when a daemon starts is that of an exec whose end this daemon has to find out:

    the monitor runs it, or tells how it ended     as told
    the container is gone, run_dir/execs has it    as written there by the monitor
    the container is gone                          killed with it
    none of these                                  cut short before its program was executed
"""

from pathlib import Path

import msgspec

from sampan.api.exec import ExecCreateRequest
from sampan.runtime.monitor import read_execs

KILLED = 137
"""Exit status of an exec that ended with its container: 128 + SIGKILL."""
NOT_EXECUTED = 126
"""Exit status of an exec whose program was found but not executed."""


class ExecRecord(msgspec.Struct):
    """One exec; ``finished`` in nanoseconds since 1970, 0 never."""

    container: str
    request: ExecCreateRequest
    running: bool = False
    exit_code: int | None = None
    finished: int = 0


def unseen_end(exec_id: str, run_dir: Path, *, container_runs: bool) -> int:
    """Exit status of an exec that no monitor knows (any more) although its record says that it runs."""
    return NOT_EXECUTED if container_runs else read_execs(run_dir).get(exec_id, KILLED)
