"""A client's session: the services that it offers us over the connection of ``POST /session``."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.client import StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import ProtocolError

from sampan.api.images import AuthConfig
from sampan.archive.stream import Sink
from sampan.build.buildkit import messages as m
from sampan.build.buildkit.connection import SessionChannel, send_together
from sampan.build.buildkit.content import ClientContent
from sampan.build.buildkit.filesync import FINISH, Receiver
from sampan.build.buildkit.frames import Arriving
from sampan.build.buildkit.sending import Tree, send_file, send_trees
from sampan.build.buildkit.ssh import forwarded
from sampan.build.copying import DIRECTORY
from sampan.build.request import NoAgents
from sampan.build.threads import in_thread
from sampan.errors import EngineError, NotFound

ARRIVAL_SECONDS = 20.0
HUB, HUB_HOST = "docker.io", "registry-1.docker.io"
"""Docker's own registry: in references, and as clients are asked for its credentials."""
HUB_KEY = "https://index.docker.io/v1/"
"""Where clients keep the credentials of Docker's own registry."""
NO_SESSION = "the build has no session with its client"
UPLOADS = "http://buildkit-session/"
"""Contexts that begin so are uploaded by the client on demand."""


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

    async def credentials(self, domain: str) -> AuthConfig | None:
        """What the client has for the registry ``domain``; None when it has nothing. Raises EngineError."""
        call = UnaryUnaryMethod(
            self._channel, "/moby.filesync.v1.Auth/Credentials", m.CredentialsRequest, m.CredentialsResponse
        )
        try:
            found = await call(m.CredentialsRequest(Host=HUB_HOST if domain == HUB else domain))
        except GRPCError as error:
            if error.status in (Status.NOT_FOUND, Status.UNIMPLEMENTED):
                return None
            raise EngineError(f"credentials for {domain}: {error.message}") from error
        if found.Username:
            return AuthConfig(username=found.Username, password=found.Secret, serveraddress=domain)
        return AuthConfig(identitytoken=found.Secret, serveraddress=domain) if found.Secret else None

    async def send_file(self, exporter: int, write: Callable[[Sink], object]) -> None:
        """Send what ``write`` writes to the client's exporter. Raises EngineError."""
        async with self._sending(exporter, m.BytesMessage) as stream:
            await send_file(stream, write)

    async def send_trees(self, exporter: int, trees: Sequence[Tree]) -> None:
        """Send directories to the client's exporter. Raises EngineError."""
        async with self._sending(exporter, m.Packet) as stream:
            await send_trees(stream, trees)

    @asynccontextmanager
    async def _sending(self, exporter: int, message: Any) -> AsyncIterator[Any]:
        method = StreamStreamMethod(self._channel, "/moby.filesync.v1.FileSend/DiffCopy", message, message)
        metadata = [("buildkit-attachable-exporter-id", str(exporter)), ("buildkit-exporter-multi-platform", "1")]
        try:
            async with method.open(metadata=metadata) as stream:
                yield stream
        except (GRPCError, StreamTerminatedError) as error:
            raise EngineError(f"failed to send the build's result: {error}") from error

    async def upload(self, url: str) -> AsyncIterator[bytes]:
        """What the client uploads under ``url``, which begins with ``UPLOADS``. Raises EngineError."""
        method = StreamStreamMethod(self._channel, "/moby.upload.v1.Upload/Pull", m.BytesMessage, m.BytesMessage)
        try:
            async with method.open(metadata=[("urlpath", f"/{url.removeprefix(UPLOADS)}")]) as stream:
                await stream.send_request(end=True)
                while (message := await stream.recv_message()) is not None:
                    yield bytes(message.data)
        except (GRPCError, StreamTerminatedError) as error:
            raise EngineError(f"failed to upload the build context: {error}") from error

    def content(self, store: str) -> ClientContent:
        """A content store of the client's, by the name that its options have for it."""
        return ClientContent(self._channel, store)

    def forward(self, id: str, socket: Path) -> AbstractAsyncContextManager[None]:
        """See ``build.request.Agents``."""
        return forwarded(self._channel, id, socket)

    async def synchronise(
        self, name: str, into: Path, *, exclude: Sequence[str] = (), follow: Sequence[str] = ()
    ) -> int:
        """Bring the client's directory ``name`` into ``into``; only what differs is sent. Raises EngineError.

        Returns how many bytes came.
        """
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
        except (GRPCError, StreamTerminatedError, ProtocolError) as error:
            if not receiver.complete:  # a sender that is done closes or resets its stream
                raise EngineError(f"failed to load {name}: {error}") from error
        finally:
            receiver.close()
            if receiver.complete:
                await in_thread(receiver.finish)
            os.close(root)
        return receiver.size


class NoSession(Session):
    """A build whose client has no session, and what came with its request instead."""

    def __init__(self, auths: Mapping[str, AuthConfig]) -> None:
        self._auths = auths
        self.shared_key = ""

    async def secret(self, id: str) -> bytes | None:
        """None."""
        return None

    async def credentials(self, domain: str) -> AuthConfig | None:
        """Those of the request."""
        return self._auths.get(HUB_KEY if domain == HUB else domain)

    def forward(self, id: str, socket: Path) -> AbstractAsyncContextManager[None]:
        """Raises NotFound."""
        return NoAgents().forward(id, socket)

    def content(self, store: str) -> ClientContent:
        """Raises NotFound, as all else that would need a client."""
        raise NotFound(NO_SESSION)

    async def upload(self, url: str) -> AsyncIterator[bytes]:
        raise NotFound(NO_SESSION)
        yield b""

    async def synchronise(
        self, name: str, into: Path, *, exclude: Sequence[str] = (), follow: Sequence[str] = ()
    ) -> int:
        raise NotFound(NO_SESSION)

    async def send_file(self, exporter: int, write: Callable[[Sink], object]) -> None:
        raise NotFound(NO_SESSION)

    async def send_trees(self, exporter: int, trees: Sequence[Tree]) -> None:
        raise NotFound(NO_SESSION)


async def _receive(receiver: Receiver, stream: Any) -> None:
    """Files come as many small messages: all that have come go to a thread together, and so do the answers back."""
    await stream.send_request()
    arriving = Arriving(stream)
    while not receiver.finished and (messages := await arriving.take()):
        was_complete = receiver.complete
        answers = await in_thread(_answers, receiver, messages)
        if receiver.complete and not was_complete:
            answers.append(m.Packet(type=FINISH))
        if answers:
            await send_together(stream, answers)
    await stream.end()


def _answers(receiver: Receiver, messages: Sequence[bytes]) -> list[Any]:
    parse = m.Packet.FromString
    return [answer for message in messages for answer in receiver.receive(parse(message))]


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
