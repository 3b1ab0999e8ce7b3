"""A build told in the words of ``docker build`` without BuildKit.

    Step 1/3 : FROM busybox
     ---> 3c6f3b1a2d4e
    Step 2/3 : RUN make
     ---> Running in 9f86d081884c        or   ---> Using cache
    …output…
     ---> Removed intermediate container 9f86d081884c
     ---> 2c26b46b68ff

Stages run side by side; what a later one says waits until those before it are over, so that the text reads as if
they had run in turn. One that waits with more than ``BACKLOG`` messages is held up.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sampan.api.progress import ImageID, Message, Progress, stream
from sampan.build.request import PREDEFINED, Step
from sampan.build.unset import ARGUMENTS
from sampan.dockerfile.checks import BuildWarning
from sampan.dockerfile.instructions import Arg, Dockerfile

BACKLOG = 4096


class ClassicOutput:
    """An ``Observer`` that writes to a ``Progress``; ``stages`` are the numbers of the stages in order.

    ``removes`` is whether containers of steps are said to go; ``quiet`` says nothing at all.
    """

    def __init__(self, progress: Progress, stages: Sequence[int], *, quiet: bool, removes: bool = True) -> None:
        self._progress = progress
        self._order = list(stages)
        self._ended: set[int] = set()
        self._waiting: dict[int, list[Message]] = defaultdict(list)
        self._moved = asyncio.Condition()
        self._quiet = quiet
        self._removes = removes
        self._running: dict[int, str] = {}
        self._images: dict[int, str] = {}

    async def started(self, step: Step) -> None:
        which, triggers = step.trigger
        if which == 0:
            await self._say(step.stage_index, f"Step {step.number}/{step.total} : {step.text}", "\n")
        elif which == 1:
            plural = ["s"] if triggers > 1 else []
            await self._say(step.stage_index, f"# Executing {triggers} build trigger", *plural, "\n")

    async def running(self, step: Step, container_id: str) -> None:
        self._running[step.stage_index] = container_id[:12]
        await self._say(step.stage_index, f" ---> Running in {container_id[:12]}\n")

    async def printed(self, step: Step, data: bytes, is_stderr: bool) -> None:
        text = data.decode(errors="replace")
        await self._say(step.stage_index, f"\x1b[91m{text}\x1b[0m" if is_stderr else text)

    async def finished(self, step: Step, state_id: str, *, cached: bool) -> None:
        container = self._running.pop(step.stage_index, "")
        lines = [" ---> Using cache\n"] if cached else []
        lines += [f" ---> Removed intermediate container {container}\n"] if container and self._removes else []
        lines += [f" ---> {state_id[:12]}\n"] if step.stage_index >= 0 else []
        self._images[step.stage_index] = state_id
        await self._say(step.stage_index, *lines)

    async def failed(self, step: Step, reason: str) -> None:
        """Everything said so far is shown; the error itself is the answer's."""
        self._images.pop(step.stage_index, None)
        self._ended.update(self._order)
        await self._advance()

    async def stage_ended(self, stage_index: int) -> None:
        """Tell the image that the stage has come to."""
        image = self._images.get(stage_index, "")
        if image and stage_index >= 0:
            await self._send(stage_index, [Message(aux=ImageID(f"sha256:{image}"))])
        self._ended.add(stage_index)
        await self._advance()

    async def _say(self, stage: int, *lines: str) -> None:
        await self._send(stage, [stream(line) for line in lines])

    async def _send(self, stage: int, messages: list[Message]) -> None:
        if self._quiet or not messages:
            return
        async with self._moved:
            if stage in self._order[:1] or stage not in self._order:
                for message in messages:
                    await self._progress.send(message)
                return
            self._waiting[stage] += messages
            await self._moved.wait_for(lambda: len(self._waiting[stage]) < BACKLOG or stage not in self._order[1:])

    async def _advance(self) -> None:
        async with self._moved:
            while self._order and self._order[0] in self._ended:
                self._order.pop(0)
                if self._order:
                    await self._flush(self._order[0])
            self._moved.notify_all()

    async def _flush(self, stage: int) -> None:
        for message in self._waiting.pop(stage, []):
            await self._progress.send(message)


def unconsumed(file: Dockerfile, given: Iterable[str]) -> list[str]:
    """Names of build arguments that no ARG of the file declares, sorted."""
    steps = [*file.arguments, *(step for stage in file.stages for step in stage.body if isinstance(step, Arg))]
    declared = {definition.key for step in steps for definition in step.definitions}
    return sorted(set(given) - declared - PREDEFINED - ARGUMENTS)


def unconsumed_line(names: Sequence[str]) -> Message:
    """``[Warning] One or more build-args [A B] were not consumed``."""
    return stream(f"[Warning] One or more build-args [{' '.join(names)}] were not consumed\n")


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
