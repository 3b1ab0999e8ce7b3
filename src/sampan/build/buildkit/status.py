"""A build's events as BuildKit's ``StatusResponse``s: a vertex per step that has files, its output as logs.

#4 [internal] load build context            Activity: a vertex that is no step
#4 transferring context: 31B done           a task of it
#5 [app 2/3] RUN make                       a step: its stage, and which of the stage's steps with files
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sampan.build.buildkit import messages as m
from sampan.build.buildkit.failures import Text
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

    ``platform`` is said with each step when a build is for several; ``source`` is the Dockerfile, once it is here.
    """

    def __init__(self) -> None:
        self.platform = ""
        self.source: Text | None = None
        self._printed: Counter[str] = Counter()
        self._responses: list[Any] = []
        self.ended = False
        self._grown = asyncio.Condition()
        self._vertices: dict[str, Any] = {}

    async def started(self, step: Step) -> None:
        if step.place != (0, 0):
            await self.begin(self._digest(step), name_of(step, self.platform))

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
        await self.say(m.StatusResponse(logs=[log]))

    async def finished(self, step: Step, state_id: str, *, cached: bool) -> None:
        if step.place != (0, 0):
            await self.complete(self._digest(step), cached=cached)

    async def failed(self, step: Step, reason: str) -> None:
        if step.place != (0, 0):
            await self.complete(self._digest(step), error=reason)

    async def stage_ended(self, stage_index: int) -> None:
        """A vertex says no more of it."""

    @asynccontextmanager
    async def vertex(self, name: str, id: str = "") -> AsyncIterator["Activity"]:
        """Something shown like a step, from here to the end of the block; ``id`` tells apart those of one name."""
        digest = digest_of_text(id or name)
        await self.begin(digest, name)
        try:
            yield Activity(self, digest)
        except EngineError as error:
            await self.complete(digest, error=error.message)
            raise
        except BaseException:
            await asyncio.shield(self.complete(digest, error="context canceled"))
            raise
        await self.complete(digest)

    async def warn(self, vertex: str, filename: str, text: str, warnings: Sequence[BuildWarning]) -> None:
        """Show what checks found in a Dockerfile, as warnings of a vertex."""
        if not warnings:
            return
        info = m.SourceInfo(filename=filename, data=text.encode(), language="Dockerfile")
        shown = [_warning(digest_of_text(vertex), info, warning) for warning in warnings]
        await self.say(m.StatusResponse(warnings=shown))

    async def begin(self, digest: str, name: str) -> None:
        """A vertex starts."""
        vertex = self._vertices[digest] = m.Vertex(digest=digest, name=name, started=now())
        await self.say(m.StatusResponse(vertexes=[vertex]))

    async def complete(self, digest: str, *, cached: bool = False, error: str = "") -> None:
        """A vertex that was begun is over."""
        vertex = self._vertices[digest]
        vertex.completed.CopyFrom(now())
        vertex.cached, vertex.error = cached, error
        await self.say(m.StatusResponse(vertexes=[vertex]))

    @property
    def responses(self) -> list[Any]:
        """Everything that was told."""
        return self._responses

    @property
    def vertices(self) -> list[Any]:
        """Each vertex as it is now."""
        return list(self._vertices.values())

    def _digest(self, step: Step) -> str:
        """The name of a step's vertex within its build."""
        return digest_of_text(f"{self.platform} {step.number} {step.trigger} {step.text}")

    async def say(self, response: Any) -> None:
        """Tell the readers."""
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


class Activity:
    """A vertex under way; ``task`` is a line of it."""

    def __init__(self, log: StatusLog, vertex: str) -> None:
        self._log = log
        self._vertex = vertex

    @asynccontextmanager
    async def task(self, name: str) -> AsyncIterator["Task"]:
        """A part of the work, from here to the end of the block."""
        task = Task(m.VertexStatus(ID=name, vertex=self._vertex, timestamp=now(), started=now()))
        await self._log.say(m.StatusResponse(statuses=[task.status]))
        yield task
        task.status.completed.CopyFrom(now())
        task.status.timestamp.CopyFrom(now())
        await self._log.say(m.StatusResponse(statuses=[task.status]))

    async def done(self, name: str) -> None:
        """A part of the work that took no time."""
        async with self.task(name):
            pass


@dataclass(frozen=True, slots=True)
class Task:
    """A line of a vertex."""

    status: Any

    def count(self, size: int) -> None:
        """Bytes that were moved so far; told with the end."""
        self.status.current = size


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
    """``[build 2/4] RUN make``; ``[linux/arm64 build 2/4] …`` in a build for several platforms."""
    place, places = step.place
    words = [word for word in (platform, step.stage, f"{place:{len(str(places))}}/{places}") if word]
    return (
        f"[{' '.join(words)}] {'ONBUILD ' if step.trigger[0] else ''}{' '.join((step.expanded or step.text).split())}"
    )
