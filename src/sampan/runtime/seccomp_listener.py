"""The descriptor of a filter that notifies, sent with a state to whoever decides: over ``listenerPath``, once.

Source: runtime-spec config-linux.md "The Container Process State".
"""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from sampan.errors import EngineError
from sampan.linux.unix_socket import send_packet
from sampan.oci.runtime_spec import ContainerProcessState, Seccomp, State, encode

Deliver = Callable[[int, int], None]
"""Takes a listener's descriptor, which it closes, and the pid of the process it belongs to."""


def deliver_to(section: Seccomp | None, state: State) -> Deliver | None:
    """How the listener of a container in ``state`` is sent on; None where there will be none."""
    if section is None or not section.listener_path:
        return None

    def deliver(fd: int, pid: int) -> None:
        told = ContainerProcessState(pid=pid, metadata=section.listener_metadata, state=replace(state, pid=pid))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.connect(section.listener_path)
                send_packet(connection, [encode(told)], [fd])
        except OSError as error:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # its calls would wait for an answer for ever
            place = f"linux.seccomp.listenerPath {section.listener_path}"
            raise EngineError(f"failed to connect with seccomp agent: {place}: {error.strerror}") from error
        finally:
            os.close(fd)

    return deliver
