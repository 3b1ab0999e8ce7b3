"""Work that outlives the request that began it: operations whose client went away, connections taken over."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from sampan.errors import EngineError

T = TypeVar("T")
log = logging.getLogger(__name__)


class Background:
    """The tasks of the server: those that it lets end when it stops, and those that would never end by themselves."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._endless: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin ``work``; if nobody awaits the task its error is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which goes on when the caller is cancelled."""
        return await asyncio.shield(self.spawn(work))

    def expect_no_end(self) -> None:
        """The current task serves a connection for as long as the client likes."""
        task = asyncio.current_task()
        if task in self._tasks:
            self._endless.add(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._endless.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, (EngineError, ConnectionError)):
            log.debug("request ended with: %s", error)
        elif error is not None:
            log.error("request failed", exc_info=error)

    async def close(self, grace: float) -> None:
        """Cancel what has no end, wait ``grace`` seconds for everything else, then cancel the rest."""
        _cancel(self._endless)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        rest = list(self._tasks)
        _cancel(rest)
        await asyncio.gather(*rest, return_exceptions=True)


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in list(tasks):
        task.cancel()
