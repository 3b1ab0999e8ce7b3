"""``moby.buildkit.v1.Control``, and the content store that goes with it. A method decodes, does one thing, encodes.

Source: buildkit api/services/control/control.proto.
"""

import asyncio
import socket
import time
from typing import Any

from grpclib.const import Cardinality, Handler

from sampan.api.hijack import Hijacked
from sampan.api.times import format_time
from sampan.build.buildkit import messages as m
from sampan.build.buildkit.content import DOCUMENT_LIMIT, SERVICE
from sampan.build.buildkit.failures import grpc_error
from sampan.build.buildkit.history import event_of
from sampan.build.buildkit.records import pruned, records
from sampan.build.buildkit.service import Service
from sampan.build.threads import in_thread
from sampan.errors import EngineError, NotFound
from sampan.oci import digest as digests
from sampan.storage.content import ContentStore

CONTROL = "/moby.buildkit.v1.Control/"
TIMESTAMP = "buildkit-current-timestamp"
CHUNK = 1 << 16


class Control:
    """``moby.buildkit.v1.Control``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def solve(self, stream: Any) -> None:
        """Blocks until the client returns a result through the bridge, then exports it."""
        request = await stream.recv_message()
        solve = await self._service.solves.begin(request.Ref, request)
        told = await self._service.run(solve)
        await stream.send_message(m.ControlSolveResponse(ExporterResponse=told))

    async def status(self, stream: Any) -> None:
        """Progress until the build ends."""
        request = await stream.recv_message()
        if self._service.history.has(request.Ref):
            await stream.send_initial_metadata()
            for response in await in_thread(list, self._service.history.progress(request.Ref)):
                await stream.send_message(response)
            return
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
        """What builds keep on disk."""
        request, service = await stream.recv_message(), self._service
        try:
            found = await in_thread(records, service.workshop.storage, service.data_root, request.filter)
        except EngineError as error:
            raise grpc_error(error) from error
        await stream.send_message(m.DiskUsageResponse(record=found))

    async def prune(self, stream: Any) -> None:
        """Remove what is meant; tells what went."""
        request, service = await stream.recv_message(), self._service
        try:
            gone = await in_thread(pruned, service.workshop.storage, service.data_root, request)
        except EngineError as error:
            raise grpc_error(error) from error
        await stream.send_initial_metadata()
        for record in gone:
            await stream.send_message(record)

    async def listen(self, stream: Any) -> None:
        """Builds that were and are; then, unless the client wants no more, those to come."""
        request, history = await stream.recv_message(), self._service.history
        await stream.send_initial_metadata(metadata={TIMESTAMP: format_time(time.time_ns())})
        for kind, record in history.known(request.Ref, active_only=request.ActiveOnly):
            await stream.send_message(event_of(kind, record))
        if request.EarlyExit:
            return
        async for kind, record in history.follow(request.Ref):
            await stream.send_message(event_of(kind, record))

    async def update(self, stream: Any) -> None:
        """Forget a build, or keep it for longer."""
        request, history = await stream.recv_message(), self._service.history
        try:
            if request.Delete:
                await in_thread(history.delete, request.Ref)
            elif not request.Finalize:  # finalizing writes traces, and there are none
                await in_thread(lambda: history.pin(request.Ref, pinned=request.Pinned))
        except EngineError as error:
            raise grpc_error(error) from error
        await stream.send_message(m.Empty())

    async def session(self, stream: Any) -> None:
        """A session's connection inside of this one."""
        ours, theirs = socket.socketpair()
        with ours:
            for end in (ours, theirs):
                end.setblocking(False)
            headers = {name.lower(): str(value) for name, value in stream.metadata.items()}
            await stream.send_initial_metadata()
            keeping = asyncio.ensure_future(self._service.keep_session(Hijacked(theirs), headers))
            copying = [asyncio.ensure_future(work) for work in (_take(stream, ours), _give(stream, ours))]
            try:
                await asyncio.wait([keeping, *copying], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for work in (keeping, *copying):
                    work.cancel()
                await asyncio.gather(keeping, *copying, return_exceptions=True)

    def __mapping__(self) -> dict[str, Handler]:
        one, many = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            CONTROL + "Session": Handler(self.session, Cardinality.STREAM_STREAM, m.BytesMessage, m.BytesMessage),
            CONTROL + "ListenBuildHistory": Handler(self.listen, many, m.BuildHistoryRequest, m.BuildHistoryEvent),
            CONTROL + "UpdateBuildHistory": Handler(self.update, one, m.UpdateBuildHistoryRequest, m.Empty),
            CONTROL + "Solve": Handler(self.solve, one, m.ControlSolveRequest, m.ControlSolveResponse),
            CONTROL + "Status": Handler(self.status, many, m.StatusRequest, m.StatusResponse),
            CONTROL + "ListWorkers": Handler(self.list_workers, one, m.Empty, m.ListWorkersResponse),
            CONTROL + "Info": Handler(self.info, one, m.Empty, m.InfoResponse),
            CONTROL + "DiskUsage": Handler(self.disk_usage, one, m.DiskUsageRequest, m.DiskUsageResponse),
            CONTROL + "Prune": Handler(self.prune, many, m.PruneRequest, m.UsageRecord),
        }


async def _take(stream: Any, connection: socket.socket) -> None:
    """What the client says goes to the session."""
    loop = asyncio.get_running_loop()
    while (message := await stream.recv_message()) is not None:
        await loop.sock_sendall(connection, message.data)


async def _give(stream: Any, connection: socket.socket) -> None:
    """What the session's client says goes out."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(connection, CHUNK):
        await stream.send_message(m.BytesMessage(data=data))


class Content:
    """``containerd.services.content.v1.Content``, to read what the history of builds points to."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store

    async def info(self, stream: Any) -> None:
        request = await stream.recv_message()
        try:
            size = self._store.size(digests.parse(request.digest))
        except EngineError as error:
            raise grpc_error(error) from error
        await stream.send_message(m.InfoContentResponse(info=m.ContentInfo(digest=request.digest, size=size)))

    async def read(self, stream: Any) -> None:
        request = await stream.recv_message()
        try:
            data = await in_thread(self._store.read, digests.parse(request.digest), DOCUMENT_LIMIT)
        except EngineError as error:
            raise grpc_error(error) from error
        end = request.offset + request.size if request.size else len(data)
        await stream.send_message(m.ReadContentResponse(offset=request.offset, data=data[request.offset : end]))

    def __mapping__(self) -> dict[str, Handler]:
        one, many = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            SERVICE + "Info": Handler(self.info, one, m.InfoContentRequest, m.InfoContentResponse),
            SERVICE + "Read": Handler(self.read, many, m.ReadContentRequest, m.ReadContentResponse),
        }
