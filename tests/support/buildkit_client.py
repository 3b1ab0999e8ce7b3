"""A client of BuildKit's protocol as far as tests need one: the calls of buildx, in its order, and a session."""

import asyncio
import hashlib
import socket
import stat
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.client import StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from sampan.api.hijack import Hijacked
from sampan.build.buildkit import messages as m
from sampan.build.buildkit.connection import SessionChannel, serve
from sampan.build.buildkit.filesync import DATA, FINISH, GO_DIRECTORY, REQUEST, STAT, unix_mode

CONTROL = "/moby.buildkit.v1.Control/"
CONTENT = "/containerd.services.content.v1.Content/"
COMMIT = 2
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"


def upgraded(path: Path, target: str, headers: Mapping[str, str] | None = None) -> Hijacked:
    """A connection that was upgraded by ``POST target``."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    lines = [f"POST {target} HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = connection.recv(1)
        assert received, answer
        answer += received
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    connection.setblocking(False)
    return Hijacked(connection)


class Client:
    """The services that a client offers: a directory as FileSync, and secrets. ``sent`` are the files sent."""

    def __init__(self, root: Path, secrets: Mapping[str, bytes] | None = None, *, takes_tree: bool = False) -> None:
        self._root = root
        self.takes_tree = takes_tree
        self._secrets = secrets or {}
        self.sent: list[str] = []
        self.received = b""
        self.tree: dict[str, bytes] = {}
        self.asked_for: list[str] = []
        self.blobs: dict[str, bytes] = {}
        """Its content store: what was written there, by digest."""

    async def take(self, stream: Any) -> None:
        """FileSend: a file."""
        while (message := await stream.recv_message()) is not None:
            self.received += message.data

    async def take_tree(self, stream: Any) -> None:
        """FileSend: a tree, all of its files asked for."""
        names: list[str] = []
        missing = 0
        while (packet := await stream.recv_message()) is not None:
            if packet.type == STAT and packet.HasField("stat"):
                if stat.S_ISREG(unix_mode(packet.stat.mode)):
                    await stream.send_message(m.Packet(type=REQUEST, ID=len(names)))
                    missing += 1
                names.append(packet.stat.path)
            elif packet.type == DATA and packet.data:
                self.tree[names[packet.ID]] = self.tree.get(names[packet.ID], b"") + packet.data
            elif packet.type == DATA:
                missing -= 1
                if not missing:
                    await stream.send_message(m.Packet(type=FINISH))
            elif packet.type == FINISH:
                return

    async def credentials(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.asked_for.append(request.Host)
        await stream.send_message(m.CredentialsResponse(Username="u", Secret="p"))

    async def info(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.digest not in self.blobs:
            raise GRPCError(Status.NOT_FOUND, "not found")
        found = m.ContentInfo(digest=request.digest, size=len(self.blobs[request.digest]))
        await stream.send_message(m.InfoContentResponse(info=found))

    async def write(self, stream: Any) -> None:
        data = b""
        while (message := await stream.recv_message()) is not None:
            assert message.offset in (0, len(data))
            data += message.data
            if message.action == COMMIT:
                assert message.expected == f"sha256:{hashlib.sha256(data).hexdigest()}"
                assert message.total == len(data)
                self.blobs[message.expected] = data
            await stream.send_message(m.WriteContentResponse(action=message.action, offset=len(data)))
            if message.action == COMMIT:
                return

    async def read(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.digest not in self.blobs:
            raise GRPCError(Status.NOT_FOUND, "not found")
        await stream.send_message(m.ReadContentResponse(data=self.blobs[request.digest]))

    async def diff_copy(self, stream: Any) -> None:
        include = stream.metadata.getall("include-patterns", [])
        paths = sorted(path for path in self._root.rglob("*") if not include or path.name in include)
        for path in paths:
            status = path.lstat()
            mode = stat.S_IMODE(status.st_mode) | (GO_DIRECTORY if path.is_dir() else 0)
            named = m.Stat(
                path=str(path.relative_to(self._root)), mode=mode, size=status.st_size, modTime=status.st_mtime_ns
            )
            await stream.send_message(m.Packet(type=STAT, stat=named))
        await stream.send_message(m.Packet(type=STAT))
        while (packet := await stream.recv_message()) is not None and packet.type != FINISH:
            assert packet.type == REQUEST
            self.sent.append(paths[packet.ID].name)
            await stream.send_message(m.Packet(type=DATA, ID=packet.ID, data=paths[packet.ID].read_bytes()))
            await stream.send_message(m.Packet(type=DATA, ID=packet.ID))
        await stream.send_message(m.Packet(type=FINISH))

    async def get_secret(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.ID not in self._secrets:
            raise GRPCError(Status.NOT_FOUND, "no such secret")
        await stream.send_message(m.GetSecretResponse(data=self._secrets[request.ID]))

    def __mapping__(self) -> dict[str, Handler]:
        both = Cardinality.STREAM_STREAM
        sending = Handler(self.take_tree, both, m.Packet, m.Packet)
        if not self.takes_tree:
            sending = Handler(self.take, both, m.BytesMessage, m.BytesMessage)
        one = Cardinality.UNARY_UNARY
        return {
            CONTENT + "Info": Handler(self.info, one, m.InfoContentRequest, m.InfoContentResponse),
            CONTENT + "Write": Handler(self.write, both, m.WriteContentRequest, m.WriteContentResponse),
            CONTENT + "Read": Handler(self.read, Cardinality.UNARY_STREAM, m.ReadContentRequest, m.ReadContentResponse),
            "/moby.filesync.v1.FileSend/DiffCopy": sending,
            "/moby.filesync.v1.Auth/Credentials": Handler(
                self.credentials, one, m.CredentialsRequest, m.CredentialsResponse
            ),
            "/moby.filesync.v1.FileSync/DiffCopy": Handler(
                self.diff_copy, Cardinality.STREAM_STREAM, m.Packet, m.Packet
            ),
            "/moby.buildkit.secrets.v1.Secrets/GetSecret": Handler(
                self.get_secret, one, m.GetSecretRequest, m.GetSecretResponse
            ),
        }


@asynccontextmanager
async def control(path: Path) -> AsyncIterator[SessionChannel]:
    """A channel to ``/grpc``."""
    channel = SessionChannel(await asyncio.to_thread(upgraded, path, "/grpc"))
    await channel.adopt()
    try:
        yield channel
    finally:
        channel.close()


@asynccontextmanager
async def tunnel(channel: SessionChannel, headers: Mapping[str, str]) -> AsyncIterator[Hijacked]:
    """A connection through ``Control.Session``."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    loop = asyncio.get_running_loop()
    method = StreamStreamMethod(channel, CONTROL + "Session", m.BytesMessage, m.BytesMessage)
    metadata = {name.lower(): value for name, value in headers.items()}
    async with method.open(metadata=metadata) as stream:

        async def send() -> None:
            while data := await loop.sock_recv(ours, 65536):
                await stream.send_message(m.BytesMessage(data=data))

        async def receive() -> None:
            while (message := await stream.recv_message()) is not None:
                await loop.sock_sendall(ours, message.data)

        await stream.send_request()
        copying = [asyncio.ensure_future(work) for work in (send(), receive())]
        try:
            yield Hijacked(theirs)
        finally:
            for work in copying:
                work.cancel()
            await asyncio.gather(*copying, return_exceptions=True)
            ours.close()
            await stream.cancel()


