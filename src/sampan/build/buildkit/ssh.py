"""SSH.ForwardAgent: the client's ssh agents as unix sockets of ours, for ``RUN --mount=type=ssh``.

command ── unix socket ── one ForwardAgent stream for each connection ── client's agent
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.exceptions import GRPCError, StreamTerminatedError

from sampan.build.buildkit import messages as m
from sampan.errors import NotFound

SSH = "/moby.sshforward.v1.SSH/"
CHUNK = 1 << 15


@asynccontextmanager
async def forwarded(channel: Channel, id: str, socket: Path) -> AsyncIterator[None]:
    """Listen on ``socket`` for the agent ``id`` (empty: the default one). Raises NotFound when there is none."""
    name = id or "default"
    await _check(channel, name)
    forwarding: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_forward(channel, name, reader, writer))
        forwarding.add(task)
        task.add_done_callback(forwarding.discard)

    server = await asyncio.start_unix_server(connected, socket)
    try:
        yield
    finally:
        server.close()
        for task in list(forwarding):
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)


async def _check(channel: Channel, name: str) -> None:
    call = UnaryUnaryMethod(channel, SSH + "CheckAgent", m.CheckAgentRequest, m.Empty)
    try:
        await call(m.CheckAgentRequest(ID=name))
    except GRPCError as error:
        raise NotFound(f"unset ssh forward key {name}") from error


async def _forward(channel: Channel, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until either side ends it."""
    method = StreamStreamMethod(channel, SSH + "ForwardAgent", m.BytesMessage, m.BytesMessage)
    try:
        async with method.open(metadata=[("buildkit.ssh.id", name)]) as stream:
            await stream.send_request()
            asking = asyncio.ensure_future(_ask(reader, stream))
            try:
                while (answer := await stream.recv_message()) is not None:
                    writer.write(answer.data)
                    await writer.drain()
            finally:
                asking.cancel()
    except (GRPCError, StreamTerminatedError, ConnectionError):
        pass  # the command sees its agent's connection end
    finally:
        writer.close()


async def _ask(reader: asyncio.StreamReader, stream: Any) -> None:
    with suppress(ConnectionError, StreamTerminatedError):
        while data := await reader.read(CHUNK):
            await stream.send_message(m.BytesMessage(data=data))
        await stream.end()
