"""Work that outlives the request that began it: watchers of containers, restarts, health checks, expiry.

Every such task is started here and nowhere else, so that none is lost to the garbage collector, a failure is always
logged with the task's name (and where it was raised, if nobody foresaw it), and closing the engine ends them all.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from sampan.errors import EngineError

log = logging.getLogger("sampan.engine")


class Supervisor:
    """Owner of the engine's background tasks."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` on its own; a failure is logged under ``name``."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            foreseen = isinstance(error, EngineError)
            log.error("%s failed: %s", task.get_name(), error, exc_info=None if foreseen else error)

    async def close(self) -> None:
        """Cancel what still runs and wait until all of it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
