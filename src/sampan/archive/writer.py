"""Writing tar archives: members in ustar, with PAX records where needed, and files of a tree as members.

The same tree gives the same bytes: no access times, no user names, no process-dependent names.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace

from sampan.archive import entry as kinds
from sampan.archive.entry import BLOCK, Entry
from sampan.archive.reader import CHUNK
from sampan.archive.stream import Sink
from sampan.archive.walk import Found
from sampan.linux import overlay, xattr
from sampan.linux.openat2 import open_member, open_settled

_TYPES = {
    stat.S_IFREG: kinds.REGULAR,
    stat.S_IFDIR: kinds.DIRECTORY,
    stat.S_IFLNK: kinds.SYMLINK,
    stat.S_IFCHR: kinds.CHARACTER,
    stat.S_IFBLK: kinds.BLOCK_DEVICE,
    stat.S_IFIFO: kinds.FIFO,
}
_END = bytes(2 * BLOCK)


class TarWriter:
    """Writes members to ``sink``; call ``finish`` at the end.

    ``settled`` says that nobody else writes to the trees that files come from: they are opened with fewer calls.
    """

    def __init__(self, sink: Sink, *, settled: bool = False) -> None:
        self._sink = sink
        self._open = open_settled if settled else open_member
        self._links: dict[tuple[int, int], str] = {}

    def add(self, entry: Entry, content: bytes = b"") -> None:
        """A member with its content in memory."""
        self._sink.write(kinds.encode(replace(entry, size=len(content), stored=len(content))))
        if content:
            self._sink.write(content + bytes(-len(content) % BLOCK))

    def add_stream(self, entry: Entry, read: Callable[[int], bytes]) -> None:
        """A member whose ``entry.size`` bytes come from ``read``; zeros stand in for what it lacks."""
        self._sink.write(kinds.encode(entry))
        left = entry.size
        while left:
            data = read(min(CHUNK, left)) or bytes(min(CHUNK, left))
            self._sink.write(data)
            left -= len(data)
        if padding := -entry.size % BLOCK:
            self._sink.write(bytes(padding))

    def add_found(
        self, found: Found, name: str, change: Callable[[Entry], Entry] | None = None, *, links: bool = True
    ) -> None:
        """A file of a tree under ``name``; ``change`` may alter its entry. Sockets are left out.

        With ``links`` a further name of a file already written becomes a hard link to it.
        """
        fd = self._open(found.directory, found.name) if stat.S_ISREG(found.status.st_mode) else None
        try:
            entry = entry_of(found, name, fd)
            if entry is not None:
                self._add_opened(found, change(entry) if change else entry, fd, links=links)
        finally:
            if fd is not None:
                os.close(fd)

    def _add_opened(self, found: Found, entry: Entry, fd: int | None, *, links: bool) -> None:
        if links and entry.type != kinds.DIRECTORY and found.status.st_nlink > 1:
            key = (found.status.st_dev, found.status.st_ino)
            first = self._links.setdefault(key, entry.name)
            if first != entry.name:
                self._sink.write(kinds.encode(replace(entry, type=kinds.HARD_LINK, linkname=first, size=0, xattrs={})))
                return
        if fd is None:
            self._sink.write(kinds.encode(entry))
        else:
            self.add_stream(entry, lambda size: os.read(fd, size))

    def finish(self) -> None:
        """The two zero blocks that end an archive."""
        self._sink.write(_END)


def entry_of(found: Found, name: str, fd: int | None = None) -> Entry | None:
    """The member that says what ``found`` (open as ``fd`` if it is a file) is; None for what no archive can hold
    (a socket).
    """
    status = found.status
    kind = _TYPES.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None
    is_device = kind in (kinds.CHARACTER, kinds.BLOCK_DEVICE)
    size = status.st_size if kind == kinds.REGULAR else 0
    return Entry(
        name=name.rstrip("/") + "/" if kind == kinds.DIRECTORY else name,
        type=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=size,
        stored=size,
        mtime_ns=status.st_mtime_ns,
        linkname=os.readlink(found.name, dir_fd=found.directory) if kind == kinds.SYMLINK else "",
        major=os.major(status.st_rdev) if is_device else 0,
        minor=os.minor(status.st_rdev) if is_device else 0,
        xattrs=portable_xattrs(found.directory, found.name) if fd is None else portable_xattrs(fd, ""),
    )


def portable_xattrs(directory: int, name: str) -> Mapping[str, bytes]:
    """Attributes of a name (empty: of the fd itself) that mean something elsewhere: capabilities and users', not
    overlayfs's or this host's labels.
    """
    return {
        attribute: value
        for attribute, value in xattr.all_of(directory, name).items()
        if attribute == "security.capability"
        or (attribute.startswith("user.") and not attribute.startswith("user.overlay."))
        or (attribute.startswith("trusted.") and not attribute.startswith(overlay.ATTRIBUTES))
    }
