"""Builds as clients see them: begun by ``Control.Solve``, filled by ``LLBBridge.Solve``, ended by ``Return``.

Control.Solve(Ref) ──────────────── blocks ────────────────▶ exporters ─▶ answer
   LLBBridge.Ping, Solve(dockerfile.v0) ─▶ image   Return ─┘        (metadata names the Ref)
   Control.Status(Ref) ─▶ progress …
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from sampan.build.buildkit.product import Product
from sampan.build.buildkit.session import Session
from sampan.build.buildkit.status import StatusLog
from sampan.errors import NotFound
from sampan.oci.descriptor import Descriptor
from sampan.storage.leases import Lease, Leases

ARRIVAL_SECONDS = 10.0
REMEMBERED = 64
"""Builds kept after their end, for clients that ask late how it went."""


@dataclass(eq=False)
class Solve:
    """One build: ``products`` and ``trees`` (fds) by reference, the latter until ``held`` closes, as does ``lease``.

    ``returned`` gets None, or the ``Status`` that the client reports. ``began`` in nanoseconds since 1970. ``options``
    are the frontend's; ``results`` are descriptors of what is said of each platform's image; ``session`` is a build's
    own that has none with a client.
    """

    ref: str
    request: Any
    began: int = field(default_factory=time.time_ns)
    log: StatusLog = field(default_factory=StatusLog)
    returned: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    products: dict[str, Product] = field(default_factory=dict)
    trees: dict[str, int] = field(default_factory=dict)
    held: AsyncExitStack = field(default_factory=AsyncExitStack)
    lease: Lease = field(kw_only=True)
    result: Product | None = None
    session: Session | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    results: dict[str, list[Descriptor]] = field(default_factory=dict)


class Solves:
    """All builds under way and the last that ended, by their reference."""

    def __init__(self, leases: Leases) -> None:
        self._solves: dict[str, Solve] = {}
        self._leases = leases
        self._changed = asyncio.Condition()

    async def begin(self, ref: str, request: Any) -> Solve:
        """A new build."""
        async with self._changed:
            held = AsyncExitStack()
            lease = held.enter_context(self._leases.take())
            solve = self._solves[ref] = Solve(ref, request, held=held, lease=lease)
            ended = [known.ref for known in self._solves.values() if known.log.ended]
            for old in ended[: max(0, len(ended) - REMEMBERED)]:
                del self._solves[old]
            self._changed.notify_all()
        return solve

    async def end(self, solve: Solve) -> None:
        """The build is over; those that follow its status see the end."""
        await solve.log.end()
        solve.trees.clear()

    async def release(self, solve: Solve) -> None:
        """What the build held is needed no more."""
        await solve.held.aclose()

    async def get(self, ref: str) -> Solve:
        """The build, waiting a while for one that is about to begin. Raises NotFound."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: ref in self._solves), ARRIVAL_SECONDS)
            except TimeoutError:
                raise NotFound(f"no such job {ref}") from None
            return self._solves[ref]
