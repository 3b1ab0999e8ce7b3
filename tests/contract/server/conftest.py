"""The server in front of a fake engine: services that keep what they were asked and answer with fixed values."""

import asyncio
import json as stdjson
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sampan.api import containers as c
from sampan.api import images as i
from sampan.api import networks as n
from sampan.api import progress
from sampan.api import system as s
from sampan.api import volumes as v
from sampan.api.descriptor import DistributionInspect, OCIDescriptor
from sampan.api.events import EventActor, EventMessage, EventsOptions
from sampan.api.exec import ExecCreateRequest, ExecCreateResponse, ExecInspect, ExecStartRequest
from sampan.api.filters import Filters
from sampan.api.hijack import Accept, Hijacked
from sampan.api.output import Archive, Output
from sampan.api.progress import Progress
from sampan.api.stats import ContainerStats
from sampan.api.stdcopy import Stream, frame
from sampan.errors import CommandNotFound, NoSuchContainer, NoSuchExec, NoSuchImage
from sampan.server.app import make_app
from sampan.server.listen import Server
from sampan.server.sockets import parse_address

ID = "a1" * 32


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


class Recorder:
    """Keeps the calls of a service."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def note(self, name: str, *arguments: Any) -> None:
        self.calls.append((name, arguments))


async def echo(connection: Hijacked, terminal: bool, stdin: bool = True) -> None:
    """Send back what comes, as a container running ``cat`` would; ends when the client ends its side."""
    loop = asyncio.get_running_loop()
    connected = connection.take()
    with connected:
        data = connection.early or (stdin and await loop.sock_recv(connected, 65536))
        while data:
            await loop.sock_sendall(connected, data if terminal else frame(Stream.STDOUT, data))
            data = await loop.sock_recv(connected, 65536)
        goodbye = b"bye\n"
        await loop.sock_sendall(connected, goodbye if terminal else frame(Stream.STDOUT, goodbye))


class FakeContainers(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.stopped = asyncio.Event()
        self.hold_stop = asyncio.Event()
        self.hold_stop.set()
        self.exited: asyncio.Future[c.ContainerWaitResponse] = asyncio.get_running_loop().create_future()
        self.log_closed = asyncio.Event()
        self.uploaded = b""
        self.terminal = False

    def find(self, reference: str) -> str:
        if reference not in ("web", ID, ID[:12]):
            raise NoSuchContainer(reference)
        return ID

    async def list(self, options: c.ListOptions) -> Sequence[c.ContainerSummary]:
        self.note("list", options)
        options.filters.validate(("label", "status", "id", "name"))
        endpoint = n.EndpointSettings(ip_address="172.17.0.2")
        return [
            c.ContainerSummary(
                id=ID,
                names=["/web"],
                image="busybox",
                image_id="sha256:" + "b" * 64,
                command="sleep 100",
                created=1_700_000_000,
                state="running",
                status="Up 3 seconds",
                host_config=c.SummaryHostConfig(network_mode="bridge"),
                network_settings=c.SummaryNetworkSettings(networks={"bridge": endpoint}),
                health=c.SummaryHealth(),
            )
        ]

    async def create(self, request: c.ContainerCreateRequest, *, name: str, platform: Any) -> c.ContainerCreateResponse:
        self.note("create", request, name, platform)
        return c.ContainerCreateResponse(id=ID)

    async def inspect(self, reference: str, *, size: bool = False) -> c.ContainerInspect:
        self.find(reference)
        bridge = n.EndpointSettings(ip_address="172.17.0.2", mac_address="02:42:ac:11:00:02", ip_prefix_len=16)
        inspection = c.ContainerInspect(id=ID, name="/web", state=c.ContainerState(status="running", running=True))
        inspection.network_settings.networks = {"bridge": bridge}
        inspection.host_config.network_mode, inspection.config.mac_address = "bridge", "02:00:00:00:00:01"
        inspection.config.tty, inspection.config.open_stdin = self.terminal, True
        return inspection

    async def top(self, reference: str, ps_args: str) -> c.ContainerTop:
        return c.ContainerTop(titles=["PID", "CMD"], processes=[["1", ps_args]])

    async def logs(self, reference: str, options: c.LogsOptions) -> Output:
        self.find(reference)
        self.note("logs", options)
        return Output(self.terminal, self._log(options))

    async def _log(self, options: c.LogsOptions) -> AsyncIterator[bytes]:
        try:
            yield frame(Stream.STDOUT, b"one\n")
            yield frame(Stream.STDERR, b"two\n")
            if options.follow:
                await asyncio.Event().wait()
        finally:
            self.log_closed.set()

    async def changes(self, reference: str) -> Sequence[c.FilesystemChange]:
        return [c.FilesystemChange(1, "/new")]

    async def export(self, reference: str) -> AsyncIterator[bytes]:
        return pieces(b"tar", b"ball")

    async def stats(self, reference: str, *, stream: bool, one_shot: bool) -> AsyncIterator[ContainerStats]:
        return self._stats(2 if stream else 1)

    async def _stats(self, count: int) -> AsyncIterator[ContainerStats]:
        for _ in range(count):
            yield ContainerStats(id=ID, name="/web")

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        self.note("resize", rows, columns)

    async def start(self, reference: str) -> bool:
        self.find(reference)
        self.note("start")
        return len(self.calls) < 2

    async def stop(self, reference: str, *, signal: str, timeout: int | None) -> bool:
        self.note("stop", signal, timeout)
        await self.hold_stop.wait()
        self.stopped.set()
        return True

    async def restart(self, reference: str, *, signal: str, timeout: int | None) -> None:
        self.note("restart", signal, timeout)

    async def kill(self, reference: str, *, signal: str) -> None:
        self.note("kill", signal)

    async def update(self, reference: str, request: c.ContainerUpdateRequest) -> c.ContainerUpdateResponse:
        self.note("update", request)
        return c.ContainerUpdateResponse()

    async def rename(self, reference: str, name: str) -> None:
        self.note("rename", name)

    async def pause(self, reference: str) -> None:
        self.note("pause")

    async def unpause(self, reference: str) -> None:
        self.note("unpause")

    async def attach(self, reference: str, options: c.AttachOptions, accept: Accept) -> None:
        self.find(reference)
        self.note("attach", options)
        await echo(await accept(self.terminal), self.terminal)

    async def wait(self, reference: str, condition: c.WaitCondition) -> Awaitable[c.ContainerWaitResponse]:
        self.find(reference)
        self.note("wait", condition)
        return self.exited

    async def remove(self, reference: str, options: c.RemoveOptions) -> None:
        self.find(reference)
        self.note("remove", options)

    async def stat_path(self, reference: str, path: str) -> c.PathStat:
        return c.PathStat(name="hosts", size=3, mode=0o644, mtime="2026-01-01T00:00:00Z")

    async def get_archive(self, reference: str, path: str) -> Archive:
        return Archive(await self.stat_path(reference, path), pieces(b"tar of ", path.encode()))

    async def put_archive(
        self,
        reference: str,
        path: str,
        body: AsyncIterator[bytes],
        *,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
    ) -> None:
        self.uploaded = b"".join([piece async for piece in body])

    async def prune(self, filters: Filters) -> c.ContainersPruneReport:
        filters.validate(("label", "label!", "until"))
        return c.ContainersPruneReport([ID], 42)


class FakeExecs(Recorder):
    fails = False
    stdin = True

    async def create(self, reference: str, request: ExecCreateRequest) -> ExecCreateResponse:
        self.note("create", request)
        self.stdin = request.attach_stdin
        return ExecCreateResponse("e1")

    async def start(self, exec_id: str, request: ExecStartRequest, accept: Accept | None) -> None:
        if exec_id != "e1":
            raise NoSuchExec(exec_id)
        self.note("start", request)
        if accept is None:
            return
        connection = await accept(request.tty)
        if self.fails:
            raise CommandNotFound('exec: "nope": executable file not found in $PATH')
        await echo(connection, request.tty, self.stdin)

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        self.note("resize", rows, columns)

    async def inspect(self, exec_id: str) -> ExecInspect:
        return ExecInspect(id=exec_id, exit_code=0, container_id=ID)


class FakeImages(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.loaded = b""

    async def list(self, options: i.ImageListOptions) -> Sequence[i.ImageSummary]:
        self.note("list", options)
        return [i.ImageSummary(id="sha256:" + "b" * 64, size=10, containers=2, descriptor=OCIDescriptor())]

    async def inspect(self, name: str, *, manifests: bool = False, platform: Any = None) -> i.ImageInspect:
        if name.startswith("missing"):
            raise NoSuchImage(name)
        self.note("inspect", name, manifests, platform)
        return i.ImageInspect(id="sha256:" + "b" * 64, repo_tags=[name], size=10, config=i.ImageConfig(cmd=["sh"]))

    async def history(self, name: str, *, platform: Any) -> Sequence[i.ImageHistoryItem]:
        return [i.ImageHistoryItem(created_by="sh")]

    async def tag(self, name: str, repository: str, tag: str) -> None:
        self.note("tag", name, repository, tag)

    async def remove(self, name: str, options: i.ImageRemoveOptions) -> Sequence[i.ImageDeleteItem]:
        return [i.ImageDeleteItem(untagged=name)]

    async def prune(self, filters: Filters) -> i.ImagesPruneReport:
        return i.ImagesPruneReport()

    async def pull(self, options: i.PullOptions, sink: Progress) -> None:
        self.note("pull", options)
        if options.reference == "missing:latest":
            raise NoSuchImage("missing:latest")
        await sink.send(progress.status("Pulling from library/busybox", "latest"))
        if options.reference == "broken:latest":
            raise NoSuchImage("a layer")
        if options.reference == "unforeseen:latest":
            raise OSError(5, "Input/output error")
        await sink.send(progress.advance("Downloading", "aa", 1, 2))

    async def push(self, options: i.PushOptions, sink: Progress) -> None:
        self.note("push", options)
        await sink.send(progress.Message(aux=progress.PushResult(options.tag, "sha256:x", 3)))

    async def import_(self, options: i.ImportOptions, body: AsyncIterator[bytes], sink: Progress) -> None:
        self.note("import", options, b"".join([piece async for piece in body]))
        await sink.send(progress.status("sha256:new"))

    async def load(self, body: AsyncIterator[bytes], sink: Progress, *, quiet: bool, platforms: Any) -> None:
        self.loaded = b"".join([piece async for piece in body])
        if not self.loaded:
            raise NoSuchImage("empty")
        await sink.send(progress.stream("Loaded image: busybox:latest\n"))

    async def save(self, names: Sequence[str], *, platforms: Any) -> AsyncIterator[bytes]:
        return pieces(b"saved ", ",".join(names).encode())

    async def commit(self, options: i.CommitOptions, config: c.ContainerConfig | None) -> str:
        self.note("commit", options, config)
        return "sha256:" + "c" * 64

    async def search(self, term: str, *, limit: int, filters: Filters, auth: Any) -> Sequence[i.ImageSearchResult]:
        return [i.ImageSearchResult(name=term)]

    async def distribution(self, name: str, auth: Any) -> DistributionInspect:
        self.note("distribution", name, auth)
        return DistributionInspect()

    async def attestations(self, name: str, *, platforms: Any, types: Any, statement: bool) -> Sequence[Any]:
        return []


class FakeNetworks(Recorder):
    async def create(self, request: n.NetworkCreateRequest) -> n.NetworkCreateResponse:
        self.note("create", request)
        return n.NetworkCreateResponse("n1")

    async def inspect(self, reference: str, *, verbose: bool, scope: str) -> n.NetworkInspect:
        return n.NetworkInspect(name=reference, id="n1", status=n.NetworkStatus())

    async def list(self, filters: Filters) -> Sequence[n.NetworkSummary]:
        return [n.NetworkSummary(name="bridge", id="n1", driver="bridge")]

    async def remove(self, reference: str) -> None:
        self.note("remove", reference)

    async def connect(self, reference: str, request: n.NetworkConnectRequest) -> None:
        self.note("connect", reference, request)

    async def disconnect(self, reference: str, request: n.NetworkDisconnectRequest) -> None:
        self.note("disconnect", reference, request)

    async def prune(self, filters: Filters) -> n.NetworksPruneReport:
        return n.NetworksPruneReport(["old"])


class FakeVolumes(Recorder):
    async def create(self, request: v.VolumeCreateRequest) -> v.Volume:
        self.note("create", request)
        return v.Volume(name=request.name, driver="local")

    async def inspect(self, name: str) -> v.Volume:
        return v.Volume(name=name, driver="local")

    async def list(self, filters: Filters) -> v.VolumeListResponse:
        return v.VolumeListResponse([v.Volume(name="data", driver="local")])

    async def remove(self, name: str, *, force: bool) -> None:
        self.note("remove", name, force)

    async def prune(self, filters: Filters) -> v.VolumesPruneReport:
        self.note("prune", filters)
        return v.VolumesPruneReport()

    async def clone(self, name: str, to: str) -> v.Volume:
        self.note("clone", name, to)
        return v.Volume(name=to, driver="local")

    async def snapshot(self, name: str) -> v.Volume:
        return v.Volume(name=f"{name}-now", driver="local")

    async def rename(self, name: str, to: str) -> v.Volume:
        self.note("rename", name, to)
        return v.Volume(name=to, driver="local")

    async def export(self, name: str) -> AsyncIterator[bytes]:
        return self._content(name)

    async def _content(self, name: str) -> AsyncIterator[bytes]:
        yield name.encode()

    async def import_(self, name: str, body: AsyncIterator[bytes]) -> v.Volume:
        self.note("import", name, b"".join([chunk async for chunk in body]))
        return v.Volume(name=name, driver="local")


class FakeEvents(Recorder):
    async def subscribe(self, options: EventsOptions) -> AsyncIterator[EventMessage]:
        self.note("subscribe", options)
        return self._events()

    async def _events(self) -> AsyncIterator[EventMessage]:
        yield EventMessage("image", "create", EventActor("sha256:b"))
        yield EventMessage("container", "start", EventActor(ID, {"image": "busybox"}), "local", 7, 7_000_000_001)


class FakeSystem(Recorder):
    async def info(self) -> s.SystemInfo:
        return s.SystemInfo(
            id="fake", name="host", containers=1, server_version="0", firewall_backend=s.FirewallInfo("nftables")
        )

    async def version(self) -> s.SystemVersion:
        return s.SystemVersion(version="0.1", api_version="1.55", min_api_version="1.24", arch="amd64")

    async def disk_usage(self, types: frozenset[str]) -> s.DiskUsage:
        self.note("disk_usage", types)
        images = s.ImagesUsage(items=[i.ImageSummary(id="sha256:b")], total_count=1, total_size=10)
        return s.DiskUsage(image_usage=images, volume_usage=s.VolumesUsage() if "volume" in types else None)

    async def authenticate(self, auth: i.AuthConfig) -> i.AuthResponse:
        self.note("authenticate", auth)
        return i.AuthResponse()


class FakeBuilder(Recorder):
    async def build(self, options: Any, context: AsyncIterator[bytes], sink: Progress) -> None:
        self.note("build", options, b"".join([piece async for piece in context]))
        await sink.send(progress.stream("Step 1/1 : FROM scratch\n"))
        await sink.send(progress.Message(aux=progress.ImageID("sha256:built")))

    async def cancel(self, build_id: str) -> None:
        self.note("cancel", build_id)

    async def prune(self, options: Any) -> s.BuildCachePruneReport:
        self.note("prune", options)
        return s.BuildCachePruneReport()

    async def serve_grpc(self, connection: Hijacked) -> None:
        self.note("serve_grpc", connection.early)
        await echo(connection, True)

    async def serve_session(self, connection: Hijacked, headers: Mapping[str, str]) -> None:
        self.note("serve_session", dict(headers))
        await echo(connection, True)


class FakeEngine:
    def __init__(self) -> None:
        self.containers = FakeContainers()
        self.execs = FakeExecs()
        self.images = FakeImages()
        self.networks = FakeNetworks()
        self.volumes = FakeVolumes()
        self.events = FakeEvents()
        self.system = FakeSystem()
        self.builder = FakeBuilder()


class Client:
    """A client of the server on its unix socket."""

    def __init__(self, session: aiohttp.ClientSession, path: Path) -> None:
        self.session = session
        self.path = path

    async def call(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one request; ``body`` is sent as JSON unless it is bytes or ``None``."""
        headers = options.pop("headers", {})
        if isinstance(body, bytes):
            options["data"] = body
        elif body is not None:
            options["data"] = stdjson.dumps(body).encode()
            headers = {"Content-Type": "application/json", **headers}
        url = "http://docker" + path
        async with self.session.request(method, url, headers=headers, **options) as response:
            return response.status, response.headers, await response.read()

    async def json(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The decoded body of a request that must succeed."""
        status, _, data = await self.call(method, path, body, **options)
        assert status < 300, data
        return stdjson.loads(data)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A raw connection."""
        return await asyncio.open_unix_connection(str(self.path))


@pytest.fixture
async def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def client(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Client]:
    path = tmp_path / "api.sock"
    server = Server(make_app(engine))
    await server.start([parse_address(f"unix://{path}")])
    session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path), limit=0), auto_decompress=False)
    async with session:
        yield Client(session, path)
    await server.close()
    assert not path.exists()
