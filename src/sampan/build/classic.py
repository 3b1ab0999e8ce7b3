"""A build told in the words of ``docker build`` without BuildKit.

    Step 1/3 : FROM busybox
     ---> 3c6f3b1a2d4e
    Step 2/3 : RUN make
     ---> Running in 9f86d081884c        or   ---> Using cache
    …output…
    Removing intermediate container 9f86d081884c
     ---> 2c26b46b68ff

Stages run side by side; what a later one says waits until those before it are over, so that the text reads as if
they had run in turn. One that waits with more than ``BACKLOG`` messages is held up.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from sampan.api.progress import Message, Progress, stream
from sampan.build.request import Step
from sampan.dockerfile.checks import BuildWarning

BACKLOG = 4096


class ClassicOutput:
    """An ``Observer`` that writes to a ``Progress``; ``stages`` are the numbers of the stages in order."""

    def __init__(self, progress: Progress, stages: Sequence[int], *, quiet: bool) -> None:
        self._progress = progress
        self._order = list(stages)
        self._ended: set[int] = set()
        self._waiting: dict[int, list[str]] = defaultdict(list)
        self._moved = asyncio.Condition()
        self._quiet = quiet
        self._running: dict[int, str] = {}

    async def started(self, step: Step) -> None:
        which, triggers = step.trigger
        if which == 0:
            await self._say(step.stage_index, f"Step {step.number}/{step.total} : {step.text}\n")
        elif which == 1:
            await self._say(step.stage_index, f"# Executing {triggers} build trigger{'s' if triggers > 1 else ''}\n")

    async def running(self, step: Step, container_id: str) -> None:
        self._running[step.stage_index] = container_id[:12]
        await self._say(step.stage_index, f" ---> Running in {container_id[:12]}\n")

    async def printed(self, step: Step, data: bytes, is_stderr: bool) -> None:
        text = data.decode(errors="replace")
        await self._say(step.stage_index, f"\x1b[91m{text}\x1b[0m" if is_stderr else text)

    async def finished(self, step: Step, state_id: str, *, cached: bool) -> None:
        container = self._running.pop(step.stage_index, "")
        lines = [" ---> Using cache\n"] if cached else []
        lines += [f"Removing intermediate container {container}\n"] if container else []
        lines += [f" ---> {state_id[:12]}\n"] if step.stage_index >= 0 else []
        await self._say(step.stage_index, "".join(lines))

    async def failed(self, step: Step, reason: str) -> None:
        """Everything said so far is shown; the error itself is the answer's."""
        self._ended.update(self._order)
        await self._advance()

    async def stage_ended(self, stage_index: int) -> None:
        self._ended.add(stage_index)
        await self._advance()

    async def _say(self, stage: int, text: str) -> None:
        if self._quiet or not text:
            return
        async with self._moved:
            if stage in self._order[:1] or stage not in self._order:
                await self._progress.send(stream(text))
                return
            self._waiting[stage].append(text)
            await self._moved.wait_for(lambda: len(self._waiting[stage]) < BACKLOG or stage not in self._order[1:])

    async def _advance(self) -> None:
        async with self._moved:
            while self._order and self._order[0] in self._ended:
                self._order.pop(0)
                if self._order:
                    await self._flush(self._order[0])
            self._moved.notify_all()

    async def _flush(self, stage: int) -> None:
        for text in self._waiting.pop(stage, []):
            await self._progress.send(stream(text))


def warning_line(warning: BuildWarning) -> Message:
    """``[Warning] StageNameCasing: … (line 3)``, as what goes to standard error."""
    text = f"[Warning] {warning.rule}: {warning.message} (line {warning.found.span.start})\n"
    return stream(f"\x1b[91m{text}\x1b[0m")


def image_line(image_id: str) -> Message:
    """``Successfully built 0123456789ab``."""
    return stream(f"Successfully built {image_id.partition(':')[2][:12]}\n")


def tag_line(name: str) -> Message:
    """``Successfully tagged app:latest``."""
    return stream(f"Successfully tagged {name}\n")
