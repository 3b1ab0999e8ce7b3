"""What a stage has come to after some of its steps: a value; every step makes the next one.

key ── sha256(key before, words of the step, content it reads)
chain, diff_ids, layers ── the file system          config, history ── what the image will say
"""

import hashlib
from dataclasses import dataclass, field, replace

import msgspec

from sampan.build.cache import Entry
from sampan.dockerfile.changes import DEFAULT_PATH, environment
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.oci.digest import ChainID, DiffID, Digest
from sampan.oci.image_config import History, ImageConfig, RootFS, RunConfig
from sampan.oci.platform import Platform
from sampan.storage.images import Image

COMMENT = "buildkit.dockerfile.v0"


@dataclass(frozen=True, slots=True)
class State:
    """A point in a stage. ``arguments`` are the ARGs in scope; ``base`` is the parent of the next image,
    ``origin`` the image that the stage stands on.

    ``image`` is the image that this very state is, if there is one; ``steps`` are the keys of the build's own steps.
    """

    key: str
    platform: Platform
    chain: ChainID | None = None
    diff_ids: tuple[DiffID, ...] = ()
    layers: tuple[Descriptor, ...] = ()
    config: RunConfig = field(default_factory=RunConfig)
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    cmd_is_own: bool = False
    base: Digest | None = None
    image: Digest | None = None
    origin: Digest | None = None
    steps: tuple[str, ...] = ()

    def next_key(self, *parts: str) -> str:
        """The key of a step that depends on this state and on ``parts``."""
        state = hashlib.sha256(self.key.encode())
        for part in parts:
            state.update(f"\0{len(part)}\0{part}".encode("utf-8", "surrogateescape"))
        return state.hexdigest()

    def after(self, key: str, entry: Entry, comment: str = COMMENT) -> "State":
        """This state with a step's result on top."""
        step = History(entry.created, entry.description, self.author, comment, empty_layer=entry.layer is None)
        grown = replace(self, key=key, history=(*self.history, step), created=entry.created, image=None)
        grown = replace(grown, steps=(*self.steps, key))
        if entry.layer is None or entry.diff_id is None:
            return grown
        return replace(
            grown,
            chain=digests.extend(self.chain, entry.diff_id),
            diff_ids=(*self.diff_ids, entry.diff_id),
            layers=(*self.layers, entry.layer),
        )

    def stack(self) -> list[ChainID]:
        """Chain IDs of all layers, lowest first."""
        chains: list[ChainID] = []
        for diff_id in self.diff_ids:
            chains.append(digests.extend(chains[-1] if chains else None, diff_id))
        return chains

    def image_config(self, *, with_steps: bool = False) -> ImageConfig:
        """The config of the image that this state is, with its steps' keys if wanted."""
        return ImageConfig(
            architecture=self.platform.architecture,
            os=self.platform.os,
            variant=self.platform.variant,
            created=self.created,
            author=self.author,
            config=self.config,
            rootfs=RootFS(list(self.diff_ids)),
            history=self.history,
            steps=self.steps if with_steps else (),
        )


def scratch(platform: Platform) -> State:
    """Nothing at all."""
    return State(key=hashlib.sha256(f"scratch {platform}".encode()).hexdigest(), platform=platform)


def with_path(state: State) -> State:
    """The beginning of a stage: an environment without PATH gets the usual one."""
    if "PATH" in environment(state.config):
        return state
    env = [*(state.config.env or ()), f"PATH={DEFAULT_PATH}"]
    return replace(state, config=msgspec.structs.replace(state.config, env=env))


def from_image(image: Image) -> State:
    """The state that an image is."""
    config = image.config.value
    return State(
        key=hashlib.sha256(image.id.encode()).hexdigest(),
        platform=image.platform,
        chain=image.chain_id,
        diff_ids=tuple(config.diff_ids),
        layers=tuple(image.manifest.value.layers),
        config=config.config,
        history=tuple(config.history),
        created=config.created,
        author=config.author,
        base=image.id,
        origin=image.id,
        image=image.id,
        steps=config.steps,
    )
