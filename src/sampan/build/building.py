"""A build under way: what its steps share, and its stages, each a task; one that needs another awaits its task.

Build.run ─▶ stage 2 ─▶ (awaits) stage 0
          └▶ stage 1 (side by side)
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.build import stages
from sampan.build.cache import Cache, Entry
from sampan.build.executor import Executor
from sampan.build.provenance import Material, image_uri
from sampan.build.request import ImageSource, Observer, Request, Step
from sampan.build.state import State, from_image
from sampan.build.threads import in_thread
from sampan.dockerfile import instructions as ins
from sampan.linux.inode_flags import make_home_of_trees
from sampan.oci.platform import Platform, host
from sampan.storage.leases import Lease
from sampan.storage.store import Storage

MakeStage = Callable[["Build", int], Coroutine[Any, Any, State]]


@dataclass(frozen=True)
class Workshop:
    """What every build works with: one per data root.

    ``scratch`` is a private directory, ``private`` one in memory for what must never reach a disk; ``ended`` is told
    of the end of each build.
    """

    storage: Storage
    cache: Cache
    executor: Executor
    images: ImageSource
    scratch: Path
    private: Path
    cache_mounts: Path
    ended: Callable[[], object] = lambda: None

    def make(self) -> None:
        """Make the directories."""
        for directory in (self.scratch, self.private, self.cache_mounts):
            make_home_of_trees(directory, 0o700)


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
    """A build under way; ``make_stage`` builds the stage of an index, with all that its steps may ask of the build."""

    def __init__(
        self, workshop: Workshop, request: Request, observer: Observer, lease: Lease, make_stage: MakeStage
    ) -> None:
        self.workshop = workshop
        self.request = request
        self.observer = observer
        self.lease = lease
        self._make_stage = make_stage
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
            self._tasks[index] = self._group.create_task(self._make_stage(self, index))
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
