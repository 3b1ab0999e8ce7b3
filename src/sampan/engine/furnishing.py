"""A starting container's network, made ready beside its process.

    open ──▶ the namespace, which the process joins
    beside ──▶ endpoints, names, ports, the files of /etc ── a byte ──▶ the process, which waits before its program

What the process is told at its making must be known before: then all is made ready first.
"""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

from sampan.engine.container import Container
from sampan.engine.hosts_files import lay_network_files, write_network_files
from sampan.engine.membership import member_of, record_endpoints
from sampan.network.member import Member
from sampan.network.networks import Networks


class Furnishing:
    """The network of one start."""

    def __init__(self, networks: Networks, container: Container) -> None:
        self._networks, self._container = networks, container
        self._member: Member | None = None
        self._word: int | None = None
        self.ready: int | None = None
        """Where the process hears that its network is ready: a byte; None if it need not wait."""

    async def open(self, userns: str, undo: AsyncExitStack, held: ExitStack, *, first: bool) -> None:
        """Take a namespace; with ``first`` all that belongs in it is made now. ``held`` closes what the start needs."""
        container = self._container
        undo.push_async_callback(self._networks.leave, container.id)
        self._member = dataclasses.replace(member_of(container.record), userns=userns)
        container.sandbox = await self._networks.open_sandbox(self._member)
        if first:
            await self._furnish(self._member)
            return
        lay_network_files(container)
        self.ready, self._word = os.pipe2(os.O_CLOEXEC)
        held.callback(os.close, self.ready)
        held.callback(self._hang_up)

    async def _furnish(self, member: Member) -> None:
        container = self._container
        assert container.sandbox is not None
        await self._networks.furnish(member)
        record_endpoints(container, container.sandbox)
        write_network_files(container, container.sandbox)

    async def _and_tell(self, member: Member, word: int) -> None:
        try:
            await self._furnish(member)
            os.write(word, b"1")
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        """Whoever still waits hears that nothing will come."""
        if self._word is not None:
            os.close(self._word)
            self._word = None

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Furnish during the block, in which the process is made; an error of it is raised rather than the block's."""
        if self._member is None or self._word is None:
            yield
            return
        furnishing = asyncio.get_running_loop().create_task(self._and_tell(self._member, self._word))
        try:
            yield
        finally:
            await furnishing
