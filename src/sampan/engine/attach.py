"""Attach: a client's connection joined to a container's stdio, or kept until there is one.

    created, exited  the connection waits in ``container.pending`` and goes into the next launch
    running          it is handed to the monitor

With ``logs`` what was printed so far comes first. The bytes then flow between client and monitor; the engine only
learns how it ended.
"""

import asyncio
import os
from contextlib import suppress

from sampan.api.containers import AttachOptions, LogsOptions
from sampan.api.hijack import Accept, Hijacked
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.detach_keys import parse_detach_keys
from sampan.engine.logs import Logs
from sampan.errors import EngineError, InvalidParameter
from sampan.runtime.launch import AtEnd, AttachedStream, Ending, MonitorGone

DETACH_KEYS = b"\x10\x11"
"""ctrl-p ctrl-q"""


class Attach:
    """The operation ``attach``."""

    def __init__(self, context: Context, logs: Logs) -> None:
        self._context = context
        self._logs = logs

    async def attach(self, container: Container, options: AttachOptions, accept: Accept, called: str = "") -> None:
        """Join the client, who ``called`` the container so.

        Returns once the connection is with the monitor, kept for the start, or replayed.
        """
        container.allow("attach", called)
        keys = detach_keys(options)
        async with container.lock:
            # Under the lock: a client starts the container as soon as it is accepted, and then it must be known.
            connection = await accept(container.record.config.tty)
            if options.stream and not container.record.started_before:
                self._keep(container, stream_of(container, options, connection, keys))
                return
        if options.logs and (options.stdout or options.stderr):
            await self._replay(container, options, connection)
        if options.stream:
            await self._join(container, stream_of(container, options, connection, keys))

    def _keep(self, container: Container, stream: AttachedStream) -> None:
        """Hold a client until the next start."""
        container.pending.append(stream)
        self._context.events.publish("container", "attach", container.id, container.attributes())

    async def _join(self, container: Container, stream: AttachedStream) -> None:
        """Hand a client to the monitor, or hold it until there is one."""
        async with container.lock:
            if not container.live or container.monitor is None:
                self._keep(container, stream)
                return
            self._context.events.publish("container", "attach", container.id, container.attributes())
            try:
                await container.monitor.attach(stream)
            except MonitorGone:
                return
            finally:
                os.close(stream.fd)
        if stream.done is not None:
            self._context.supervisor.spawn(self._announce_detach(container, stream), f"attach to {container.id[:12]}")

    async def _replay(self, container: Container, options: AttachOptions, connection: Hijacked) -> None:
        """Send what was printed so far."""
        output = await self._logs.read(container, LogsOptions(stdout=options.stdout, stderr=options.stderr))
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            async for chunk in output.chunks:
                await loop.sock_sendall(connection.sock, chunk)

    async def _announce_detach(self, container: Container, stream: AttachedStream) -> None:
        assert stream.done is not None
        if await stream.done == Ending.DETACHED:
            self._context.events.publish("container", "detach", container.id, container.attributes())


def detach_keys(options: AttachOptions) -> bytes:
    """The keys that let the client go; raises InvalidParameter."""
    if not options.detach_keys:
        return DETACH_KEYS
    try:
        return parse_detach_keys(options.detach_keys)
    except EngineError:
        raise InvalidParameter(f"Invalid detach keys ({options.detach_keys}) provided") from None


def stream_of(container: Container, options: AttachOptions, connection: Hijacked, keys: bytes) -> AttachedStream:
    """The client's socket as the monitor takes it; it is ours to close from now on."""
    config = container.record.config
    ends_stdin = config.stdin_once and not config.tty
    return AttachedStream(
        fd=connection.take().detach(),
        stdin=options.stdin and config.open_stdin,
        stdout=options.stdout,
        stderr=options.stderr,
        framed=not config.tty,
        detach_keys=keys if config.tty else b"",
        early=connection.early,
        at_end=AtEnd.CLOSE_STDIN if ends_stdin else AtEnd.END_STREAM,
    )


def close_pending(container: Container) -> None:
    """Let go of clients that wait for a start that will not come."""
    for stream in container.pending:
        os.close(stream.fd)
    container.pending.clear()
