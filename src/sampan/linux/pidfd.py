"""Processes by descriptor: pidfd_open(2), pidfd_send_signal(2). A pidfd is readable once its process ended."""

import asyncio
import errno
import os
import select
import signal


def open_process(pid: int) -> int | None:
    """A pidfd of ``pid``; None where no such process is left."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


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
