"""A layer tar applied to an empty directory that becomes one lower layer of an overlay.

    member            in the directory
    .wh.NAME          NAME: character device 0:0             (hides the lower NAME)
    .wh..wh..opq      trusted.overlay.opaque=y on its parent  (hides all that lower layers have there)
    anything else     itself

A whiteout deletes from lower layers only: what the same layer has under that name stays, and a directory there is
made opaque instead. A directory that the tar does not list itself takes owner and mode from the layers below. Only for
that, at the end, and for a hard link to a file of theirs must they be there: until then they may be on their way too.

Source: https://github.com/opencontainers/image-spec layer.md; https://docs.kernel.org/filesystems/overlayfs.html.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sampan.archive import names
from sampan.archive.entry import Entry
from sampan.archive.errors import placing
from sampan.archive.reader import Source, TarReader
from sampan.archive.tree import Tree
from sampan.linux import overlay, xattr
from sampan.linux.openat2 import open_in_root

_COPY_CHUNK = 1 << 30

Lowers = Callable[[], Sequence[int]]
"""Fds of the directories of the layers below, topmost first; may wait until they are complete."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of files' contents, and number of names."""

    size: int
    inodes: int


def apply_layer(source: Source, root: int, lowers: Lowers = tuple) -> Usage:
    """Apply the (uncompressed) layer ``source`` to the directory fd ``root`` and read the stream to its end.

    Raises MalformedArchive, DiskFull, and what ``lowers`` raises.
    """
    reader = TarReader(source)
    with _LayerTree(root, lowers) as tree:
        for entry in reader:
            with placing(entry.name):
                _apply(tree, entry, reader)
        with placing("."):
            tree.finish()
        reader.drain()
        return Usage(tree.size, tree.inodes)


def _apply(tree: "_LayerTree", entry: Entry, reader: TarReader) -> None:
    path = names.clean(entry.name)
    parent, name = names.split(path)
    if name == names.OPAQUE:
        tree.make_opaque(parent)
    elif (target := names.whiteout_of(name)) is not None:
        tree.white_out(parent, target)
    elif not names.is_aufs(name) and not path.startswith(".wh..wh."):
        tree.place(path, entry, reader)


class _LayerTree(Tree):
    """A tree whose lower layers count."""

    def __init__(self, root: int, lowers: Lowers) -> None:
        super().__init__(root)
        self._lowers = lowers
        self._unlisted: list[str] = []

    def make_opaque(self, path: str) -> None:
        xattr.set(self.directory(path), "", overlay.OPAQUE, b"y")

    def white_out(self, parent: str, name: str) -> None:
        above = self.directory(parent)
        try:
            os.mknod(name, stat.S_IFCHR, overlay.WHITEOUT_DEVICE, dir_fd=above)
            self.inodes += 1
        except FileExistsError:
            if stat.S_ISDIR(self.stat(above, name).st_mode):
                xattr.set(above, name, overlay.OPAQUE, b"y")

    def replace_by_directory(self, above: int, name: str) -> None:
        """Where a whiteout stood, the new directory must go on hiding the one below."""
        was = self.stat(above, name)
        super().replace_by_directory(above, name)
        if stat.S_ISCHR(was.st_mode) and was.st_rdev == overlay.WHITEOUT_DEVICE:
            xattr.set(above, name, overlay.OPAQUE, b"y")

    def inherit(self, path: str, above: int, name: str) -> None:
        super().inherit(path, above, name)
        self._unlisted.append(path)

    def finish(self) -> None:
        """Give directories that the tar made without listing them what they have below, then all their times."""
        for path in self._unlisted:
            if path not in self._times and (below := self._lower_stat(path)) and stat.S_ISDIR(below.st_mode):
                self._take_over(path, below)
        super().finish()

    def _take_over(self, path: str, below: os.stat_result) -> None:
        try:
            fd = open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return  # replaced by a later member
        try:
            os.fchown(fd, below.st_uid, below.st_gid)
            os.fchmod(fd, stat.S_IMODE(below.st_mode))
        finally:
            os.close(fd)
        self._times[path] = below.st_mtime_ns

    def _lower_stat(self, path: str) -> os.stat_result | None:
        for lower in self._lowers():
            try:
                fd = open_in_root(lower, path, os.O_PATH | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                return os.fstat(fd)
            finally:
                os.close(fd)
        return None

    def _link(self, source: int, target_name: str, above: int, name: str, target: str) -> None:
        """A link to a file of a lower layer copies that file up first."""
        try:
            super()._link(source, target_name, above, name, target)
        except FileNotFoundError:
            if not self._copy_up(target, source, target_name):
                raise
            super()._link(source, target_name, above, name, target)

    def _copy_up(self, path: str, above: int, name: str) -> bool:
        for lower in self._lowers():
            try:
                fd = open_in_root(lower, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                return stat.S_ISREG(os.fstat(fd).st_mode) and self._copy_file(fd, above, name)
            finally:
                os.close(fd)
        return False

    def _copy_file(self, fd: int, above: int, name: str) -> bool:
        was = os.fstat(fd)
        copy = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=above)
        try:
            while os.copy_file_range(fd, copy, _COPY_CHUNK):
                pass
            os.fchown(copy, was.st_uid, was.st_gid)
            os.fchmod(copy, stat.S_IMODE(was.st_mode))
            for attribute, value in xattr.all_of(fd, "").items():
                xattr.set(copy, "", attribute, value)
            os.utime(copy, ns=(was.st_mtime_ns, was.st_mtime_ns))
        finally:
            os.close(copy)
        self.size += was.st_size
        self.inodes += 1
        return True
