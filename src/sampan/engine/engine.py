"""The engine: opens what is on disk, wires the services together, and closes in the reverse order.

    open    data root → storage → volumes → networks → containers (adopts those that run) → images, system
    close   background tasks → monitors let go (the containers go on) → networks → storage

One attribute per service, one method per operation of the API; no operation lives here.
"""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.build.leftovers import remove_leftovers
from sampan.config import Config
from sampan.engine.catalog import Catalog
from sampan.engine.containers import Containers
from sampan.engine.context import Context, Roots
from sampan.engine.events import Events
from sampan.engine.execs import Execs
from sampan.engine.images import Images
from sampan.engine.info import engine_id
from sampan.engine.membership import Directory
from sampan.engine.registry import Registries
from sampan.engine.reload import attributes, reloaded
from sampan.engine.remap import open_remap
from sampan.engine.supervisor import Supervisor
from sampan.engine.system import System
from sampan.engine.validate import default_layer_size
from sampan.engine.volumes import Volumes
from sampan.errors import EngineError
from sampan.network.networks import Networks
from sampan.runtime.program import sealed_program
from sampan.runtime.zygote import Zygote
from sampan.storage.store import Storage

if TYPE_CHECKING:
    from sampan.engine.builder import Builder
    from sampan.engine.metrics import EngineMetrics

log = logging.getLogger("sampan.engine")

THREADS = 16
COPY_INTERVAL = 300.0
"""Seconds between copies of a database that changes."""


class Engine:
    """All services of one data root."""

    context: Context
    events: Events
    containers: Containers
    execs: Execs
    images: Images
    networks: Networks
    registries: Registries
    volumes: Volumes
    system: System

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    @classmethod
    async def open(cls, config: Config) -> "Engine":
        """Open everything under ``config.data_root``; containers that run are adopted before this returns."""
        async with AsyncExitStack() as stack:
            engine = cls(stack)
            await engine._open(config)
            engine._stack = stack.pop_all()
        return engine

    async def _open(self, config: Config) -> None:
        stack = self._stack
        remap = open_remap(config.userns_remap)
        if remap is not None:
            stack.callback(os.close, remap.namespace)
        roots = Roots(Path(config.data_root), Path(config.exec_root))
        roots.make()
        check_builder(config, roots.data)
        threads = stack.enter_context(ThreadPoolExecutor(THREADS, "engine"))
        asyncio.get_running_loop().set_default_executor(threads)
        storage = stack.enter_context(Storage.open(roots.data))
        default_layer_size(config.storage_opts, storage.snapshots.quotas)
        self.events = Events()
        publish = self.events.publish
        self.volumes = Volumes(roots.data, storage.database, publish)
        self.networks = Networks(config, storage.database, roots.run, publish, remap.maps if remap else None)
        zygote = stack.enter_context(Zygote())
        sealed_program()  # now: an upgrade may replace the program before the first container starts
        self.context = Context(
            config, roots, storage, self.networks, self.volumes, self.events, Supervisor(), threads, zygote, remap
        )
        self._catalog = catalog = Catalog(self.context)
        self.networks.directory = Directory(catalog)
        await self.networks.open()
        stack.push_async_callback(self.networks.close)
        self.execs = Execs(self.context, catalog)
        self.containers = Containers(self.context, catalog, self.execs)
        self.registries = Registries(config, storage, self.events)
        stack.push_async_callback(self.registries.close)
        remove_leftovers(storage, roots.data, roots.run)
        self.images = Images(storage, self.events, self.containers, self.registries)
        self.system = System(self.context, catalog, self.containers, self.images, self.registries)
        stack.push_async_callback(self.containers.close)
        stack.push_async_callback(self.context.supervisor.close)
        await self.containers.restore()
        self.context.supervisor.spawn(self._keep_copy(), "copy of the database")

    @cached_property
    def builder(self) -> "Builder":
        """Made for the first build, with all it needs: a daemon that never builds is a tenth smaller."""
        from sampan.engine.builder import Builder
        from sampan.engine.builder_images import BaseImages

        return Builder(self.context, BaseImages(self.context.storage, self.registries))

    @cached_property
    def metrics(self) -> "EngineMetrics":
        """Counted from the first look on, where somebody looks at all."""
        from sampan.engine.metrics import EngineMetrics

        return EngineMetrics(self._catalog, self.events, containers=self.context.config.metrics_containers)

    async def _keep_copy(self) -> None:
        """A copy of the database that is never older than some minutes."""
        while True:
            try:
                self.containers.catalog.catch_up()
                await asyncio.to_thread(self.context.storage.backup.save)
            except (EngineError, OSError) as error:
                log.warning("the database could not be copied: %s", error)
            await asyncio.sleep(COPY_INTERVAL)

    def reconfigure(self, config: Config) -> None:
        """Take over the settings that may change while running (SIGHUP), and tell of it."""
        self.context.config = reloaded(self.context.config, config)
        self.registries.reconfigure(self.context.config)
        self.events.publish(
            "daemon",
            "reload",
            engine_id(self.context.roots.data),
            {**attributes(self.context.config), "name": os.uname().nodename},
        )

    async def close(self) -> None:
        """Let go of everything; containers run on under their monitors."""
        await self._stack.aclose()


def check_builder(config: Config, data_root: Path) -> None:
    """Raise InvalidParameter for a wrong ``builder`` section, before the first build needs it."""
    if config.builder:
        from sampan.engine.builder_collection import policies_of

        policies_of(config.builder, data_root)
