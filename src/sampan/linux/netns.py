"""Network namespaces as file descriptors: made, entered for one call, never given a name in the file system.

A namespace lives while a process, a socket or an fd holds it; with the last of them it dies, and takes its links
along. Entering one is a thread's affair (setns(2)), so everything here runs in one worker thread that returns
to the home namespace after each call. Children that are started inside a call inherit the namespace.

Source: network_namespaces(7), unshare(2), setns(2).
"""

import asyncio
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(call: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def setns(fd: int) -> None:
    """Move the calling thread into the network namespace ``fd``."""
    _check("setns", _libc.setns(fd, CLONE_NEWNET))


def unshare() -> int:
    """Move the calling thread into a new network namespace; returns an fd that holds it."""
    _check("unshare", _libc.unshare(CLONE_NEWNET))
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


def open_of(pid: int) -> int:
    """An fd on the namespace of process ``pid``; raises ProcessLookupError or FileNotFoundError when it is gone."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Namespaces:
    """The thread that visits namespaces. ``run`` waits for it; ``call`` lets the event loop wait."""

    def __init__(self) -> None:
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._thread = ThreadPoolExecutor(1, "netns")

    def close(self) -> None:
        self._thread.shutdown()
        os.close(self._home)

    def run(self, work: Callable[[], T], netns: int | None = None) -> T:
        """The result of ``work`` in the namespace ``netns``; None is a new one, which dies unless ``work`` keeps it."""
        return self._thread.submit(self._visit, work, netns).result()

    async def call(self, work: Callable[[], T], netns: int | None = None) -> T:
        """As ``run``."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._visit, work, netns)

    def _visit(self, work: Callable[[], T], netns: int | None) -> T:
        try:
            if netns is None:
                os.close(unshare())
            else:
                setns(netns)
            return work()
        finally:
            setns(self._home)
