"""The engine: opens what is on disk, wires the services together, and closes in the reverse order.

    open    data root → database → content, snapshots → images, volumes → networks → containers (adopts those running)
    close   background tasks → containers' monitors let go (they go on) → networks → database

One attribute per service, one method per operation of the API; no operation lives here.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

from sampan.config import Config
from sampan.engine.events import Events
from sampan.engine.supervisor import Supervisor
from sampan.storage.content import ContentStore
from sampan.storage.database import Database

log = logging.getLogger("sampan.engine")

THREADS = 8


class Roots:
    """Where the engine keeps things; see docs/architecture.md, "On disk"."""

    def __init__(self, config: Config) -> None:
        self.data = Path(config.data_root)
        self.run = Path(config.exec_root)
        self.containers = self.data / "containers"
        self.volumes = self.data / "volumes"
        self.content = self.data / "content"
        self.snapshots = self.data / "snapshots"
        self.temporary = self.data / "tmp"
        self.monitors = self.run / "containers"

    def make(self) -> None:
        """Make the directories; only root may look into them."""
        for path in (self.containers, self.volumes, self.content, self.snapshots, self.temporary, self.monitors):
            path.mkdir(mode=0o710, parents=True, exist_ok=True)


class Engine:
    """All services of one data root."""

    config: Config
    roots: Roots
    database: Database
    content: ContentStore
    events: Events
    supervisor: Supervisor
    threads: ThreadPoolExecutor

    def __init__(self, config: Config, stack: AsyncExitStack) -> None:
        self.config = config
        self._stack = stack

    @classmethod
    async def open(cls, config: Config) -> "Engine":
        """Open everything under ``config.data_root``; containers that run are adopted before this returns."""
        async with AsyncExitStack() as stack:
            engine = cls(config, stack)
            await engine._open()
            engine._stack = stack.pop_all()
            return engine
        raise AssertionError("unreachable")

    async def _open(self) -> None:
        stack = self._stack
        self.roots = Roots(self.config)
        self.roots.make()
        self.threads = stack.enter_context(ThreadPoolExecutor(THREADS, "engine"))
        asyncio.get_running_loop().set_default_executor(self.threads)
        self.database = Database(self.roots.data / "engine.db")
        stack.callback(self.database.close)
        self.events = Events()
        self.supervisor = Supervisor()
        stack.push_async_callback(self.supervisor.close)

    def reconfigure(self, config: Config) -> None:
        """Take over the settings that may change while running (SIGHUP): labels, debug, runtimes, mirrors…"""
        self.config = config
        self.events.publish("daemon", "reload", self.config.data_root, {"name": self.config.data_root})

    async def close(self) -> None:
        """Let go of everything; containers run on under their monitors."""
        await self._stack.aclose()
