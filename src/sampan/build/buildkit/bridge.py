"""``moby.buildkit.v1.frontend.LLBBridge``: the client's side of a build that ``Control.Solve`` began.

    Solve    a Dockerfile ─▶ a reference to the image;  a definition of a source ─▶ a reference to its files
    ReadFile, ReadDir, StatFile    what a reference holds
    Return   the client's last word

Source: buildkit frontend/gateway/pb/gateway.proto.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

from grpclib.const import Cardinality, Handler

from sampan.build.buildkit import messages as m
from sampan.build.buildkit import references
from sampan.build.buildkit.definition import NOT_EXECUTED, definition_of
from sampan.build.buildkit.failures import grpc_error
from sampan.build.buildkit.service import Service, refused
from sampan.build.buildkit.solves import Solve
from sampan.build.threads import in_thread
from sampan.errors import EngineError, NotFound, Unsupported

BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
BUILD_ID = "buildkit-controlapi-buildid"
FRONTENDS = ("dockerfile.v0", "gateway.v0")
FRONTEND_CAPS = (
    "solve.base", "solve.inlinereturn", "resolveimage", "readfile", "return", "returnmap", "readdir", "statfile",
    "importcaches", "proto.refarray", "frontend.inputs", "gateway.solve.metadata", "frontend.caps",
    "reference.output", "gateway.evaluate",
)  # fmt: skip
LLB_CAPS = (
    "source.local", "source.local.unique", "source.local.sessionid", "source.local.includepatterns",
    "source.local.followpaths", "source.local.excludepatterns", "source.local.sharedkeyhint", "exec.meta.base",
    "exec.meta.network", "exec.meta.security", "exec.mount.bind", "exec.mount.cache", "exec.mount.secret",
    "file.base", "constraints", "platform", "meta.ignorecache", "meta.description",
    "exec.mount.ssh", "exec.meta.ulimit", "exec.meta.cgroup.parent", "exec.secretenv", "exporter.image.annotations",
    "exporter.multiple", "source.image", "source.image.resolvemode", "source.http", "gc.freespacefilter",
    "source.http.checksum", "source.git", "source.git.keepgitdir", "source.git.fullurl", "source.git.subdir",
    "source.git.checksum", "source.ocilayout", "exporter.image.attestations", "exporter.sourcedateepoch",
)  # fmt: skip
REFUSED = (
    "ResolveImageConfig", "ResolveSourceMeta", "Inputs", "NewContainer", "ReleaseContainer", "ExecProcess",
    "ReadFileContainer", "ReadDirContainer", "StatFileContainer", "Warn",
)  # fmt: skip
T = TypeVar("T")


class Bridge:
    """The handlers of the bridge."""

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
            if request.Definition.Def and not request.Frontend:
                id = await self._service.open_definition(solve, request.Definition)
                await stream.send_message(m.SolveResponse(result=m.Result(ref=m.Ref(id=id))))
                return
            if request.Frontend not in FRONTENDS:
                raise Unsupported(f"frontend {request.Frontend!r}: {NOT_EXECUTED}")
            self._service.check(solve.request)
            if request.FrontendOpt.get("requestid"):
                answer = await self._service.call(solve, request.FrontendOpt, request.FrontendInputs)
                await stream.send_message(m.SolveResponse(result=m.Result(metadata=answer)))
                return
            product = await self._service.build(
                solve, request.FrontendOpt, request.FrontendInputs, request.CacheImports
            )
        except EngineError as error:
            raise grpc_error(error, solve.log.source) from error
        id = product.first.id
        solve.products[id] = product
        reference = m.Ref(id=id, **{"def": definition_of(id)})
        await stream.send_message(m.SolveResponse(result=m.Result(ref=reference)))

    async def evaluate(self, stream: Any) -> None:
        """Results are whole when ``solve`` answers."""
        await stream.recv_message()
        await stream.send_message(m.Empty())

    async def read_file(self, stream: Any) -> None:
        """Bytes of a file."""
        request = await stream.recv_message()
        range = request.Range
        data = await self._read(
            stream,
            request.Ref,
            lambda root: references.read_file(root, request.FilePath, range.Offset, range.Length),
        )
        await stream.send_message(m.ReadFileResponse(Data=data))

    async def read_dir(self, stream: Any) -> None:
        """Members of a directory."""
        request = await stream.recv_message()
        entries = await self._read(
            stream, request.Ref, lambda root: references.read_dir(root, request.DirPath, request.IncludePattern)
        )
        await stream.send_message(m.ReadDirResponse(entries=entries))

    async def stat_file(self, stream: Any) -> None:
        """Status of a file."""
        request = await stream.recv_message()
        status = await self._read(stream, request.Ref, lambda root: references.stat_file(root, request.Path))
        await stream.send_message(m.StatFileResponse(stat=status))

    async def _read(self, stream: Any, id: str, read: Callable[[int], T]) -> T:
        """What ``read`` finds below the root of the reference ``id``."""
        solve = await self._solve(stream)

        def work() -> T:
            with ExitStack() as held:
                return read(self._service.root_of(solve, id, held))

        try:
            return await in_thread(work)
        except EngineError as error:
            raise grpc_error(error) from error

    async def finish(self, stream: Any) -> None:
        """``Return``: the build is over, with a result or the client's error."""
        request = await stream.recv_message()
        solve = await self._solve(stream)
        if request.HasField("result"):
            solve.result = solve.products.get(request.result.ref.id or request.result.refDeprecated)
        if not solve.returned.done():
            solve.returned.set_result(request.error if request.HasField("error") else None)
        await stream.send_message(m.Empty())

    async def _solve(self, stream: Any) -> Solve:
        try:
            return await self._service.solves.get(stream.metadata.get(BUILD_ID, ""))
        except NotFound as error:
            raise grpc_error(error) from error

    def __mapping__(self) -> dict[str, Handler]:
        one = Cardinality.UNARY_UNARY
        return {
            **refused(BRIDGE, REFUSED),
            BRIDGE + "Ping": Handler(self.ping, one, m.Empty, m.PongResponse),
            BRIDGE + "Solve": Handler(self.solve, one, m.SolveRequest, m.SolveResponse),
            BRIDGE + "Evaluate": Handler(self.evaluate, one, m.EvaluateRequest, m.Empty),
            BRIDGE + "ReadFile": Handler(self.read_file, one, m.ReadFileRequest, m.ReadFileResponse),
            BRIDGE + "ReadDir": Handler(self.read_dir, one, m.ReadDirRequest, m.ReadDirResponse),
            BRIDGE + "StatFile": Handler(self.stat_file, one, m.StatFileRequest, m.StatFileResponse),
            BRIDGE + "Return": Handler(self.finish, one, m.ReturnRequest, m.Empty),
        }
