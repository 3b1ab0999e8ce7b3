"""Reading a container's log: history from the files, then what comes, without polling.

    … .2 ─▶ .1 ─▶ live file ─(end)─▶ inotify ─▶ more lines, or a rotation: the rest of the old file, then the new one

Lines are JSON (engine.log_files). A message longer than 16 kB is several lines, only the last with a newline. What a
crash left half-written at the end of a file is skipped.
"""

import asyncio
import gzip
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote_plus

import msgspec

from sampan.api import json, media_types
from sampan.api.containers import LogAttribute, LogMessage, LogsOptions
from sampan.api.output import Output
from sampan.api.stdcopy import Stream, frame
from sampan.api.times import parse_time
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.log_files import readable
from sampan.engine.log_parts import inode_of, open_part, place_of, rotated, stored
from sampan.errors import InvalidParameter, Unsupported
from sampan.linux.inotify import watch_modified

CHUNK = 64 << 10
MAXIMUM_LINE = 1 << 20
STREAMS = {"stdout": Stream.STDOUT, "stderr": Stream.STDERR}


class Line(msgspec.Struct):
    """One line of the log."""

    log: str = ""
    stream: str = "stdout"
    time: str = ""
    attrs: dict[str, str] = {}
    raw: bytes = msgspec.field(name="bytes", default=b"")

    @property
    def data(self) -> bytes:
        """What the program wrote."""
        return self.raw or self.log.encode(errors="surrogatepass")


_decoder = msgspec.json.Decoder(Line)


