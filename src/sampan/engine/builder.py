"""The builder service: ``POST /build``, its cancel and its prune, upon ``sampan.build``."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from sampan import __version__
from sampan.api.build import BuildOptions, BuildPruneOptions
from sampan.api.hijack import Hijacked
from sampan.api.progress import ImageID, Message, Progress, stream
from sampan.api.system import BuildCachePruneReport
from sampan.build.builder import build_image
from sampan.build.building import Workshop, planned_stages
from sampan.build.buildkit import api_build
from sampan.build.buildkit.bridge import Bridge
from sampan.build.buildkit.connection import serve
from sampan.build.buildkit.control import Content, Control
from sampan.build.buildkit.exporters import Exporters
from sampan.build.buildkit.frontend import Frontend
from sampan.build.buildkit.service import Service
from sampan.build.buildkit.session import Session
from sampan.build.cache import Cache
from sampan.build.classic import ClassicOutput, image_line, tag_line, unconsumed, unconsumed_line, warning_line
from sampan.build.context import Context as BuildContext
from sampan.build.context import open_context
from sampan.build.executor import Limits
from sampan.build.imported import Imported, images_here
from sampan.build.labels import with_labels
from sampan.build.leftovers import private
from sampan.build.prune import collect, prune
from sampan.build.request import Request
from sampan.build.unset import ARGUMENTS
from sampan.dockerfile.checks import Checked, check, choice_of
from sampan.dockerfile.ignore import Ignore
from sampan.dockerfile.instructions import Dockerfile
from sampan.dockerfile.parser import parse
from sampan.dockerfile.source import ParseError
from sampan.engine.blocking import apart
from sampan.engine.builder_collection import policies_of
from sampan.engine.builder_executor import ContainerExecutor
from sampan.engine.builder_images import BaseImages
from sampan.engine.context import Context
from sampan.errors import InvalidParameter, NotFound
from sampan.oci.descriptor import Descriptor
from sampan.oci.platform import Platform, host
from sampan.oci.reference import Reference
from sampan.storage.images import Image

COLLECT_SECONDS = 60.0
"""Between two looks at what of the cache is to go, as in BuildKit: each walks all that is kept."""
NO_SESSION_BUILD = (
    "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead"
)


class Builder:
    """Builds of one engine."""

    def __init__(self, context: Context, images: BaseImages) -> None:
        self._context = context
        self._images = images
        storage = context.storage
        self._workshop = Workshop(
            storage=storage,
            cache=Cache(storage),
            executor=ContainerExecutor(context),
            images=images,
            scratch=storage.temporary / "build",
            private=private(context.roots.run),
            cache_mounts=context.roots.data / "build" / "mounts",
            ended=self._collect_soon,
        )
        self._policies = policies_of(context.config.builder, context.roots.data)
        self._collecting: asyncio.Task[None] | None = None
        self._collected_at = -COLLECT_SECONDS
        self._service = Service(
            self._workshop,
            Frontend(context.roots.data / "build" / "contexts", self._workshop.scratch, storage),
            Exporters(storage, self._made, self._name, self._push),
            lambda session: images.asking(session.credentials),
            __version__,
            context.roots.data,
            next(iter(context.networks.host_gateway), ""),
        )
        self._under_way: dict[str, asyncio.Task[object]] = {}
        self._workshop.make()

    async def build(self, options: BuildOptions, context: AsyncIterator[bytes], progress: Progress) -> None:
        """Build the context that is the request's body or its ``remote``; tells progress in the classic words.

        Raises EngineError with what went wrong; cancelled when the client goes away, and nothing stays then.
        """
        task = asyncio.current_task()
        if options.build_id and task is not None:
            self._under_way[options.build_id] = task
        try:
            if options.version == "2":
                await api_build.build(self._service, options, context, progress)
            else:
                await self._classic(options, context, progress)
        finally:
            self._under_way.pop(options.build_id, None)

    async def _classic(self, options: BuildOptions, context: AsyncIterator[bytes], progress: Progress) -> None:
        if options.remote == api_build.CLIENT_SESSION:
            raise InvalidParameter(NO_SESSION_BUILD)
        references = [_reference(tag) for tag in options.tags]
        async with open_context(self._workshop.scratch, context, options.remote, options.dockerfile) as unpacked:
            image = await self._build(options, unpacked, progress)
        await self._announce(options, image, references, progress)

    async def _build(self, options: BuildOptions, unpacked: BuildContext, progress: Progress) -> Image:
        request = request_of(options, unpacked, images_here(self._workshop.storage, options.cache_from))
        await self._warn(options, request, unpacked, progress)
        output = ClassicOutput(progress, planned_stages(request), quiet=options.quiet, removes=options.remove)
        workshop = replace(self._workshop, images=self._images.using(options.auths))
        image = (await build_image(workshop, request, output)).image
        unused = unconsumed(request.dockerfile, options.build_args)
        if unused and not options.quiet:
            await progress.send(unconsumed_line(unused))
        return image

    async def _warn(self, options: BuildOptions, request: Request, unpacked: BuildContext, progress: Progress) -> None:
        """Say what the checks find. Raises InvalidParameter where the Dockerfile wants findings to be errors."""
        said = options.build_args.get("BUILDKIT_DOCKERFILE_CHECK") or request.dockerfile.directives.get("check", "")
        choice = choice_of(said)
        found = check(Checked(request.dockerfile, ignore=Ignore(unpacked.ignored)), choice)
        for warning in () if options.quiet else found:
            await progress.send(warning_line(warning))
        if found and choice.error:
            raise InvalidParameter(f"lint violation found for rules: {', '.join(sorted({w.rule for w in found}))}")

    async def _announce(
        self, options: BuildOptions, image: Image, references: list[Reference], progress: Progress
    ) -> None:
        if (options.squash or ARGUMENTS & options.build_args.keys()) and not options.quiet:
            await progress.send(Message(aux=ImageID(image.id)))
        await progress.send(stream(f"{image.id}\n") if options.quiet else image_line(image.id))
        self._tell("create", image, image.id)
        for reference in references:
            self._tag(image, str(reference))
            if not options.quiet:
                await progress.send(tag_line(reference.familiar))

    async def cancel(self, build_id: str) -> None:
        """End the build that was started with ``build_id``; nothing happens when there is none."""
        task = self._under_way.get(build_id)
        if task is None:
            raise NotFound(f"no build {build_id} is under way")
        task.cancel()

    async def prune(self, options: BuildPruneOptions) -> BuildCachePruneReport:
        """Remove build cache that is not in use."""
        report = await apart(prune, self._workshop.storage, self._context.roots.data, options)
        self._context.events.publish("builder", "prune", "", {"reclaimed": str(report.space_reclaimed)})
        return report

    def _collect_soon(self) -> None:
        """A build has ended: let go of what the configuration keeps no longer, once a minute at most."""
        if self._policies and (self._collecting is None or self._collecting.done()):
            self._collecting = self._context.supervisor.spawn(self._collect(), "collection of build cache")

    async def _collect(self) -> None:
        await asyncio.sleep(max(0.0, self._collected_at + COLLECT_SECONDS - time.monotonic()))
        self._collected_at = time.monotonic()
        await apart(collect, self._workshop.storage, self._context.roots.data, self._policies)

    async def serve_grpc(self, connection: Hijacked) -> None:
        """Serve BuildKit's control API until the connection ends."""
        content = Content(self._context.storage.content)
        await serve(connection, [Control(self._service), Bridge(self._service), content])

    async def serve_session(self, connection: Hijacked, headers: Mapping[str, str]) -> None:
        """Be a client of the session's services until the connection ends."""
        await self._service.keep_session(connection, headers)

    def _tag(self, image: Image, name: str) -> None:
        self._name(_reference(name), image.descriptor, image)

    def _name(self, reference: Reference, target: Descriptor, image: Image) -> None:
        self._context.storage.images.tag(reference, target)
        self._tell("tag", image, reference.familiar)

    def _made(self, image: Image) -> None:
        self._tell("create", image, image.id)

    def _tell(self, action: str, image: Image, name: str) -> None:
        labels = image.config.value.config.labels or {}
        self._context.events.publish("image", action, image.id, {**labels, "name": name})

    async def _push(self, reference: Reference, target: Descriptor, session: Session) -> None:
        await self._images.asking(session.credentials).push(reference, target)


