"""Descriptors that a program inherits from the runtime's caller: 3, 4, … of socket activation, then ``--preserve-fds``.

Source: sd_listen_fds(3).
"""

import os

from sampan.errors import InvalidParameter

FIRST = 3


def listening() -> int:
    """How many sockets the caller activated for this process."""
    number, pid = os.environ.get("LISTEN_FDS", ""), os.environ.get("LISTEN_PID", "")
    return int(number) if number.isdecimal() and pid == str(os.getpid()) else 0


def environment(sockets: int) -> list[str]:
    """How the container's first process learns of them."""
    return [f"LISTEN_FDS={sockets}", "LISTEN_PID=1"] if sockets else []


def descriptors(sockets: int, preserved: int) -> tuple[int, ...]:
    """The numbers kept open; raises InvalidParameter for one that is not open.

    To be asked before anything else is opened: no descriptor of this process must be taken for one of its caller's.
    """
    kept = range(FIRST, FIRST + sockets + preserved)
    for fd in kept[sockets:]:
        try:
            os.fstat(fd)
        except OSError as error:
            place = f"{fd - FIRST - sockets} (of {preserved})"
            raise InvalidParameter(
                f"unable to stat preserved-fd {place}: descriptor {fd}: {(error.strerror or '').lower()}"
            ) from None
    return tuple(kept)
