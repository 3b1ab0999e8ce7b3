"""Telling the service manager how the daemon is doing (sd_notify(3)).

One datagram per state to the socket named by $NOTIFY_SOCKET; nothing happens without that variable.
"""

import os
import socket


def notify(*states: str) -> None:
    """Send states such as ``READY=1`` or ``STOPPING=1``; raises OSError if the socket is gone."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto("\n".join(states).encode(), address)
