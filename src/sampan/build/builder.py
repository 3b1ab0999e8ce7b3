"""One build: the stages a target needs, each a task; a stage that needs another awaits its task.

Build.run ─▶ stage 2 ─▶ (awaits) stage 0
          └▶ stage 1 (side by side)
last state ─▶ labels ─▶ image
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.build import stages
from sampan.build.cache import Cache, Entry
from sampan.build.conversion import dated
from sampan.build.executor import Executor
from sampan.build.leftovers import ACTIVE_PREFIX
from sampan.build.provenance import Material, image_uri
from sampan.build.request import ImageSource, Observer, Request, Step
from sampan.build.squash import squashed
from sampan.build.stage import StageBuilder
from sampan.build.state import State, from_image
from sampan.build.threads import in_thread
from sampan.build.unset import ARGUMENTS, unset
from sampan.dockerfile import instructions as ins
from sampan.errors import InvalidParameter
from sampan.oci.image_config import RunConfig
from sampan.oci.platform import Platform, host
from sampan.storage.images import Image
from sampan.storage.leases import Lease
from sampan.storage.store import Storage


@dataclass(frozen=True)
class Workshop:
    """What every build works with: one per data root.

    ``scratch`` is a private directory, ``private`` one in memory for what must never reach a disk.
    """

    storage: Storage
    cache: Cache
    executor: Executor
    images: ImageSource
    scratch: Path
    private: Path
    cache_mounts: Path

    def make(self) -> None:
        """Make the directories."""
        for directory in (self.scratch, self.private, self.cache_mounts):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def platform_arguments(target: Platform) -> dict[str, str]:
    """The automatic ARGs of the global scope."""
    values: dict[str, str] = {}
    for prefix, platform in (("TARGET", target), ("BUILD", host())):
        values |= {
            f"{prefix}PLATFORM": str(platform),
            f"{prefix}OS": platform.os,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    return values


def planned_stages(request: Request) -> list[int]:
    """The stages that will be built, in order; -1 is what comes before the first FROM. InvalidParameter."""
    file = request.dockerfile
    return [-1, *stages.needed_stages(file, stages.target_index(file, request.target), arguments_of(request))]


def arguments_of(request: Request) -> dict[str, str]:
    """Values of the ARGs before the first FROM, the automatic ones included."""
    return stages.global_arguments(request.dockerfile, request.build_args, platform_arguments(request.platform))


class Build:
    """A build under way."""

    def __init__(self, workshop: Workshop, request: Request, observer: Observer, lease: Lease) -> None:
        self.workshop = workshop
        self.request = request
        self.observer = observer
        self.lease = lease
        file = request.dockerfile
        self.arguments: Mapping[str, str] = arguments_of(request)
        self.target = stages.target_index(file, request.target)
        self.needed = stages.needed_stages(file, self.target, self.arguments)
        self._tasks: dict[int, asyncio.Task[State]] = {}
        self._group: asyncio.TaskGroup | None = None
        self.used: dict[str, Entry] = {}
        self.cache_mounts: dict[str, Path] = {}
        self.materials: dict[str, Material] = {}
        self.secrets: set[str] = set()
        self.agents: set[str] = set()

    async def run(self) -> State:
        """Build and return the target's last state. Raises the first error of any step."""
        try:
            async with asyncio.TaskGroup() as self._group:
                await self._tell_arguments()
                for index in self.needed:
                    self._task(index)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        return self._tasks[self.target].result()

    async def stage(self, index: int) -> State:
        """The last state of stage ``index``, built now if nobody asked for it before."""
        return await asyncio.shield(self._task(index))

    async def known(self, key: str, state: State) -> Entry | None:
        """What the step of this key made before upon ``state``, here or elsewhere."""
        cache = self.workshop.cache
        entry = cache.find(key) if self.request.cache_here else None
        if entry is None:
            entry = await self.request.imported.bring(self.workshop.storage, self.lease, key, state.chain)
            if entry is not None:
                cache.put(key, entry, state.after(key, entry).stack())
        if entry is not None:
            self.used[key] = entry
        return entry

    def keep(self, key: str, entry: Entry, state: State) -> None:
        """Put in the cache what a step made that led to ``state``."""
        self.used[key] = entry
        self.workshop.cache.put(key, entry, state.stack() if entry.layer else ())

    def made_from(self, uri: str, digest: str) -> None:
        """Note that something from elsewhere goes into the result."""
        self.materials[uri] = Material(uri, digest)

    def _task(self, index: int) -> "asyncio.Task[State]":
        assert self._group is not None
        if index not in self._tasks:
            self._tasks[index] = self._group.create_task(StageBuilder(self, index).run())
        return self._tasks[index]

    async def base(self, name: str, platform: Platform) -> State:
        """The state of an image, with its layers unpacked and kept until the build ends."""
        meant = self.request.named_images.get(name.lower(), name)
        image = await self.workshop.images.image(meant, platform, pull=self.request.pull)
        self.made_from(image_uri(meant, platform), image.manifest.digest)
        self.lease.hold(*(layer.digest for layer in image.manifest.value.layers))
        state = from_image(image)
        self.lease.hold(*state.stack())
        await in_thread(self.workshop.storage.images.unpack, image)
        return state

    async def _tell_arguments(self) -> None:
        for number, arg in enumerate(self.request.dockerfile.arguments, 1):
            step = Step(number, self.total, arg.origin.text, "", -1)
            await self.observer.started(step)
            await self.observer.finished(step, "", cached=False)
        await self.observer.stage_ended(-1)

    @property
    def total(self) -> int:
        """Number of steps of the needed stages, the ARGs before them included."""
        file = self.request.dockerfile
        return len(file.arguments) + sum(1 + len(file.stages[index].body) for index in self.needed)

    def step_of(self, index: int, position: int, instruction: ins.Instruction) -> Step:
        """The step at ``position`` (0 is FROM) of a stage."""
        file = self.request.dockerfile
        before = sum(1 + len(file.stages[other].body) for other in self.needed if other < index)
        number = len(file.arguments) + before + position + 1
        name = file.stages[index].head.name or f"stage-{index}"
        return Step(number, self.total, instruction.origin.text, name if len(file.stages) > 1 else "", index)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error inside, since the others are its consequence."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