@asynccontextmanager
async def attached(path: Path, client: Client, session: str, key: str = "k") -> AsyncIterator[None]:
    """``client`` as the session of that ID, until the block ends."""
    headers = {"X-Docker-Expose-Session-Uuid": session, "X-Docker-Expose-Session-Sharedkey": key}
    serving = asyncio.ensure_future(serve(await asyncio.to_thread(upgraded, path, "/session", headers), [client]))
    try:
        yield
    finally:
        serving.cancel()


async def build(
    path: Path,
    client: Client,
    options: Mapping[str, str],
    name: str,
    key: str = "k",
    exporter: Any = None,
    caches: Any = None,
    *,
    tunnelled: bool = False,
) -> tuple[Any, Any]:
    """Build as buildx does; returns the answer of ``Control.Solve`` and all progress.

    A session that is ``tunnelled`` goes through ``Control.Session``, as buildx's other drivers do it.
    """
    session, ref = uuid.uuid4().hex, uuid.uuid4().hex
    headers = {"X-Docker-Expose-Session-Uuid": session, "X-Docker-Expose-Session-Sharedkey": key}
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(control(path))
        if tunnelled:
            connection = await stack.enter_async_context(tunnel(channel, headers))
            stack.callback(asyncio.ensure_future(serve(connection, [client])).cancel)
        else:
            await stack.enter_async_context(attached(path, client, session, key))
        solve = UnaryUnaryMethod(channel, CONTROL + "Solve", m.ControlSolveRequest, m.ControlSolveResponse)
        status = UnaryStreamMethod(channel, CONTROL + "Status", m.StatusRequest, m.StatusResponse)
        bridge = UnaryUnaryMethod(channel, BRIDGE + "Solve", m.SolveRequest, m.SolveResponse)
        finish = UnaryUnaryMethod(channel, BRIDGE + "Return", m.ReturnRequest, m.Empty)
        exporter = exporter or m.Exporter(Type="moby", Attrs={"name": name})
        asked = m.ControlSolveRequest(Ref=ref, Session=session, Exporters=[exporter], Cache=caches)
        solving = asyncio.ensure_future(solve(asked))
        following = asyncio.ensure_future(status(m.StatusRequest(Ref=ref)))
        stack.push_async_callback(_ended, solving, following)
        metadata = {"buildkit-controlapi-buildid": ref}
        try:
            built = await bridge(m.SolveRequest(Frontend="dockerfile.v0", FrontendOpt=options), metadata=metadata)
            await finish(m.ReturnRequest(result=built.result), metadata=metadata)
        except GRPCError as error:
            failed = m.Status(code=error.status.value, message=error.message, details=error.details or [])
            await finish(m.ReturnRequest(error=failed), metadata=metadata)
        return await solving, await following


async def _ended(*tasks: "asyncio.Future[Any]") -> None:
    """Nothing of a build goes on, and no failure of it stays unseen."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
