"""FileSync.DiffCopy: the client's files brought into a directory, only those that differ.

    client ─ STAT path, mode, size, mtime … ─▶ us      one for each name, sorted, directories first; an empty one ends
    us     ─ REQ id ─▶ client                          for each file whose size, mode or mtime differs from ours
    client ─ DATA id bytes … ─▶ us                     an empty one ends the file
    us     ─ FIN ─▶ client ─ FIN ─▶ us

Modes are Go's ``os.FileMode``. Everything is owned by root here, as in a build context. Names stay below the
directory: each is opened beneath it.
"""

import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sampan.archive.tree import remove_tree
from sampan.build.buildkit import messages as m
from sampan.build.copying import DIRECTORY
from sampan.errors import EngineError, InvalidParameter
from sampan.linux.openat2 import open_in_root

STAT, REQUEST, DATA, FINISH, ERROR = range(5)
GO_DIRECTORY, GO_SYMLINK, GO_DEVICE, GO_PIPE, GO_SOCKET, GO_CHARACTER = (
    1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24, 1 << 21,
)  # fmt: skip
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
GO_SETUID, GO_SETGID, GO_STICKY = 1 << 23, 1 << 22, 1 << 20


@dataclass(slots=True)
class Receiver:
    """Brings the directory behind the fd ``root`` up to date; sends nothing itself. ``size`` counts bytes received."""

    root: int
    seen: set[str] = field(default_factory=set)
    open_files: dict[int, tuple[str, Any, int]] = field(default_factory=dict)
    wanted: dict[int, tuple[str, Any]] = field(default_factory=dict)
    directories: list[tuple[str, Any]] = field(default_factory=list)
    count: int = 0
    size: int = 0
    all_named: bool = False
    finished: bool = False
    directory: tuple[str, int] | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is missing any more."""
        return self.all_named and not self.wanted

    def receive(self, packet: Any) -> Iterator[Any]:
        """Take one packet; yields the answers to it. Raises EngineError for the client's error."""
        if packet.type == ERROR:
            raise EngineError(f"error from sender: {packet.data.decode(errors='replace')}")
        if packet.type == STAT and packet.HasField("stat"):
            yield from self._named(packet.stat)
        elif packet.type == STAT:
            self.all_named = True
        elif packet.type == DATA:
            self._data(packet.ID, packet.data)
        elif packet.type == FINISH:
            self.finished = True

    def _named(self, named: Any) -> Iterator[Any]:
        number, self.count = self.count, self.count + 1
        path = posixpath.normpath(named.path)
        if path.startswith(("/", "../")) or path == ".." or not named.path:
            raise InvalidParameter(f"invalid path {named.path!r} in the build context")
        self.seen.add(path)
        if self._make(path, named):
            self.wanted[number] = (path, named)
            yield m.Packet(type=REQUEST, ID=number)

    def _make(self, path: str, named: Any) -> bool:
        """Make ``path`` what it should be, but for a file's content; true if that is wanted."""
        parent, name = posixpath.split(path)
        above = self._above(parent)
        mode = unix_mode(named.mode)
        existing = _status(above, name)
        if stat.S_ISDIR(mode):
            self.directories.append((path, named))
            if existing is None or not stat.S_ISDIR(existing.st_mode):
                _remove(above, name, existing)
                os.mkdir(name, 0o755, dir_fd=above)
            os.chmod(name, stat.S_IMODE(mode), dir_fd=above)
            return False
        if existing is not None and _same(existing, named, mode):
            return False
        _remove(above, name, existing)
        if stat.S_ISLNK(mode):
            os.symlink(named.linkname, name, dir_fd=above)
            return False
        if named.linkname:
            return self._link(above, name, named.linkname)
        if not stat.S_ISREG(mode):
            _make_node(above, name, mode, named)
            return False
        return True

    def _above(self, parent: str) -> int:
        """An fd of a directory, kept until another is asked for: names come sorted."""
        if self.directory is None or self.directory[0] != parent:
            opened = open_in_root(self.root, parent or ".", DIRECTORY)
            self._forget_directory()
            self.directory = parent, opened
        return self.directory[1]

    def _forget_directory(self) -> None:
        if self.directory is not None:
            os.close(self.directory[1])
            self.directory = None

    def _link(self, above: int, name: str, target: str) -> bool:
        parent, target_name = posixpath.split(posixpath.normpath(target).lstrip("/"))
        source = open_in_root(self.root, parent or ".", DIRECTORY)
        try:
            os.link(target_name, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)
        finally:
            os.close(source)
        return False

    def _data(self, number: int, data: bytes) -> None:
        if number not in self.wanted:
            raise InvalidParameter(f"file {number} was not asked for")
        path, named = self.wanted[number]
        if number not in self.open_files:
            parent, name = posixpath.split(path)
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=self._above(parent))
            self.open_files[number] = (path, named, fd)
        fd = self.open_files[number][2]
        if data:
            self.size += len(data)
            os.write(fd, data)
            return
        os.fchmod(fd, stat.S_IMODE(unix_mode(named.mode)))
        os.utime(fd, ns=(named.modTime, named.modTime))
        os.close(fd)
        del self.open_files[number], self.wanted[number]

    def finish(self) -> None:
        """Remove what the client does not have; set directories' times."""
        self._remove_others("", self.root)
        for path, named in reversed(self.directories):
            fd = open_in_root(self.root, path, DIRECTORY)
            try:
                self._remove_others(f"{path}/", fd)
                os.utime(fd, ns=(named.modTime, named.modTime))
            finally:
                os.close(fd)

    def _remove_others(self, prefix: str, directory: int) -> None:
        for name in os.listdir(directory):
            if prefix + name not in self.seen:
                _remove(directory, name, _status(directory, name))

    def close(self) -> None:
        """Close what is open still, files that never ended among it."""
        self._forget_directory()
        for _, _, fd in self.open_files.values():
            os.close(fd)


@lru_cache(64)
def unix_mode(mode: int) -> int:
    """Go's FileMode as the kernel's."""
    kinds = (
        (GO_DIRECTORY, stat.S_IFDIR), (GO_SYMLINK, stat.S_IFLNK), (GO_PIPE, stat.S_IFIFO), (GO_SOCKET, stat.S_IFSOCK),
        (GO_CHARACTER, stat.S_IFCHR), (GO_DEVICE, stat.S_IFBLK),
    )  # fmt: skip
    kind = next((unix for go, unix in kinds if mode & go), stat.S_IFREG)
    extra = ((GO_SETUID, stat.S_ISUID), (GO_SETGID, stat.S_ISGID), (GO_STICKY, stat.S_ISVTX))
    return kind | (mode & 0o777) | sum(unix for go, unix in extra if mode & go)


def _status(above: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same(existing: os.stat_result, named: Any, mode: int) -> bool:
    """Whether what is here is what the client has: by kind, mode, size and time."""
    return (
        stat.S_ISREG(mode)
        and not named.linkname
        and existing.st_mode == mode
        and existing.st_size == named.size
        and existing.st_mtime_ns == named.modTime
    )


def _remove(above: int, name: str, existing: os.stat_result | None) -> None:
    if existing is None:
        return
    if stat.S_ISDIR(existing.st_mode):
        remove_tree(above, name)
    else:
        os.unlink(name, dir_fd=above)


def _make_node(above: int, name: str, mode: int, named: Any) -> None:
    if not stat.S_ISSOCK(mode):
        os.mknod(name, mode, os.makedev(named.devmajor, named.devminor), dir_fd=above)