class Logs:
    """The operation ``logs``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def read(self, container: Container, options: LogsOptions) -> Output:
        """Stored output, then with ``follow`` what comes until the container stops."""
        container.allow("logs")
        if not (options.stdout or options.stderr):
            raise InvalidParameter("You must choose at least one stream")
        if not readable(container):
            raise Unsupported("configured logging driver does not support reading")
        terminal = container.record.config.tty
        return Output(terminal, self._chunks(container, options, terminal))

    async def _chunks(self, container: Container, options: LogsOptions, terminal: bool) -> AsyncIterator[bytes]:
        """Lines as the client gets them, gathered into larger pieces where many are ready."""
        gathered = bytearray()
        async for line in self._lines(container, options):
            if line is None:
                if gathered:
                    yield bytes(gathered)
                    gathered.clear()
                continue
            if options.until and parse_time(line.time) > options.until:
                break
            if not wanted(line, options):
                continue
            gathered += encode(line, options, terminal)
            if len(gathered) >= CHUNK:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

    async def _lines(self, container: Container, options: LogsOptions) -> AsyncIterator[Line | None]:
        """Lines in order; None where the reader is about to wait (or might)."""
        follower = Follower(container)
        try:
            loop = asyncio.get_running_loop()
            start = await loop.run_in_executor(self._context.threads, follower.open, options.tail)
            for line in start:
                yield line
            while True:
                batch = await loop.run_in_executor(self._context.threads, follower.more)
                for line in batch:
                    yield line
                if batch:
                    continue
                yield None
                if not options.follow or not await follower.changed():
                    return
        finally:
            follower.close()


class Position(msgspec.Struct, frozen=True):
    """A place in a log: a file (its inode number stays when it is rotated) and the bytes before."""

    inode: int = 0
    offset: int = 0


class Follower:
    """The position of one reader in one container's log."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._path = container.log_path
        self._file: IO[bytes] | None = None
        self._partial = b""
        self._watch = -1
        self._last_look = False
        self.missed = False  # the file it stood in was dropped, with what had not been read of it

    def open(self, tail: int) -> list[Line]:
        """Open the live file and give the last ``tail`` lines (-1: all) of everything stored."""
        files = [path for path in rotated(self._path) if path.exists()]
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            self._file = None
        if tail == 0:
            if self._file:
                self._file.seek(0, os.SEEK_END)
            return []
        if tail > 0:
            return self._tail(files, tail)
        return [line for path in files for line in whole_file(path)]

    def _tail(self, files: list[Path], tail: int) -> list[Line]:
        """The last lines: from the live file if it has as many, else with those before it."""
        lines: list[Line] = []
        if self._file:
            self._file.seek(tail_offset(self._file, tail))
            lines = self.more(limit=0)
        for path in reversed(files):
            if len(lines) >= tail:
                break
            with whole(path) as file:
                file.seek(tail_offset(file, tail - len(lines)))
                lines = list(parse_lines(file.read())) + lines
        return lines[-tail:]

    def more(self, limit: int = CHUNK * 4) -> list[Line]:
        """Lines that can be read now: up to about ``limit`` bytes of them (0: all)."""
        if self._file is None:
            return []
        data = self._partial + (self._file.read(limit) if limit else self._file.read())
        complete, newline, self._partial = data.rpartition(b"\n")
        if len(self._partial) > MAXIMUM_LINE:
            self._partial = b""
        if newline:
            return list(parse_lines(complete))
        return self._next_file() if not data or data == self._partial else []

    def _next_file(self) -> list[Line]:
        """Go on with the file after the one we read if that was rotated, or from its beginning if it was emptied."""
        assert self._file is not None
        if not isinstance(self._file, gzip.GzipFile) and self._shrank():
            self._file.seek(0)
            return self.more()
        with suppress(FileNotFoundError):
            successor = self._successor()
            if successor is not None:
                self._take(successor)
                return self.more()
        return []

    def _shrank(self) -> bool:
        """Whether somebody emptied the file we read."""
        assert self._file is not None
        return os.fstat(self._file.fileno()).st_size < self._file.tell()

    def _successor(self) -> Path | None:
        """The file that was begun when ours was full; the oldest if ours is gone; None while ours is the live one."""
        assert self._file is not None
        parts = stored(self._path)
        place = place_of(self._file, parts)
        self.missed = self.missed or place < 0
        return parts[place + 1].path if place + 1 < len(parts) else None

    def _take(self, path: Path) -> None:
        """Read ``path`` from its beginning."""
        opened = open_part(path)
        self.close()
        self._file, self._partial, self._watch = opened, b"", -1

    @property
    def position(self) -> "Position":
        """Where the next line begins; of no file while there is none."""
        if self._file is None:
            return Position()
        return Position(inode_of(self._file), self._file.tell() - len(self._partial))

    def resume(self, position: "Position") -> None:
        """Open the log at ``position``: at the oldest line that is left if its file is gone.

        A number may have come back while nobody had the file open. The oldest file of it is taken: rather lines twice
        than lines lost.
        """
        parts = stored(self._path)
        oldest = parts[0].path if parts else self._path
        path = next((part.path for part in parts if part.inode == position.inode), oldest)
        with suppress(FileNotFoundError):
            self._take(path)
        if self._file is not None and self.position.inode == position.inode:
            self._file.seek(position.offset)

    async def changed(self) -> bool:
        """Wait until there may be more; False once the container has stopped and was looked at once more."""
        if self._last_look:
            return False
        if self._file is None and self._path.exists():
            self._file = self._path.open("rb")
            return True
        ended = self._container.wait("next-exit") if self._container.live else self._container.wait("not-running")
        removed = self._container.wait("removed")
        waiting = {ended, removed}
        try:
            await self._modified(waiting)
        finally:
            self._last_look = any(waiter.done() for waiter in waiting)
            for waiter in waiting:
                waiter.cancel()
            self._container.waiters = [each for each in self._container.waiters if not each.result.cancelled()]
        return True

    async def _modified(self, others: "set[asyncio.Future[tuple[int, str]]]") -> None:
        """Wait until the file is written, or one of ``others`` is done."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        if self._watch < 0 and self._file is not None:
            self._watch = watch_modified(f"/proc/self/fd/{self._file.fileno()}", str(self._path.parent))
            if self._grew() or self._successor() is not None:
                return
        if self._watch >= 0:
            loop.add_reader(self._watch, wake(woken, self._watch))
        try:
            waiting: set[asyncio.Future[Any]] = {woken, *others}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._watch >= 0:
                loop.remove_reader(self._watch)
            woken.cancel()

    def _grew(self) -> bool:
        """Whether something was written between our last read and the beginning of the watch."""
        assert self._file is not None
        return os.fstat(self._file.fileno()).st_size > self._file.tell()

    def _stop_watching(self) -> None:
        if self._watch >= 0:
            os.close(self._watch)
            self._watch = -1

    def close(self) -> None:
        self._stop_watching()
        if self._file is not None:
            self._file.close()


def wake(woken: "asyncio.Future[None]", fd: int) -> Callable[[], None]:
    """A callback that drains the descriptor and completes the future."""

    def readable() -> None:
        with suppress(BlockingIOError):
            os.read(fd, 4096)
        if not woken.done():
            woken.set_result(None)

    return readable


def whole(path: Path) -> IO[bytes]:
    """A file of the log that can be read backwards."""
    if path.suffix != ".gz":
        return path.open("rb")
    with open_part(path) as file:
        return io.BytesIO(file.read())


def whole_file(path: Path) -> Iterator[Line]:
    """Lines of a rotated file."""
    with suppress(FileNotFoundError), open_part(path) as file:
        for raw in file:
            yield from parse_lines(raw)


def parse_lines(data: bytes) -> Iterator[Line]:
    """Lines of whole JSON objects; what is malformed is skipped."""
    for raw in data.split(b"\n"):
        if raw:
            with suppress(msgspec.DecodeError):
                yield _decoder.decode(raw)


def tail_offset(file: IO[bytes], count: int) -> int:
    """Where the last ``count`` lines of an open file begin; read backwards."""
    position = file.seek(0, os.SEEK_END)
    needed = count + 1  # the newline that ends the last line counts too
    while position > 0:
        start = max(0, position - CHUNK)
        file.seek(start)
        block = file.read(position - start)
        found = block.count(b"\n")
        if found >= needed:
            for _ in range(found - needed + 1):
                block = block[block.index(b"\n") + 1 :]
            return position - len(block)
        needed -= found
        position = start
    return 0


def wanted(line: Line, options: LogsOptions) -> bool:
    """Whether the reader asked for this line's stream and time."""
    asked = options.stdout if line.stream == "stdout" else options.stderr
    return asked and (not options.since or parse_time(line.time) >= options.since)


def encode(line: Line, options: LogsOptions, terminal: bool) -> bytes:
    """A line as it goes over the wire."""
    if options.json_stream:
        return media_types.separator(options.json_stream) + json.encode(message(line, options))
    data = line.data
    if options.details:
        details = ",".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in sorted(line.attrs.items()))
        data = f"{details} ".encode() + data
    if options.timestamps:
        data = f"{with_all_digits(line.time)} ".encode() + data
    return data if terminal else frame(STREAMS.get(line.stream, Stream.STDOUT), data)


def with_all_digits(time: str) -> str:
    """A line's time with its nine digits after the point, so that lines stand below one another."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<9}Z"


def message(line: Line, options: LogsOptions) -> LogMessage:
    """A line with what is known of it, for a stream of JSON."""
    known = line.attrs.items() if options.details else ()
    return LogMessage(line.log, line.stream, line.time, [LogAttribute(name, value) for name, value in known])
