"""What the methods of ``Control`` and of the bridge do: builds for clients, from their options to their outputs."""

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from sampan.api.hijack import Hijacked
from sampan.build.attestations import Predicate, wanted
from sampan.build.builder import Outcome, build_image
from sampan.build.building import Workshop
from sampan.build.buildkit import messages as m
from sampan.build.buildkit.caches import Caches, Registry, check_exports, is_inline
from sampan.build.buildkit.calls import answer_call, bases_in, warnings_of
from sampan.build.buildkit.connection import SessionChannel
from sampan.build.buildkit.definition import tree_in
from sampan.build.buildkit.exporters import IMAGE_EXPORTERS, Exporters
from sampan.build.buildkit.failures import grpc_error, returned_error
from sampan.build.buildkit.frontend import Asked, Frontend
from sampan.build.buildkit.history import History
from sampan.build.buildkit.predicates import note_provenance, predicates_of, told_of
from sampan.build.buildkit.product import Product
from sampan.build.buildkit.session import Session
from sampan.build.buildkit.solves import Solve, Solves
from sampan.build.buildkit.status import StatusLog
from sampan.build.buildkit.uploads import Uploads
from sampan.build.leftovers import logs
from sampan.build.remote_tree import open_tree
from sampan.build.request import ImageSource, Request
from sampan.build.stage import full_name
from sampan.build.threads import in_thread
from sampan.errors import EngineError, InvalidParameter, NotFound
from sampan.oci.platform import Platform, host
from sampan.storage.images import Image

HOST_GATEWAY_LABEL = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
"""Where buildx finds the address that ``--add-host name:host-gateway`` means."""
SNAPSHOTTER_LABEL = "org.mobyproject.buildkit.worker.snapshotter"
"""Tells buildx that archives, pushes and several platforms are done here and need no help of its own."""
Registries = Callable[[Session], Registry]
"""Registries and their images, with the credentials of a session."""


