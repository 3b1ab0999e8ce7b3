"""A build's events as BuildKit's ``StatusResponse``s: a vertex per step, its output as logs."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sampan.build.buildkit import messages as m
from sampan.build.request import Step
from sampan.dockerfile.checks import BuildWarning
from sampan.errors import EngineError

STDOUT, STDERR = 1, 2
LOG_LIMIT = 2 << 20
"""Bytes of output kept of one step; BuildKit's own limit."""
CLIPPED = b"\n[output clipped, log limit 2MiB reached]\n"


def now() -> Any:
    """A ``Timestamp``."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return m.Timestamp(seconds=seconds, nanos=nanos)


class StatusLog:
    """An ``Observer`` that keeps everything for the readers of ``Control.Status``; any number may follow.

    ``platform`` is said with each step when a build is for several.
    """

    def __init__(self) -> None:
        self.platform = ""
        self._printed: Counter[str] = Counter()
        self._responses: list[Any] = []
        self.ended = False
        self._grown = asyncio.Condition()
        self._vertices: dict[str, Any] = {}

    async def started(self, step: Step) -> None:
        name = name_of(step, self.platform)
        await self.begin(self._digest(step), name)

    async def running(self, step: Step, container_id: str) -> None:
        """A vertex says no more of it."""

    async def printed(self, step: Step, data: bytes, is_stderr: bool) -> None:
        vertex = self._digest(step)
        left = LOG_LIMIT - self._printed[vertex]
        self._printed[vertex] += len(data)
        if left <= 0:
            return
        shown = data if len(data) <= left else data[:left] + CLIPPED
        log = m.VertexLog(vertex=vertex, timestamp=now(), stream=STDERR if is_stderr else STDOUT, msg=shown)
        await self._say(m.StatusResponse(logs=[log]))

    async def finished(self, step: Step, state_id: str, *, cached: bool) -> None:
        await self.complete(self._digest(step), cached=cached)

    async def failed(self, step: Step, reason: str) -> None:
        await self.complete(self._digest(step), error=reason)

    async def stage_ended(self, stage_index: int) -> None:
        """A vertex says no more of it."""

    @asynccontextmanager
    async def vertex(self, name: str) -> AsyncIterator[None]:
        """Something shown like a step, from here to the end of the block."""
        digest = digest_of_text(name)
        await self.begin(digest, name)
        try:
            yield
        except EngineError as error:
            await self.complete(digest, error=error.message)
            raise
        await self.complete(digest)

    async def warn(self, vertex: str, filename: str, text: str, warnings: Sequence[BuildWarning]) -> None:
        """Show what checks found in a Dockerfile, as warnings of a vertex."""
        if not warnings:
            return
        info = m.SourceInfo(filename=filename, data=text.encode(), language="Dockerfile")
        async with self.vertex(vertex):
            shown = [_warning(digest_of_text(vertex), info, warning) for warning in warnings]
            await self._say(m.StatusResponse(warnings=shown))

    async def begin(self, digest: str, name: str) -> None:
        """A vertex starts."""
        vertex = self._vertices[digest] = m.Vertex(digest=digest, name=name, started=now())
        await self._say(m.StatusResponse(vertexes=[vertex]))

    async def complete(self, digest: str, *, cached: bool = False, error: str = "") -> None:
        """A vertex that was begun is over."""
        vertex = self._vertices[digest]
        vertex.completed.CopyFrom(now())
        vertex.cached, vertex.error = cached, error
        await self._say(m.StatusResponse(vertexes=[vertex]))

    def _digest(self, step: Step) -> str:
        """The name of a step's vertex within its build."""
        return digest_of_text(f"{self.platform} {step.number} {step.trigger} {step.text}")

    async def _say(self, response: Any) -> None:
        async with self._grown:
            self._responses.append(m.StatusResponse.FromString(response.SerializeToString()))
            self._grown.notify_all()

    async def end(self) -> None:
        """No more will come."""
        async with self._grown:
            self.ended = True
            self._grown.notify_all()

    async def follow(self) -> AsyncIterator[Any]:
        """Everything from the beginning, until the end."""
        position = 0
        while True:
            async with self._grown:
                while not self.ended and len(self._responses) == position:
                    await self._grown.wait()
                fresh = self._responses[position:]
            for response in fresh:
                yield response
            position += len(fresh)
            if self.ended and position == len(self._responses):
                return


def _warning(vertex: str, info: Any, warning: BuildWarning) -> Any:
    span = warning.found.span
    lines = m.Range(start=m.Position(line=span.start), end=m.Position(line=span.end))
    return m.VertexWarning(
        vertex=vertex,
        level=1,
        short=f"{warning.rule}: {warning.message} (line {span.start})".encode(),
        detail=[warning.description.encode()],
        url=warning.url,
        info=info,
        ranges=[lines],
    )


def digest_of_text(text: str) -> str:
    """A digest, as vertices are named."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def name_of(step: Step, platform: str = "") -> str:
    """``[build 2/7] RUN make``; ``[linux/arm64 build 2/7] …`` in a build for several platforms."""
    stage = step.stage or (f"stage-{step.stage_index}" if step.stage_index > 0 else "")
    words = [word for word in (platform, stage, f"{step.number}/{step.total}") if word]
    return f"[{' '.join(words)}] {' '.join(step.text.split())}"
