"""Processes by descriptor: pidfd_open(2), pidfd_send_signal(2). A pidfd is readable once its process ended."""

import asyncio
import errno
import os
import select
import signal
import time
from pathlib import Path


def open_process(pid: int) -> int | None:
    """A pidfd of ``pid``; None where no such process is left."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def start_time(pid: int) -> int:
    """Start of a process in clock ticks since boot, which with the pid names it for good; 0 when it is gone or dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = text[text.rindex(")") + 2 :].split()
    return 0 if fields[0] in {"Z", "X"} else int(fields[19])


def age(pid: int) -> float:
    """Seconds since a process was started, whatever the time of day was set to meanwhile; 0 when it is gone."""
    started = start_time(pid)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK") if started else 0.0


def has_ended(pidfd: int) -> bool:
    """Whether the process ended (it may not be reaped yet)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def send_signal(pidfd: int, number: int) -> bool:
    """Signal the process; False where it is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise
        return False
    return True


async def wait_ended(pidfd: int) -> None:
    """Wait until the process ended; the descriptor stays open and must until then."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
