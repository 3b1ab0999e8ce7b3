"""The builder service: ``POST /build``, its cancel and its prune, upon ``sampan.build``."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from sampan.api.build import BuildOptions, BuildPruneOptions
from sampan.api.hijack import Hijacked
from sampan.api.progress import ImageID, Message, Progress, stream
from sampan.api.system import BuildCachePruneReport
from sampan.build.builder import Workshop, build_image, planned_stages
from sampan.build.cache import Cache
from sampan.build.classic import ClassicOutput, image_line, tag_line
from sampan.build.context import Context as BuildContext
from sampan.build.context import open_context
from sampan.build.executor import Limits
from sampan.build.prune import prune
from sampan.build.request import Request
from sampan.dockerfile.parser import parse
from sampan.engine.builder_executor import ContainerExecutor
from sampan.engine.builder_images import BaseImages
from sampan.engine.context import Context
from sampan.errors import NotFound, Unsupported
from sampan.oci.platform import Platform, host
from sampan.oci.reference import Reference
from sampan.storage.images import Image

CLIENT_SESSION = "client-session"
NO_BUILDKIT = "BuildKit's protocol is not served: build with DOCKER_BUILDKIT=0 (the same steps, by POST /build)"


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
            cache_mounts=context.roots.data / "build" / "mounts",
        )
        self._under_way: dict[str, asyncio.Task[object]] = {}

    def open(self) -> None:
        """Remove what builds of a killed daemon left."""
        self._workshop.clean()

    async def build(self, options: BuildOptions, context: AsyncIterator[bytes], progress: Progress) -> None:
        """Build the context that is the request's body or its ``remote``; tells progress in the classic words.

        Raises EngineError with what went wrong; cancelled when the client goes away, and nothing stays then.
        """
        if options.version == "2" or options.remote == CLIENT_SESSION or options.outputs:
            raise Unsupported(NO_BUILDKIT)
        if options.squash:
            raise Unsupported("squash is not supported")
        references = [_reference(tag) for tag in options.tags]
        task = asyncio.current_task()
        if options.build_id and task is not None:
            self._under_way[options.build_id] = task
        try:
            async with open_context(self._workshop.scratch, context, options.remote, options.dockerfile) as unpacked:
                image = await self._build(options, unpacked, progress)
        finally:
            self._under_way.pop(options.build_id, None)
        await self._announce(options, image, references, progress)

    async def _build(self, options: BuildOptions, unpacked: BuildContext, progress: Progress) -> Image:
        request = request_of(options, unpacked)
        output = ClassicOutput(progress, planned_stages(request), quiet=options.quiet)
        workshop = replace(self._workshop, images=self._images.using(options.auths))
        return await build_image(workshop, request, output)

    async def _announce(
        self, options: BuildOptions, image: Image, references: list[Reference], progress: Progress
    ) -> None:
        await progress.send(Message(aux=ImageID(image.id)))
        await progress.send(stream(f"{image.id}\n") if options.quiet else image_line(image.id))
        self._context.events.publish("image", "build", image.id, {"name": image.id})
        for reference in references:
            self._context.storage.images.tag(reference, image.descriptor)
            self._context.events.publish("image", "tag", image.id, {"name": reference.familiar})
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
        return await asyncio.to_thread(prune, self._workshop.storage, self._workshop.cache, options)

    async def serve_grpc(self, connection: Hijacked) -> None:
        """BuildKit's control API."""
        raise Unsupported(NO_BUILDKIT)

    async def serve_session(self, connection: Hijacked, headers: Mapping[str, str]) -> None:
        """BuildKit's session."""
        raise Unsupported(NO_BUILDKIT)


def _reference(tag: str) -> Reference:
    """A name for the image; raises InvalidParameter."""
    return Reference.parse(tag).tagged()


def request_of(options: BuildOptions, unpacked: BuildContext) -> Request:
    """The classic query as a build's request. Raises InvalidParameter, ParseError."""
    epoch = options.build_args.get("SOURCE_DATE_EPOCH") or ""
    return Request(
        dockerfile=parse(unpacked.dockerfile),
        context=unpacked.root,
        target=options.target,
        build_args={name: value for name, value in options.build_args.items() if value is not None},
        labels=options.labels,
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
    )