class Service:
    """Both services of one engine; a connection's handlers are made of ``Control`` and ``Bridge``."""

    def __init__(
        self,
        workshop: Workshop,
        frontend: Frontend,
        exporters: Exporters,
        registries: Registries,
        version: str,
        data_root: Path,
        host_gateway: str,
    ) -> None:
        self.workshop = workshop
        self.frontend = frontend
        self.exporters = exporters
        self.version = version
        self.data_root = data_root
        self._labels = {SNAPSHOTTER_LABEL: "overlayfs"} | ({HOST_GATEWAY_LABEL: host_gateway} if host_gateway else {})
        self.sessions = frontend.sessions
        self.uploads = Uploads()
        self.solves = Solves(workshop.storage.leases)
        self.history = History(workshop.storage, logs(data_root))
        self._registries = registries

    def worker(self) -> Any:
        """The one worker there is."""
        own = host()
        return m.WorkerRecord(
            ID="sampan",
            Labels=self._labels,
            platforms=[m.Platform(Architecture=own.architecture, OS=own.os, Variant=own.variant)],
            BuildkitVersion=self.buildkit_version(),
        )

    def buildkit_version(self) -> Any:
        return m.BuildkitVersion(package="sampan", version=self.version)

    def check(self, request: Any) -> None:
        """Refuse what could only fail after the build. Raises Unsupported."""
        self.exporters.check(request.Exporters)
        check_exports(request.Cache.Exports)

    async def run(self, solve: Solve) -> dict[str, str]:
        """The whole of a build that was begun, and its place in the history; returns what its client is told.

        Raises GRPCError with what went wrong.
        """
        is_kept = not solve.request.Internal
        if is_kept:
            self.history.begin(solve)
        failure: tuple[int, str] | None = (Status.CANCELLED.value, "context canceled")
        told: dict[str, str] = {}
        try:
            told = await self._solved(solve)
            failure = None
        except GRPCError as error:
            failure = error.status.value, error.message or ""
            raise
        finally:
            await asyncio.shield(self._end(solve, failure, told, is_kept=is_kept))
        return told

    async def _solved(self, solve: Solve) -> dict[str, str]:
        """What the client is told of the build's outputs. Raises GRPCError."""
        request = solve.request
        try:
            self.check(request)
            if request.Frontend:
                solve.result = await self.build(solve, request.FrontendAttrs, {}, ())
            elif (error := await solve.returned) is not None:
                raise returned_error(error)
            return await self.export(solve)
        except EngineError as error:
            raise grpc_error(error, solve.log.source) from error

    async def _end(self, solve: Solve, failure: tuple[int, str] | None, told: dict[str, str], *, is_kept: bool) -> None:
        await self.solves.end(solve)
        if is_kept:
            await in_thread(self.history.end, solve, failure, told)
            self.history.tell_end(solve.ref)
        await self.solves.release(solve)

    async def _session(self, solve: Solve) -> Session:
        return solve.session or await self.sessions.get(solve.request.Session)

    async def build(
        self, solve: Solve, options: Mapping[str, str], inputs: Mapping[str, Any], cache_imports: Any
    ) -> Product:
        """Build a Dockerfile for a client, for each platform in turn. Raises EngineError."""
        solve.options = dict(options)
        session = await self._session(solve)
        registry = self._registries(session)
        workshop = replace(self.workshop, images=ToldImages(registry, solve.log))
        caches = Caches(self.workshop.storage, registry, session, solve.log)
        asked = Asked(
            options,
            solve.log,
            inputs,
            frozenset(solve.request.Entitlements),
            await caches.load([*cache_imports, *solve.request.Cache.Imports]),
            is_inline(solve.request.Cache.Exports, options),
        )
        asked_for, outcomes, predicates = wanted(options), list[Outcome](), list[tuple[Predicate, ...]]()
        async with self.frontend.requests(asked, session) as requests:
            await self._warn(solve, options, requests[0])
            for request in requests:
                solve.log.platform = str(request.platform) if len(requests) > 1 else ""
                outcome = await build_image(workshop, request, solve.log)
                outcomes.append(outcome)
                told = told_of(solve, request, outcome)
                predicates.append(await predicates_of(workshop.storage, solve, told, outcome, asked_for))
                await in_thread(note_provenance, workshop.storage, solve, told, outcome)
        return Product(tuple(outcome.image for outcome in outcomes), tuple(outcomes), tuple(predicates))

    async def keep_session(self, connection: Hijacked, headers: Mapping[str, str]) -> None:
        """Be a client of the session's services until the connection ends. Raises InvalidParameter."""
        id = headers.get("x-docker-expose-session-uuid", "")
        if not id:
            raise InvalidParameter("no session ID in the request")
        channel = SessionChannel(connection)
        await channel.adopt()
        try:
            shared = headers.get("x-docker-expose-session-sharedkey") or id
            await self.sessions.keep(id, Session(channel, shared), channel)
        finally:
            channel.close()

    async def call(self, solve: Solve, options: Mapping[str, str], inputs: Mapping[str, Any]) -> dict[str, bytes]:
        """Answer ``--call``, without a build. Raises EngineError."""
        session = await self._session(solve)
        file = await self.frontend.definition(Asked(options, solve.log, inputs), session)
        return answer_call(options, file, bases_in(self.workshop.storage.images, options, file))

    async def open_definition(self, solve: Solve, definition: Any) -> str:
        """Fetch what a definition means; returns the reference that it has until the build ends. Raises EngineError."""
        id = secrets.token_hex(16)
        tree = open_tree(self.workshop.scratch, tree_in(definition))
        solve.trees[id] = await solve.held.enter_async_context(tree)
        return id

    def root_of(self, solve: Solve, id: str, held: ExitStack) -> int:
        """The files of a reference; the fd is good until ``held`` ends. Raises NotFound."""
        if id in solve.trees:
            return solve.trees[id]
        if id not in solve.products:
            raise NotFound(f"no such ref: {id}")
        view = self.workshop.storage.snapshots.view(solve.products[id].first.chain_id)
        held.callback(os.close, view)
        return view

    async def _warn(self, solve: Solve, options: Mapping[str, str], request: Request) -> None:
        """Tell what the checks find."""
        name = options.get("filename") or "Dockerfile"
        bases = bases_in(self.workshop.storage.images, options, request.dockerfile)
        found = warnings_of(options, request.dockerfile, bases)
        await solve.log.warn(f"[internal] load build definition from {name}", name, request.dockerfile.text, found)

    async def export(self, solve: Solve) -> dict[str, str]:
        """Do what the exporters ask of the result; returns what clients are told. Raises EngineError."""
        if solve.result is None:
            return {}
        exporters, entries = solve.request.Exporters, solve.request.Cache.Exports
        if not exporters and not entries:
            return {}
        session = await self._session(solve)
        caches = Caches(self.workshop.storage, self._registries(session), session, solve.log)
        try:
            told = await self.exporters.run(exporters, solve.result, session, solve.log)
            return told | await caches.export(entries, solve.result.outcomes)
        finally:
            if not any(exporter.Type in IMAGE_EXPORTERS for exporter in exporters):
                self._forget(solve)

    def _forget(self, solve: Solve) -> None:
        """Images that were made only to be sent away do not stay among the engine's."""
        images = self.workshop.storage.images
        for image in solve.result.images if solve.result else ():
            if image.stored_at >= solve.began and not images.references_of(image.id):
                images.forget(image.id)


@dataclass(frozen=True, slots=True)
class ToldImages:
    """An ``ImageSource`` whose looking up is shown in the build's progress."""

    images: ImageSource
    log: StatusLog

    async def image(self, name: str, platform: Platform, *, pull: bool) -> Image:
        """See ``build.request.ImageSource``."""
        full = full_name(name)
        async with self.log.vertex(f"[internal] load metadata for {full}"):
            try:
                return await self.images.image(name, platform, pull=pull)
            except EngineError as error:
                raise error.within(f"{name}: failed to resolve source metadata for {full}") from error


async def refuse(stream: Any) -> None:
    """Answer UNIMPLEMENTED."""
    raise GRPCError(Status.UNIMPLEMENTED, "this daemon does not implement the method")


def refused(service: str, methods: Iterable[str]) -> dict[str, Handler]:
    """Handlers of the ``methods`` of ``service`` that are refused."""
    return {service + name: Handler(refuse, Cardinality.UNARY_STREAM, m.Empty, m.Empty) for name in methods}
