"""SIGHUP: the configuration is read again, and what may change while the daemon runs is taken over."""

import asyncio
import logging
import time
from collections.abc import Callable

from sampan import config
from sampan.daemon import logs
from sampan.daemon.notify import notify
from sampan.engine.engine import Engine
from sampan.errors import EngineError
from sampan.server.authorization import Authorization

log = logging.getLogger("sampan.daemon")


class Reloading:
    """Reloads one after the other: what was read last is what holds."""

    def __init__(self, engine: Engine, authorization: Authorization, read: Callable[[], config.Config]) -> None:
        """``read`` gives the settings as they are configured now; raises EngineError."""
        self._engine, self._authorization, self._read = engine, authorization, read
        self._turn = asyncio.Lock()

    def begin(self) -> None:
        """Have the configuration read again."""
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        log.info("Got signal to reload configuration")
        self._engine.context.supervisor.spawn(self.reload(), "reload")

    async def reload(self) -> None:
        """Read the configuration and hand it on; a broken file, or a plugin that cannot be asked, changes nothing."""
        async with self._turn:
            try:
                settings = self._read()
                await self._authorization.replace_plugins(settings.authorization_plugins)
            except EngineError as error:
                log.error("Error reloading configuration: %s", error)
            else:
                self._engine.reconfigure(settings)
                logs.set_level(self._engine.context.config)
                log.info("Reloaded configuration")
            notify("READY=1")
