"""Telling the service manager how the daemon is doing (sd_notify(3)).

    READY=1 ─ RELOADING=1 ─ READY=1 ─ STOPPING=1        and WATCHDOG=1 twice in each $WATCHDOG_USEC

One datagram per state to the socket named by $NOTIFY_SOCKET; nothing happens without that variable. A manager that
takes nothing holds up nobody: what it has no room for is lost, and said in the log.
"""

import asyncio
import logging
import os
import socket

log = logging.getLogger("sampan.daemon")


def notify(*states: str) -> None:
    """Send states such as ``READY=1`` or ``STOPPING=1``; raises OSError if the socket is gone."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto("\n".join(states).encode(), socket.MSG_DONTWAIT, address)
        except BlockingIOError:
            log.warning("the service manager takes nothing: it was not told %s", states[0])


def watchdog_interval() -> float:
    """Seconds from one sign of life to the next that the manager asks of this process; 0 for none.

    Source: sd_watchdog_enabled(3).
    """
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0
    return int(microseconds) / 2 / 1e6


async def keep_watchdog(interval: float) -> None:
    """Send a sign of life every ``interval`` seconds, for as long as the event loop goes round."""
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)
