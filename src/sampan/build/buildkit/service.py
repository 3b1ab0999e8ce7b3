"""The services of ``/grpc``: ``Control`` and ``LLBBridge``. A method decodes, does one thing, encodes.

Methods in ``REFUSED`` answer UNIMPLEMENTED, which clients take as "this daemon cannot do that".
"""

from collections.abc import Callable, Mapping
from typing import Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from sampan.build.builder import Workshop, build_image
from sampan.build.buildkit import messages as m
from sampan.build.buildkit.frontend import Frontend
from sampan.build.buildkit.session import Sessions
from sampan.build.buildkit.solves import Solve, Solves
from sampan.errors import EngineError, NotFound, Unsupported
from sampan.oci.platform import host
from sampan.storage.images import Image

CONTROL = "/moby.buildkit.v1.Control/"
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
BUILD_ID = "buildkit-controlapi-buildid"
FRONTENDS = ("dockerfile.v0", "gateway.v0")
EXPORTERS = ("moby", "image", "docker")
FRONTEND_CAPS = (
    "solve.base", "solve.inlinereturn", "resolveimage", "readfile", "return", "returnmap", "readdir", "statfile",
    "importcaches", "proto.refarray", "frontend.inputs", "gateway.solve.metadata", "frontend.caps",
)  # fmt: skip
LLB_CAPS = (
    "source.local", "source.local.unique", "source.local.sessionid", "source.local.includepatterns",
    "source.local.followpaths", "source.local.excludepatterns", "source.local.sharedkeyhint", "exec.meta.base",
    "exec.meta.network", "exec.meta.security", "exec.mount.bind", "exec.mount.cache", "exec.mount.secret",
    "file.base", "constraints", "platform", "meta.ignorecache", "meta.description",
)  # fmt: skip
REFUSED = {
    CONTROL: ("Session", "ListenBuildHistory", "UpdateBuildHistory"),
    BRIDGE: (
        "ResolveImageConfig", "ResolveSourceMeta", "ReadFile", "ReadDir", "StatFile", "Evaluate", "Inputs",
        "NewContainer", "ReleaseContainer", "ExecProcess", "ReadFileContainer", "ReadDirContainer",
        "StatFileContainer", "Warn",
    ),
}  # fmt: skip
"""Methods that clients may try and can do without; grpclib's own refusal lacks the content type."""
TagImage = Callable[[Image, str], None]
"""``tag(image, name)``: give the image a name and announce it; raises InvalidParameter."""


class Service:
    """Both services of one engine; a connection's handlers are made of ``Control`` and ``Bridge`` below."""

    def __init__(self, workshop: Workshop, frontend: Frontend, tag: TagImage, version: str) -> None:
        self.workshop = workshop
        self.frontend = frontend
        self.tag = tag
        self.version = version
        self.sessions = Sessions()
        self.solves = Solves()

    def worker(self) -> Any:
        """The one worker there is."""
        own = host()
        return m.WorkerRecord(
            ID="sampan",
            platforms=[m.Platform(Architecture=own.architecture, OS=own.os, Variant=own.variant)],
            BuildkitVersion=self.buildkit_version(),
        )

    def buildkit_version(self) -> Any:
        return m.BuildkitVersion(package="sampan", version=self.version)

    async def build(self, solve: Solve, options: Mapping[str, str]) -> Image:
        """Build a Dockerfile for a client. Raises EngineError."""
        session = await self.sessions.get(solve.request.Session)
        async with self.frontend.request(options, session) as request:
            return await build_image(self.workshop, request, solve.log)

    def export(self, solve: Solve) -> dict[str, str]:
        """Do what the exporters ask of the result; returns what clients are told. Raises EngineError."""
        image = solve.result
        if image is None:
            return {}
        answer: dict[str, str] = {
            "containerimage.digest": image.manifest.digest,
            "containerimage.config.digest": image.id,
        }
        for exporter in solve.request.Exporters:
            if exporter.Type not in EXPORTERS or exporter.Attrs.get("push", "false") == "true":
                raise Unsupported(f"exporter {exporter.Type!r} is not supported: images go to this engine's own store")
            names = [name for name in exporter.Attrs.get("name", "").split(",") if name]
            for name in names:
                self.tag(image, name)
            if names:
                answer["image.name"] = ",".join(names)
        return answer


def grpc_error(error: EngineError) -> GRPCError:
    """An error as gRPC has it."""
    message = getattr(error, "buildkit_message", error.message)
    if isinstance(error, Unsupported):
        return GRPCError(Status.UNIMPLEMENTED, message)
    return GRPCError(Status.NOT_FOUND if isinstance(error, NotFound) else Status.UNKNOWN, message)


async def refuse(stream: Any) -> None:
    """Answer UNIMPLEMENTED."""
    raise GRPCError(Status.UNIMPLEMENTED, "this daemon does not implement the method")


def refused(service: str) -> dict[str, Handler]:
    """Handlers of the methods of ``service`` that are refused."""
    return {service + name: Handler(refuse, Cardinality.UNARY_STREAM, m.Empty, m.Empty) for name in REFUSED[service]}


