"""One build: its last state as an image.

last state ─▶ labels ─▶ image
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.build.building import Build, Workshop
from sampan.build.cache import Entry
from sampan.build.conversion import dated
from sampan.build.leftovers import ACTIVE_PREFIX
from sampan.build.provenance import Material
from sampan.build.request import Observer, Request
from sampan.build.squash import squashed
from sampan.build.stage import build_stage
from sampan.build.state import State
from sampan.build.threads import in_thread
from sampan.build.unset import ARGUMENTS, unset
from sampan.errors import InvalidParameter
from sampan.oci.image_config import RunConfig
from sampan.storage.images import Image
from sampan.storage.store import Storage


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
    with ExitStack() as held:
        held.callback(workshop.ended)
        lease = held.enter_context(workshop.storage.leases.take())
        build = Build(workshop, request, observer, lease, build_stage)
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