@dataclass(frozen=True, slots=True)
class Outcome:
    """A build's image, without a name yet, and what it was made of.

    ``own`` are the keys of the image's own steps; ``used`` are the results of all steps, by key; ``mounts`` are the
    directories of cache mounts, by ID; ``secrets`` and ``agents`` are the IDs of what steps were shown;
    ``epoch`` is SOURCE_DATE_EPOCH in seconds.
    """

    image: Image
    own: tuple[str, ...]
    used: Mapping[str, Entry]
    mounts: Mapping[str, Path]
    materials: tuple[Material, ...]
    secrets: tuple[str, ...]
    agents: tuple[str, ...]
    epoch: int | None

    @property
    def own_layers(self) -> int:
        """How many of the image's layers are the build's, the last ones."""
        return sum(key in self.used and self.used[key].layer is not None for key in self.own)


async def build_image(workshop: Workshop, request: Request, observer: Observer) -> Outcome:
    """Build and register the image. Raises EngineError."""
    with workshop.storage.leases.take() as lease:
        build = Build(workshop, request, observer, lease)
        state = await build.run()
        if request.squash:
            image = await squashed(build, state, ACTIVE_PREFIX)
        else:
            image = await in_thread(_final_image, workshop.storage, state, request)
        return Outcome(
            image,
            state.steps,
            build.used,
            build.cache_mounts,
            tuple(build.materials.values()),
            tuple(sorted(build.secrets)),
            tuple(sorted(build.agents)),
            request.epoch,
        )


def _labelled(config: RunConfig, labels: Mapping[str, str]) -> RunConfig:
    return msgspec.structs.replace(config, labels={**(config.labels or {}), **labels}) if labels else config


def _final_image(storage: Storage, state: State, request: Request) -> Image:
    """The last state as an image: the last step's own where steps are kept, else one with the request's labels."""
    if request.keep_steps:
        if state.image is None:
            raise InvalidParameter("No image was generated. Is your Dockerfile empty?")
        if not ARGUMENTS & request.build_args.keys():
            return storage.images.get(state.image)
    config = unset(_labelled(state.config, request.labels), request.build_args)
    final = msgspec.structs.replace(state.image_config(with_steps=request.inline_cache), config=config)
    if request.epoch is not None:
        final = dated(final, request.epoch)
    return storage.images.create(final, state.layers, state.base)


def close_in_thread(fd: int) -> None:
    """Close the last fd of a mount where waiting for it holds up nobody."""
    asyncio.get_running_loop().run_in_executor(None, os.close, fd)
