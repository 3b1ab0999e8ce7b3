"""What a build is asked for, what it builds from, and whom it tells: values and contracts, no work.

classic POST /build ─┐
BuildKit's Solve     ├─▶ Request ─▶ building.Build ─▶ Outcome
sampan.build (API)  ─┘                  └─▶ Observer (steps begin, print, end)
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sampan.build.executor import Limits
from sampan.build.imported import Imported
from sampan.dockerfile.instructions import Dockerfile
from sampan.errors import NotFound
from sampan.oci.platform import Platform, host
from sampan.storage.images import Image

PREDEFINED = frozenset(
    name
    for base in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (base, base.lower())
)
"""ARGs that RUN sees without a declaration, and that neither history nor cache knows."""


class ImageSource(Protocol):
    """Where base images come from."""

    async def image(self, name: str, platform: Platform, *, pull: bool) -> Image:
        """The image ``name`` refers to, brought here if needed (``pull``: even if it is here). NoSuchImage, …"""


class Secrets(Protocol):
    """Where ``RUN --mount=type=secret`` gets its values."""

    async def secret(self, id: str) -> bytes | None:
        """The value, None when there is none of that name."""


class Agents(Protocol):
    """Where ``RUN --mount=type=ssh`` reaches ssh agents."""

    def forward(self, id: str, socket: Path) -> AbstractAsyncContextManager[None]:
        """Listen on the unix socket ``socket`` for the agent ``id`` until the end of the block. NotFound for none."""


class NoAgents:
    """No agents at all."""

    def forward(self, id: str, socket: Path) -> AbstractAsyncContextManager[None]:
        """Raises NotFound."""
        raise NotFound(f"no SSH key {id} was given to this build")


class NoSecrets:
    """No secrets at all."""

    async def secret(self, id: str) -> bytes | None:
        """None."""
        return None


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction as users see it: position among all steps of the build (from 1), its text, its stage.

    ``trigger`` counts an ONBUILD step of the base image: which of how many, from 1. ``place`` counts the steps of the
    stage that have files, as BuildKit does; (0, 0) for one without. ``expanded`` is the text with variables put in.
    """

    number: int
    total: int
    text: str
    stage: str
    stage_index: int
    trigger: tuple[int, int] = (0, 0)
    place: tuple[int, int] = (0, 0)
    expanded: str = ""


class Observer(Protocol):
    """Told of everything that happens; awaited, so a slow reader slows the build."""

    async def started(self, step: Step) -> None:
        """The step begins."""

    async def running(self, step: Step, container_id: str) -> None:
        """Its command is started in a container of this ID (64 hex digits)."""

    async def printed(self, step: Step, data: bytes, is_stderr: bool) -> None:
        """Its command printed something."""

    async def finished(self, step: Step, state_id: str, *, cached: bool) -> None:
        """It is done; ``state_id`` names the state it left (64 hex digits)."""

    async def failed(self, step: Step, reason: str) -> None:
        """It failed; the build ends."""

    async def stage_ended(self, stage_index: int) -> None:
        """No more steps of this stage will come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A build. ``context`` is the fd of the context's directory, the caller's to close.

    ``build_args`` None takes a variable's declaration as its value. ``epoch`` is SOURCE_DATE_EPOCH in seconds;
    with ``rewrite_timestamp`` no file of a new layer is younger than that. ``keep_steps`` makes an image of every
    step's state, as the classic builder promises; ``imported`` are steps that count as known because they were done
    elsewhere, beside those of earlier builds here if ``cache_here``; ``inline_cache`` lets the image say what its own
    steps were, for others to import.
    ``entitlements`` are what steps may ask for beyond a plain container: network.host, security.insecure.
    """

    dockerfile: Dockerfile
    context: int
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    no_cache: bool = False
    no_cache_stages: frozenset[str] = frozenset()
    pull: bool = False
    platform: Platform = field(default_factory=host)
    network: str = "default"
    extra_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    secrets: Secrets = field(default_factory=NoSecrets)
    named_contexts: Mapping[str, int] = field(default_factory=dict)
    named_images: Mapping[str, str] = field(default_factory=dict)
    agents: Agents = field(default_factory=NoAgents)
    epoch: int | None = None
    rewrite_timestamp: bool = False
    keep_steps: bool = False
    imported: Imported = field(default_factory=Imported)
    cache_here: bool = True
    inline_cache: bool = False
    squash: bool = False
    entitlements: frozenset[str] = frozenset({"network.host"})
