"""BuildKit's protocol, spoken by hand: the calls that buildx makes, in its order, on upgraded connections."""

import asyncio
import io
import json
import socket
import stat
import tarfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from grpclib.client import UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from sampan.api.hijack import Hijacked
from sampan.build.buildkit import messages as m
from sampan.build.buildkit.connection import SessionChannel, serve
from sampan.build.buildkit.filesync import DATA, FINISH, GO_DIRECTORY, REQUEST, STAT, unix_mode

CONTROL = "/moby.buildkit.v1.Control/"
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
        return {
            "/moby.filesync.v1.FileSend/DiffCopy": sending,
            "/moby.filesync.v1.Auth/Credentials": Handler(
                self.credentials, Cardinality.UNARY_UNARY, m.CredentialsRequest, m.CredentialsResponse
            ),
            "/moby.filesync.v1.FileSync/DiffCopy": Handler(
                self.diff_copy, Cardinality.STREAM_STREAM, m.Packet, m.Packet
            ),
            "/moby.buildkit.secrets.v1.Secrets/GetSecret": Handler(
                self.get_secret, Cardinality.UNARY_UNARY, m.GetSecretRequest, m.GetSecretResponse
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


async def build(
    path: Path, client: Client, options: Mapping[str, str], name: str, key: str = "k", exporter: Any = None
) -> tuple[Any, Any]:
    """Build as buildx does; returns the answer of ``Control.Solve`` and all progress."""
    session, ref = uuid.uuid4().hex, uuid.uuid4().hex
    headers = {"X-Docker-Expose-Session-Uuid": session, "X-Docker-Expose-Session-Sharedkey": key}
    async with AsyncExitStack() as stack:
        connection = await asyncio.to_thread(upgraded, path, "/session", headers)
        serving = asyncio.ensure_future(serve(connection, [client]))
        stack.callback(serving.cancel)
        channel = await stack.enter_async_context(control(path))
        solve = UnaryUnaryMethod(channel, CONTROL + "Solve", m.ControlSolveRequest, m.ControlSolveResponse)
        status = UnaryStreamMethod(channel, CONTROL + "Status", m.StatusRequest, m.StatusResponse)
        bridge = UnaryUnaryMethod(channel, BRIDGE + "Solve", m.SolveRequest, m.SolveResponse)
        finish = UnaryUnaryMethod(channel, BRIDGE + "Return", m.ReturnRequest, m.Empty)
        exporter = exporter or m.Exporter(Type="moby", Attrs={"name": name})
        solving = asyncio.ensure_future(solve(m.ControlSolveRequest(Ref=ref, Session=session, Exporters=[exporter])))
        following = asyncio.ensure_future(status(m.StatusRequest(Ref=ref)))
        metadata = {"buildkit-controlapi-buildid": ref}
        try:
            built = await bridge(m.SolveRequest(Frontend="dockerfile.v0", FrontendOpt=options), metadata=metadata)
            await finish(m.ReturnRequest(result=built.result), metadata=metadata)
        except GRPCError as error:
            failed = m.Status(code=error.status.value, message=error.message)
            await finish(m.ReturnRequest(error=failed), metadata=metadata)
        return await solving, await following


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "a").write_text("content")
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY a /a\nRUN --mount=type=secret,id=s cat /run/secrets/s; echo said\nCMD cat /a\n"
    )
    return tmp_path