def _reference(tag: str) -> Reference:
    """A name for the image; raises InvalidParameter."""
    return Reference.parse(tag).tagged()


PLACED = "dockerfile parse error"
"""How errors begin that say their line."""


def _parsed(text: str, name: str) -> Dockerfile:
    """The Dockerfile; where an error has no line it says which file. Raises ParseError."""
    try:
        return parse(text)
    except ParseError as error:
        if not error.message.startswith(PLACED):
            error.within(f"failed to parse {name}")
        raise


def request_of(options: BuildOptions, unpacked: BuildContext, imported: Imported) -> Request:
    """The classic query as a build's request. Raises InvalidParameter, ParseError."""
    epoch = options.build_args.get("SOURCE_DATE_EPOCH") or ""
    return Request(
        dockerfile=with_labels(_parsed(unpacked.dockerfile, options.dockerfile), options.target, options.labels),
        context=unpacked.root,
        target=options.target,
        build_args={name: value for name, value in options.build_args.items() if value is not None},
        keep_steps=True,
        imported=imported,
        cache_here=not options.cache_from,
        squash=options.squash,
        no_cache=options.no_cache,
        pull=options.pull,
        platform=Platform.parse(options.platform) if options.platform else host(),
        network=options.network_mode or "default",
        extra_hosts=tuple(options.extra_hosts),
        limits=Limits(
            memory=options.memory,
            memory_swap=options.memory_swap,
            cpu_shares=options.cpu_shares,
            cpu_period=options.cpu_period,
            cpu_quota=options.cpu_quota,
            cpuset_cpus=options.cpuset_cpus,
            cpuset_mems=options.cpuset_mems,
            shm_size=options.shm_size,
            ulimits=tuple(options.ulimits),
            cgroup_parent=options.cgroup_parent,
        ),
        epoch=int(epoch) if epoch.isdecimal() else None,
        rewrite_timestamp=epoch.isdecimal(),
    )
