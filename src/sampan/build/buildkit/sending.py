"""FileSend.DiffCopy: what a build made, sent to its client, as one file (a tar) or as a tree.

    a file    we ─ bytes … ─▶ client
    a tree    the exchange of ``filesync``, with us as the sender

The client tells its exporters apart by their position, which every call carries.
"""

import asyncio
import io
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from sampan.archive.copy import go_file_mode
from sampan.archive.stream import Sink
from sampan.archive.walk import Found, walk
from sampan.build.buildkit import messages as m
from sampan.build.buildkit.filesync import DATA, ERROR, FINISH, REQUEST, STAT
from sampan.build.threads import in_thread
from sampan.errors import EngineError, InvalidParameter
from sampan.linux.openat2 import open_in_root

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory to send: its fd, and the directory of the client that it goes to (empty: the top).

    ``files`` are sent beside what is there; ``epoch`` (seconds) is the time of all, None leaves their own.
    """

    root: int
    into: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    epoch: int | None = None


class StreamSink:
    """A ``Sink`` for a thread: what is written there is sent on the event loop's stream, piece by piece."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes | memoryview, /) -> None:
        """Returns when the client has taken it."""
        for start in range(0, len(data), CHUNK):
            message = m.BytesMessage(data=bytes(data[start : start + CHUNK]))
            asyncio.run_coroutine_threadsafe(self._stream.send_message(message), self._loop).result()


async def send_file(stream: Any, write: Callable[[Sink], object]) -> None:
    """Send what ``write`` writes; returns when the client has stored it."""
    await stream.send_request()
    await in_thread(write, StreamSink(stream))
    await stream.end()
    await stream.recv_message()


async def send_trees(stream: Any, trees: Sequence[Tree]) -> None:
    """Send ``trees`` as one; returns when the client has stored it. Raises EngineError."""
    await stream.send_request()
    sender = TreeSender(stream, trees)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(sender.name_all())
            group.create_task(sender.answer())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    await stream.end()


class TreeSender:
    """Names every file and answers requests for their content; messages of the two tasks do not mix."""

    def __init__(self, stream: Any, trees: Sequence[Tree]) -> None:
        self._stream = stream
        self._trees = trees
        self._files: dict[int, tuple[int, str] | bytes] = {}
        self._sending = asyncio.Lock()

    async def name_all(self) -> None:
        """Send the status of each name, parents first."""
        count = 0
        for tree in sorted(self._trees, key=lambda tree: tree.into):
            if tree.into:
                await self._say(m.Packet(type=STAT, stat=m.Stat(path=tree.into, mode=DIRECTORY_MODE)))
                count += 1
            for named in await in_thread(_statuses, tree):
                if stat.S_ISREG(named.kind):
                    self._files[count] = (tree.root, named.path) if named.data is None else named.data
                await self._say(m.Packet(type=STAT, stat=named.message))
                count += 1
        await self._say(m.Packet(type=STAT))

    async def answer(self) -> None:
        """Send the files that are asked for, until the client has all."""
        while (packet := await self._stream.recv_message()) is not None:
            if packet.type == FINISH:
                await self._say(m.Packet(type=FINISH))
                return
            if packet.type == ERROR:
                raise EngineError(f"error from receiver: {packet.data.decode(errors='replace')}")
            if packet.type == REQUEST:
                await self._send(packet.ID)
        raise EngineError("the client ended the transfer of the build's result")

    async def _send(self, number: int) -> None:
        if number not in self._files:
            raise InvalidParameter(f"invalid file id {number}")
        content = self._files.pop(number)
        with _opened(content) as file:
            while data := await in_thread(file.read, CHUNK):
                await self._say(m.Packet(type=DATA, ID=number, data=data))
        await self._say(m.Packet(type=DATA, ID=number))

    async def _say(self, packet: Any) -> None:
        async with self._sending:
            await self._stream.send_message(packet)


DIRECTORY_MODE = go_file_mode(stat.S_IFDIR | 0o755)


def _opened(content: tuple[int, str] | bytes) -> BinaryIO:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    return os.fdopen(open_in_root(*content, os.O_RDONLY | os.O_NOFOLLOW), "rb")


@dataclass(frozen=True, slots=True)
class _Named:
    path: str
    kind: int
    message: Any
    data: bytes | None = None


def _statuses(tree: Tree) -> list[_Named]:
    """What a tree has, a directory before what is in it, names in their bytes' order."""
    here = [_named(found, tree.into) for found in walk(tree.root) if not stat.S_ISSOCK(found.status.st_mode)]
    here = [named for named in here if named.path not in tree.files]
    beside = [_beside(name, data, tree.into) for name, data in tree.files.items()]
    named = sorted([*here, *beside], key=lambda named: [os.fsencode(part) for part in named.path.split("/")])
    if tree.epoch is not None:
        for one in named:
            one.message.modTime = tree.epoch * 1_000_000_000
    return named


def _beside(name: str, data: bytes, into: str) -> _Named:
    path = f"{into}/{name}" if into else name
    message = m.Stat(path=path, mode=0o600, size=len(data), modTime=time.time_ns())
    return _Named(name, stat.S_IFREG, message, data)


def _named(found: Found, into: str) -> _Named:
    status = found.status
    is_link = stat.S_ISLNK(status.st_mode)
    message = m.Stat(
        path=f"{into}/{found.path}" if into else found.path,
        mode=go_file_mode(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if stat.S_ISREG(status.st_mode) else 0,
        modTime=status.st_mtime_ns,
        linkname=os.readlink(found.name, dir_fd=found.directory) if is_link else "",
        devmajor=os.major(status.st_rdev),
        devminor=os.minor(status.st_rdev),
    )
    return _Named(found.path, status.st_mode, message)
