"""A build's events as BuildKit's ``StatusResponse``s: a vertex per step, its output as logs."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

from sampan.build.buildkit import messages as m
from sampan.build.request import Step

STDOUT, STDERR = 1, 2


def now() -> Any:
    """A ``Timestamp``."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return m.Timestamp(seconds=seconds, nanos=nanos)


class StatusLog:
    """An ``Observer`` that keeps everything for the readers of ``Control.Status``; any number may follow."""

    def __init__(self) -> None:
        self._responses: list[Any] = []
        self.ended = False
        self._grown = asyncio.Condition()
        self._vertices: dict[int, Any] = {}

    async def started(self, step: Step) -> None:
        vertex = m.Vertex(digest=digest_of(step), name=name_of(step), started=now())
        self._vertices[step.number] = vertex
        await self._say(m.StatusResponse(vertexes=[vertex]))

    async def running(self, step: Step, container_id: str) -> None:
        """A vertex says no more of it."""

    async def printed(self, step: Step, data: bytes, is_stderr: bool) -> None:
        log = m.VertexLog(vertex=digest_of(step), timestamp=now(), stream=STDERR if is_stderr else STDOUT, msg=data)
        await self._say(m.StatusResponse(logs=[log]))

    async def finished(self, step: Step, state_id: str, *, cached: bool) -> None:
        await self._complete(step, cached=cached)

    async def failed(self, step: Step, reason: str) -> None:
        await self._complete(step, error=reason)

    async def stage_ended(self, stage_index: int) -> None:
        """A vertex says no more of it."""

    async def _complete(self, step: Step, *, cached: bool = False, error: str = "") -> None:
        vertex = self._vertices[step.number]
        vertex.completed.CopyFrom(now())
        vertex.cached, vertex.error = cached, error
        await self._say(m.StatusResponse(vertexes=[vertex]))

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


def digest_of(step: Step) -> str:
    """The name of a step's vertex within its build."""
    return f"sha256:{hashlib.sha256(f'{step.number} {step.text}'.encode()).hexdigest()}"


def name_of(step: Step) -> str:
    """``[build 2/7] RUN make``."""
    stage = step.stage or (f"stage-{step.stage_index}" if step.stage_index > 0 else "")
    return f"[{f'{stage} ' if stage else ''}{step.number}/{step.total}] {' '.join(step.text.split())}"
