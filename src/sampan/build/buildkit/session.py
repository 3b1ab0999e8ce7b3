"""A client's session: the services that it offers us over the connection of ``POST /session``."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpclib.client import StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from sampan.build.buildkit import messages as m
from sampan.build.buildkit.connection import SessionChannel
from sampan.build.buildkit.filesync import FINISH, Receiver
from sampan.build.copying import DIRECTORY
from sampan.build.threads import in_thread
from sampan.errors import EngineError, NotFound

ARRIVAL_SECONDS = 20.0


class Session:
    """One client; ``shared_key`` names its directory across builds, so that files are sent once."""

    def __init__(self, channel: SessionChannel, shared_key: str) -> None:
        self._channel = channel
        self.shared_key = shared_key

    async def secret(self, id: str) -> bytes | None:
        """See ``build.request.Secrets``."""
        call = UnaryUnaryMethod(
            self._channel, "/moby.buildkit.secrets.v1.Secrets/GetSecret", m.GetSecretRequest, m.GetSecretResponse
        )
        try:
            return bytes((await call(m.GetSecretRequest(ID=id))).data)
        except GRPCError as error:
            if error.status in (Status.NOT_FOUND, Status.UNIMPLEMENTED):
                return None
            raise EngineError(f"secret {id}: {error.message}") from error

    async def synchronise(
        self, name: str, into: Path, *, exclude: Sequence[str] = (), follow: Sequence[str] = ()
    ) -> None:
        """Bring the client's directory ``name`` into ``into``; only what differs is sent. Raises EngineError."""
        metadata = [("dir-name", name)]
        metadata += [("exclude-patterns", pattern) for pattern in exclude]
        metadata += [("include-patterns", path) for path in follow] + [("followpaths", path) for path in follow]
        into.mkdir(parents=True, exist_ok=True)
        root = os.open(into, DIRECTORY)
        method = StreamStreamMethod(self._channel, "/moby.filesync.v1.FileSync/DiffCopy", m.Packet, m.Packet)
        receiver = Receiver(root)
        try:
            async with method.open(metadata=metadata) as stream:
                await _receive(receiver, stream)
        except (GRPCError, StreamTerminatedError) as error:
            if not receiver.complete:  # a sender that is done resets its stream
                raise EngineError(f"failed to load {name}: {error}") from error
        finally:
            receiver.close()
            if receiver.complete:
                await in_thread(receiver.finish)
            os.close(root)


async def _receive(receiver: Receiver, stream: Any) -> None:
    await stream.send_request()
    while (packet := await stream.recv_message()) is not None:
        if packet.type == FINISH:
            break
        was_complete = receiver.complete
        for answer in receiver.receive(packet):
            await stream.send_message(answer)
        if receiver.complete and not was_complete:
            await stream.send_message(m.Packet(type=FINISH))
    await stream.end()


class Sessions:
    """The sessions that are open, by their UUID."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._changed = asyncio.Condition()

    async def keep(self, id: str, session: Session, channel: SessionChannel) -> None:
        """Offer ``session`` until its connection ends."""
        async with self._changed:
            self._open[id] = session
            self._changed.notify_all()
        try:
            await channel.closed()
        finally:
            self._open.pop(id, None)

    async def get(self, id: str) -> Session:
        """The session, waiting a while for one that is on its way. Raises NotFound."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: id in self._open), ARRIVAL_SECONDS)
            except TimeoutError:
                raise NotFound(f"no active session for {id}") from None
            return self._open[id]