async def test_a_build_over_grpc_makes_a_named_image(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    answer, progress = await build(daemon.socket, Client(context, {"s": b"hidden"}), {}, "over/grpc")
    image = client.images.get("over/grpc:latest")
    assert answer.ExporterResponse["containerimage.config.digest"] == image.id
    assert client.containers.run("over/grpc", remove=True) == b"content"
    logs = b"".join(log.msg for response in progress for log in response.logs)
    assert b"hidden" in logs
    assert b"said" in logs
    completed = [v for response in progress for v in response.vertexes if v.HasField("completed")]
    shown = [v.name for v in completed]
    assert [name for name in shown if name.startswith("[internal]")] == [
        "[internal] load build definition from Dockerfile",
        "[internal] load .dockerignore",
        "[internal] load build context",
        "[internal] load metadata for docker.io/library/busybox:latest",
    ]
    assert [name.partition(" --")[0] for name in shown if name.startswith(("[1/", "[2/", "[3/"))] == [
        "[1/3] FROM docker.io/library/busybox:latest",
        "[2/3] COPY a /a",
        "[3/3] RUN",
    ]
    tasks = {status.ID for response in progress for status in response.statuses}
    assert {f"writing image {image.id}", "naming to docker.io/over/grpc:latest"} <= tasks
    assert client.containers.run("over/grpc", ["sh", "-c", "ls /run/secrets 2>/dev/null || true"], remove=True) == b""


async def test_only_changed_files_are_sent_again(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    await build(daemon.socket, Client(context), {}, "sync", "shared")
    (context / "a").write_text("changed!")
    again = Client(context)
    await build(daemon.socket, again, {}, "sync", "shared")
    assert again.sent == ["a"]
    assert client.containers.run("sync", remove=True) == b"changed!"


async def test_a_failure_reaches_both_calls(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN exit 5\n")
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), {}, "never")
    assert caught.value.message == 'process "/bin/sh -c exit 5" did not complete successfully: exit code: 5'


async def test_the_daemon_says_what_it_can_do(daemon: Any) -> None:
    async with control(daemon.socket) as channel:
        workers = UnaryUnaryMethod(channel, CONTROL + "ListWorkers", m.Empty, m.ListWorkersResponse)
        (worker,) = (await workers(m.Empty())).record
        assert worker.platforms[0].OS == "linux"
        ping = UnaryUnaryMethod(channel, BRIDGE + "Ping", m.Empty, m.PongResponse)
        assert "solve.base" in {cap.ID for cap in (await ping(m.Empty())).FrontendAPICaps}
        history = UnaryUnaryMethod(channel, CONTROL + "ListenBuildHistory", m.Empty, m.Empty)
        with pytest.raises(GRPCError) as caught:
            await history(m.Empty())
        assert caught.value.status == Status.UNIMPLEMENTED


PLAIN = "FROM scratch\nCOPY a /dir/a\n"


async def test_files_go_to_the_client_as_a_tree(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    (context / "Dockerfile").write_text(PLAIN)
    taking, images = Client(context, takes_tree=True), len(client.images.list())
    await build(daemon.socket, taking, {}, "", exporter=m.Exporter(Type="local"))
    assert taking.tree == {"dir/a": b"content"}
    assert len(client.images.list()) == images


@pytest.mark.parametrize(("kind", "member"), [("tar", "dir/a"), ("oci", "oci-layout"), ("docker", "manifest.json")])
async def test_archives_go_to_the_client(daemon: Any, context: Path, kind: str, member: str) -> None:
    (context / "Dockerfile").write_text(PLAIN)
    taking = Client(context)
    await build(daemon.socket, taking, {}, "", exporter=m.Exporter(Type=kind))
    with tarfile.open(fileobj=io.BytesIO(taking.received)) as archive:
        assert member in archive.getnames()


async def test_the_digest_of_an_image_that_stays_here_is_its_id(
    daemon: Any, client: docker.DockerClient, context: Path
) -> None:
    (context / "Dockerfile").write_text(PLAIN)
    answer, _ = await build(daemon.socket, Client(context), {}, "staying")
    assert answer.ExporterResponse["containerimage.digest"] == client.images.get("staying").id


async def test_several_platforms_make_an_index(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    (context / "Dockerfile").write_text(PLAIN)
    answer, _ = await build(daemon.socket, Client(context), {"platform": "linux/amd64,linux/arm64"}, "several")
    with tarfile.open(fileobj=io.BytesIO(b"".join(client.images.get("several").save(named=True)))) as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["digest"] == answer.ExporterResponse["containerimage.digest"]
    assert "index" in index["manifests"][0]["mediaType"]


async def test_a_named_context_takes_the_place_of_an_image(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM nowhere.invalid/base\nRUN ls /bin/busybox\n")
    options = {"context:nowhere.invalid/base": "docker-image://busybox"}
    _, progress = await build(daemon.socket, Client(context), options, "named")
    assert b"/bin/busybox" in b"".join(log.msg for response in progress for log in response.logs)


async def test_base_images_are_pulled_with_the_clients_credentials(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM 127.0.0.1:9/none\n")
    asked = Client(context)
    with pytest.raises(GRPCError):
        await build(daemon.socket, asked, {}, "never")
    assert asked.asked_for == ["127.0.0.1:9"]


async def test_what_checks_find_is_shown_as_warnings(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nMAINTAINER me\n")
    _, progress = await build(daemon.socket, Client(context), {}, "warned")
    (warning,) = [warning for response in progress for warning in response.warnings]
    assert warning.short.startswith(b"MaintainerDeprecated: ")
    assert warning.ranges[0].start.line == 2


async def test_what_cannot_be_exported_is_refused_before_the_build(daemon: Any, context: Path) -> None:
    exporter = m.Exporter(Type="oci", Attrs={"compression": "zstd"})
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), {}, "", exporter=exporter)
    assert caught.value.message == "exporter 'oci': compression=zstd is not supported"


async def test_a_prune_removes_what_its_filter_means(daemon: Any, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /pruned\n")
    await build(daemon.socket, Client(context), {}, "pruned")
    async with control(daemon.socket) as channel:
        prune = UnaryStreamMethod(channel, CONTROL + "Prune", m.PruneRequest, m.UsageRecord)
        usage = UnaryUnaryMethod(channel, CONTROL + "DiskUsage", m.Empty, m.DiskUsageResponse)
        known = {record.ID for record in (await usage(m.Empty())).record if "/pruned" in record.Description}
        gone = await prune(m.PruneRequest(filter=[f"id~={next(iter(known))}"]))
        assert {record.ID for record in gone} == known
        assert not known & {record.ID for record in (await usage(m.Empty())).record}
        with pytest.raises(GRPCError) as caught:
            await prune(m.PruneRequest(filter=["size~=1"]))
        assert caught.value.status == Status.UNIMPLEMENTED
