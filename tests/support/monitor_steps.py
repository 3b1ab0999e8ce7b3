"""Monitors that are killed at a chosen system call: a tracer (ptrace(2)) that counts them.

    python monitor_steps.py monitor PID STEP     follow this process
    python monitor_steps.py zygote  PID STEP     follow the next monitor that this zygote makes, from its first call

It says ``ready`` once it follows. The process is killed before its STEP-th system call (0: never). At the end of
standard input the tracer lets go and prints how many calls it saw.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import NamedTuple

CONT, DETACH, SYSCALL, SEIZE, INTERRUPT = 7, 17, 24, 0x4206, 0x4207
O_TRACESYSGOOD, O_TRACEFORK, O_TRACEVFORK, O_TRACECLONE = 1, 2, 4, 8
WALL, SYSCALL_STOP = 0x40000000, signal.SIGTRAP | 0x80

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def ptrace(request: int, pid: int, data: int = 0) -> None:
    """ptrace(2); a process that is gone is no error."""
    if libc.ptrace(request, pid, None, data) < 0 and (number := ctypes.get_errno()) != 3:
        raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")


class Steps:
    """Follows one process, and of a zygote its next child."""

    def __init__(self, pid: int, step: int, *, zygote: bool) -> None:
        self._zygote = pid if zygote else 0
        self._followed = 0 if zygote else pid
        self._step = step
        self.seen = 0
        self._inside = False
        self._traced = {pid}
        births = O_TRACEFORK | O_TRACEVFORK | O_TRACECLONE if zygote else 0
        ptrace(SEIZE, pid, O_TRACESYSGOOD | births)
        ptrace(INTERRUPT, pid)

    def run(self) -> None:
        """Until standard input ends."""
        while not select.select([sys.stdin], [], [], 0)[0]:
            if not self._turn():
                select.select([sys.stdin], [], [], 0.0005)
        for pid in list(self._traced):
            ptrace(INTERRUPT, pid)
        while self._traced and self._turn(leaving=True, wait=True):
            pass

    def _turn(self, *, leaving: bool = False, wait: bool = False) -> bool:
        try:
            pid, status = os.waitpid(-1, WALL | (0 if wait else os.WNOHANG))
        except ChildProcessError:
            self._traced.clear()
            return False
        if not pid:
            return False
        if not os.WIFSTOPPED(status):
            self._traced.discard(pid)
        elif leaving:
            ptrace(DETACH, pid, passed_on(status))
            self._traced.discard(pid)
        else:
            self._stopped(pid, status)
        return True

    def _stopped(self, pid: int, status: int) -> None:
        self._traced.add(pid)
        if not self._followed and pid != self._zygote:
            self._followed = pid  # the zygote's child, which stops before its first call
        if pid == self._zygote:
            ptrace(CONT, pid, passed_on(status))
        elif pid != self._followed:
            ptrace(DETACH, pid)  # the container's own processes
            self._traced.discard(pid)
        elif os.WSTOPSIG(status) == SYSCALL_STOP:
            self._call(pid)
        else:
            ptrace(SYSCALL, pid, passed_on(status))

    def _call(self, pid: int) -> None:
        self._inside = not self._inside
        self.seen += self._inside
        if self._inside and self.seen == self._step:
            os.kill(pid, signal.SIGKILL)
        ptrace(SYSCALL, pid)


def passed_on(status: int) -> int:
    """The signal to deliver: none for the tracer's own stops."""
    number = os.WSTOPSIG(status)
    return 0 if status >> 16 or number in (SYSCALL_STOP, signal.SIGTRAP) else number


class Tracer(NamedTuple):
    """The program below, as the test holds it."""

    process: "subprocess.Popen[str]"

    @classmethod
    def follow(cls, kind: str, pid: int, step: int) -> "Tracer":
        process = subprocess.Popen(
            [sys.executable, __file__, kind, str(pid), str(step)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return cls(process)

    def seen(self) -> int:
        """Let go; how many calls there were."""
        return int(self.process.communicate(timeout=10)[0])


def main() -> None:
    kind, pid, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    steps = Steps(pid, step, zygote=kind == "zygote")
    print("ready", flush=True)
    with suppress(KeyboardInterrupt):
        steps.run()
    print(steps.seen, flush=True)


if __name__ == "__main__":
    main()