class Control:
    """``moby.buildkit.v1.Control``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def solve(self, stream: Any) -> None:
        """Blocks until the client returns a result through the bridge, then exports it."""
        request = await stream.recv_message()
        solves = self._service.solves
        solve = await solves.begin(request.Ref, request)
        try:
            if request.Frontend:
                solve.result = await self._service.build(solve, request.FrontendAttrs)
            elif (error := await solve.returned) is not None:
                raise GRPCError(Status.UNKNOWN, error)
            await stream.send_message(m.ControlSolveResponse(ExporterResponse=self._service.export(solve)))
        except EngineError as error:
            raise grpc_error(error) from error
        finally:
            await solves.end(solve)

    async def status(self, stream: Any) -> None:
        """Progress until the build ends."""
        request = await stream.recv_message()
        try:
            solve = await self._service.solves.get(request.Ref)
        except NotFound as error:
            raise grpc_error(error) from error
        await stream.send_initial_metadata()
        async for response in solve.log.follow():
            await stream.send_message(response)

    async def list_workers(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(m.ListWorkersResponse(record=[self._service.worker()]))

    async def info(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(m.InfoResponse(buildkitVersion=self._service.buildkit_version()))

    async def disk_usage(self, stream: Any) -> None:
        """The build cache's entries."""
        await stream.recv_message()
        records = [
            m.UsageRecord(
                ID=key[:25],
                Size=entry.size,
                Description=entry.description,
                RecordType="regular",
                UsageCount=entry.uses,
                CreatedAt=_moment(entry.stored_at),
                LastUsedAt=_moment(entry.used_at),
            )
            for key, entry in self._service.workshop.cache.entries()
        ]
        await stream.send_message(m.DiskUsageResponse(record=records))

    async def prune(self, stream: Any) -> None:
        """Forget cache entries, each told as it goes."""
        request = await stream.recv_message()
        if request.filter:
            raise GRPCError(Status.UNIMPLEMENTED, "prune filters are not supported")
        await stream.send_initial_metadata()
        cache = self._service.workshop.cache
        for key, entry in cache.entries():
            cache.drop(key)
            await stream.send_message(m.UsageRecord(ID=key[:25], Size=entry.size, Description=entry.description))
        self._service.workshop.storage.collect()

    def __mapping__(self) -> dict[str, Handler]:
        one, many = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            **refused(CONTROL),
            CONTROL + "Solve": Handler(self.solve, one, m.ControlSolveRequest, m.ControlSolveResponse),
            CONTROL + "Status": Handler(self.status, many, m.StatusRequest, m.StatusResponse),
            CONTROL + "ListWorkers": Handler(self.list_workers, one, m.Empty, m.ListWorkersResponse),
            CONTROL + "Info": Handler(self.info, one, m.Empty, m.InfoResponse),
            CONTROL + "DiskUsage": Handler(self.disk_usage, one, m.Empty, m.DiskUsageResponse),
            CONTROL + "Prune": Handler(self.prune, many, m.PruneRequest, m.UsageRecord),
        }


class Bridge:
    """``moby.buildkit.v1.frontend.LLBBridge``: the client's side of a build that ``Control.Solve`` began."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def ping(self, stream: Any) -> None:
        """What this daemon can do; what is left out clients will not ask for."""
        await stream.recv_message()
        await stream.send_message(
            m.PongResponse(
                FrontendAPICaps=[m.APICap(ID=name, Enabled=True) for name in FRONTEND_CAPS],
                LLBCaps=[m.APICap(ID=name, Enabled=True) for name in LLB_CAPS],
                Workers=[self._service.worker()],
            )
        )

    async def solve(self, stream: Any) -> None:
        """Build a Dockerfile; the answer names the result."""
        request = await stream.recv_message()
        solve = await self._solve(stream)
        try:
            if request.Frontend not in FRONTENDS:
                raise Unsupported(f"frontend {request.Frontend!r}: LLB is not executed, only Dockerfiles are built")
            image = await self._service.build(solve, request.FrontendOpt)
        except EngineError as error:
            raise grpc_error(error) from error
        solve.images[image.id] = image
        await stream.send_message(m.SolveResponse(result=m.Result(ref=m.Ref(id=image.id))))

    async def finish(self, stream: Any) -> None:
        """``Return``: the build is over, with a result or the client's error."""
        request = await stream.recv_message()
        solve = await self._solve(stream)
        if request.HasField("result"):
            solve.result = solve.images.get(request.result.ref.id or request.result.refDeprecated)
        if not solve.returned.done():
            solve.returned.set_result(request.error.message if request.HasField("error") else None)
        await stream.send_message(m.Empty())

    async def _solve(self, stream: Any) -> Solve:
        try:
            return await self._service.solves.get(stream.metadata.get(BUILD_ID, ""))
        except NotFound as error:
            raise grpc_error(error) from error

    def __mapping__(self) -> dict[str, Handler]:
        one = Cardinality.UNARY_UNARY
        return {
            **refused(BRIDGE),
            BRIDGE + "Ping": Handler(self.ping, one, m.Empty, m.PongResponse),
            BRIDGE + "Solve": Handler(self.solve, one, m.SolveRequest, m.SolveResponse),
            BRIDGE + "Return": Handler(self.finish, one, m.ReturnRequest, m.Empty),
        }


def _moment(nanoseconds: int) -> Any:
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return m.Timestamp(seconds=seconds, nanos=nanos)
