"""Work that outlives the request that began it: operations whose client went away, connections taken over."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from sampan.errors import EngineError

T = TypeVar("T")
log = logging.getLogger(__name__)


class Background:
    """A set of tasks that the server waits for when it stops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin ``work``; if nobody awaits the task its error is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which goes on when the caller is cancelled."""
        return await asyncio.shield(self.spawn(work))

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, (EngineError, ConnectionError)):
            log.debug("request ended with: %s", error)
        elif error is not None:
            log.error("request failed", exc_info=error)

    async def close(self, grace: float) -> None:
        """Wait ``grace`` seconds for everything to end, then cancel the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        rest = list(self._tasks)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
