"""A container's process under way: it does what it can before the rest of its plan is known.

process = UnderWay(monitor, launch, rest)      # launch.plan: runtime/compile_beginning.py
await process.complete(plan)                   # raises StartFailed; returns once the program was executed
await process.abandon()                        # if there will be no rest
"""

import asyncio
import os
import socket
from contextlib import suppress

from sampan.linux.memfd import memory_file
from sampan.linux.unix_socket import send_packet
from sampan.runtime.launch import Launch, MonitorGone, StartFailed
from sampan.runtime.monitor import Monitor
from sampan.runtime.plan import Plan
from sampan.runtime.plan_encoding import encode


class UnderWay:
    """One launch; ``rest`` is the other end of the socket that its plan reads from."""

    def __init__(self, monitor: Monitor, launch: Launch, rest: socket.socket) -> None:
        self._rest = rest
        self._launching = asyncio.get_running_loop().create_task(monitor.launch(launch))

    async def complete(self, plan: Plan) -> None:
        """Hand over the rest of the plan, whose owned descriptors are closed. Raises StartFailed."""
        fds = [memory_file("plan", encode(plan.operations)), *plan.fds]
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # its end is told by the launch
                send_packet(self._rest, [b"p"], fds)
        finally:
            for fd in (fds[0], *plan.owned):
                os.close(fd)
            self._rest.close()
        await self._launching

    async def abandon(self) -> None:
        """End the process, if it still waits; nothing happens to one that is complete."""
        self._rest.close()
        with suppress(StartFailed, MonitorGone):
            await self._launching
