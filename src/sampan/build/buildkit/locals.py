"""Clients' directories, kept here between builds so that only what changed is sent.

    <root>/<kind>-<key>      the directory of one client (its shared key) and one purpose
    <root>/<kind>-<key>.1    another, for a build that comes while somebody has the first

Builds of one session that ask for the same directory in the same way have it together: it is brought once. Others
each have their own.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sampan.build.buildkit.session import Session
from sampan.build.buildkit.status import StatusLog
from sampan.build.copying import DIRECTORY
from sampan.build.kept import hold, label
from sampan.build.threads import in_thread
from sampan.errors import EngineError
from sampan.linux.inode_flags import make_home_of_trees

SESSION = "local-sessionid:"
"""Options that begin so name the session that has a directory: builds of one client may share one."""
LIMIT = 1 << 10
"""Directories of one client and purpose that may be in use at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A directory ``name`` of a client's and what of it is wanted: all but ``exclude``, or ``follow`` alone.

    ``vertex`` and ``task`` are how its coming is shown; ``kind`` tells directories of one client apart.
    """

    kind: str
    name: str
    vertex: str
    task: str
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()


@dataclass(slots=True)
class Shared:
    """A directory that builds have now; ``root`` is its fd once it has come."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    held: ExitStack = field(default_factory=ExitStack)
    root: int | None = None
    users: int = 0


Key = tuple[Session, Wanted]


class Locals:
    """Clients' directories below ``root``."""

    def __init__(self, root: Path) -> None:
        make_home_of_trees(root, 0o700)
        self._root = root
        self._shared: dict[Key, Shared] = {}

    @asynccontextmanager
    async def open(self, wanted: Wanted, session: Session, log: StatusLog) -> AsyncIterator[int]:
        """An fd of the directory, up to date, that nothing changes until the block ends. Raises EngineError."""
        key = (session, wanted)
        shared = self._shared.setdefault(key, Shared())
        shared.users += 1
        try:
            async with shared.lock:
                if shared.root is None:
                    shared.root = await self._bring(wanted, session, log, shared.held)
            yield shared.root
        finally:
            shared.users -= 1
            if not shared.users:
                del self._shared[key]
                shared.held.close()

    async def _bring(self, wanted: Wanted, session: Session, log: StatusLog, held: ExitStack) -> int:
        with ExitStack() as opened:
            into = await in_thread(self._free, f"{session.shared_key}\0{wanted.kind}", wanted, opened)
            async with log.vertex(wanted.vertex) as activity, activity.task(wanted.task) as task:
                size = await session.synchronise(wanted.name, into, exclude=wanted.exclude, follow=wanted.follow)
                task.count(size)
            root = os.open(into, DIRECTORY)
            opened.callback(os.close, root)
            held.push(opened.pop_all())
            return root

    def _free(self, key: str, wanted: Wanted, opened: ExitStack) -> Path:
        """The first of the numbered directories that nobody has, held until ``opened`` ends. Raises EngineError."""
        name = f"{wanted.kind.partition('-')[0]}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        for number in range(LIMIT):
            path = self._root / (f"{name}.{number}" if number else name)
            if hold(path, opened, exclusive=True, wait=False):
                label(path, wanted.name)
                return path
        raise EngineError(f"too many builds use the directory {wanted.name} at once")
