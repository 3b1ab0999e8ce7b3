"""Compresses rotated log files of containers that ask for it, when they appear: one watch of the kernel's for all."""

import asyncio
import os
from contextlib import suppress

from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.log_files import compressed
from sampan.engine.log_parts import compress_rotated
from sampan.linux.inotify import Created


class Compression:
    """The watch over the directories of running containers; one file is compressed at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._created: Created | None = None
        self._watched: dict[int, Container] = {}
        self._turn = asyncio.Lock()

    def begin(self, container: Container) -> None:
        """The container runs: compress what was rotated, and from now on what is."""
        if not compressed(container):
            return
        if self._created is None:
            self._created = Created()
            asyncio.get_running_loop().add_reader(self._created.fd, self._look)
        with suppress(FileNotFoundError):
            self._watched[self._created.watch(str(container.log_path.parent))] = container
            self._compress(container)

    def _look(self) -> None:
        """Files were made: a live one means that its forerunner was rotated."""
        assert self._created is not None
        for watch, name in self._created.read():
            container = self._watched.get(watch)
            if container is None:
                continue
            if not name:
                del self._watched[watch]
            elif name == os.fsencode(container.log_path.name):
                self._compress(container)

    def _compress(self, container: Container) -> None:
        self._context.supervisor.spawn(self._run(container), f"log compression of {container.id[:12]}")

    async def _run(self, container: Container) -> None:
        async with self._turn:
            with suppress(OSError):  # a full disk: the file stays as it is until the next rotation
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._context.threads, compress_rotated, container.log_path)
