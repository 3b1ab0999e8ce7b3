"""A directory tree written entry by entry, where no name can lead out of its root.

A member's directory is opened with RESOLVE_IN_ROOT, and the member is made in that directory fd by its last
component, never following it: ``..``, absolute names, symbolic links (in the archive or already there) and hard links
all stay below the root, also while somebody else changes the tree. Directories' times are set when all is written,
since writing into them changes these.
"""

import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sampan.archive import entry as kinds
from sampan.archive import names
from sampan.archive.entry import Entry
from sampan.archive.errors import MalformedArchive
from sampan.archive.reader import TarReader
from sampan.linux import overlay, xattr
from sampan.linux.openat2 import open_in_root

_CACHED_DIRECTORIES = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODES = {
    kinds.CHARACTER: stat.S_IFCHR,
    kinds.BLOCK_DEVICE: stat.S_IFBLK,
    kinds.FIFO: stat.S_IFIFO,
}


class Tree:
    """Writes below ``base`` in the root directory ``root`` (an fd the caller keeps open)."""

    def __init__(self, root: int, base: str = "") -> None:
        self._root = root
        self._base = base.strip("/")
        self._directories: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self.size = 0
        self.inodes = 0

    def directory(self, path: str) -> int:
        """An fd of the directory ``path``, made with its parents where missing; owned by the tree."""
        if (fd := self._directories.get(path)) is not None:
            return fd
        try:
            fd = open_in_root(self._root, self._below_root(path), _DIRECTORY)
        except FileNotFoundError:
            fd = self._make_parents(path)
        if len(self._directories) >= _CACHED_DIRECTORIES:
            self.forget_directories()
        self._directories[path] = fd
        return fd

    def _below_root(self, path: str) -> str:
        return f"{self._base}/{path}".strip("/") or "."

    def _make_parents(self, path: str) -> int:
        parent, name = names.split(path)
        above = self.directory(parent)
        try:
            os.mkdir(name, 0o755, dir_fd=above)
        except FileExistsError:
            return os.dup(self.directory(self._behind_link(parent, above, name)))
        self.inherit(path, above, name)
        self.inodes += 1
        return open_in_root(self._root, self._below_root(path), _DIRECTORY)

    def _behind_link(self, parent: str, above: int, name: str) -> str:
        """Where the link ``name``, which leads to nothing yet, leads inside the root: that is to be a directory."""
        target = posixpath.join("/", self._base, parent, os.readlink(name, dir_fd=above))
        inside = posixpath.relpath(posixpath.normpath(target), posixpath.join("/", self._base))
        if inside.startswith(".."):
            raise MalformedArchive(f"invalid archive entry: the link {name!r} leads out of the directory")
        return inside

    def inherit(self, path: str, above: int, name: str) -> None:
        """A directory was made that the archive has no member for: owner root, mode 0755."""
        change_mode(above, name, 0o755)

    def forget_directories(self) -> None:
        """Close cached fds: after something was removed or renamed they may stand for other paths."""
        while self._directories:
            os.close(self._directories.popitem()[1])

    def place(self, path: str, entry: Entry, reader: TarReader) -> None:
        """Make the member ``entry`` at the clean path ``path``; what is there gives way, two directories merge."""
        if not path:
            self._place_root(entry)
            return
        parent, name = names.split(path)
        above = self.directory(parent)
        if entry.type == kinds.REGULAR:
            self._place_file(above, name, entry, reader)
        elif entry.type == kinds.DIRECTORY:
            self._place_directory(above, name, path, entry)
        elif entry.type == kinds.HARD_LINK:
            self._place_link(above, name, entry)
        else:
            self._place_node(above, name, entry)
        self.inodes += 1

    def _place_root(self, entry: Entry) -> None:
        if entry.type != kinds.DIRECTORY:
            raise MalformedArchive(f"invalid archive entry {entry.name!r}: the root must be a directory")
        self._describe(self.directory(""), "", entry)
        self._times[""] = entry.mtime_ns

    def _place_file(self, above: int, name: str, entry: Entry, reader: TarReader) -> None:
        fd = self._instead(above, name, lambda: os.open(name, _NEW_FILE, 0o600, dir_fd=above))
        try:
            _write_content(fd, entry, reader)
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                _set_xattrs(fd, "", entry.xattrs)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self.size += entry.size

    def _place_directory(self, above: int, name: str, path: str, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            if not stat.S_ISDIR(self.stat(above, name).st_mode):
                self.replace_by_directory(above, name)
        self._describe(above, name, entry)
        self._times[path] = entry.mtime_ns

    def replace_by_directory(self, above: int, name: str) -> None:
        """Something that is no directory makes room for one."""
        self.remove(above, name)
        os.mkdir(name, 0o700, dir_fd=above)

    def _place_link(self, above: int, name: str, entry: Entry) -> None:
        target = names.clean(entry.linkname)
        directory, target_name = names.split(target)
        if not target_name:
            raise MalformedArchive(f"invalid hard link {entry.name!r} -> {entry.linkname!r}")
        source = os.dup(self.directory(directory))
        try:
            self._instead(above, name, lambda: self._link(source, target_name, above, name, target))
        except FileNotFoundError:
            raise MalformedArchive(f"invalid hard link {entry.name!r} -> {entry.linkname!r}: no such file") from None
        finally:
            os.close(source)

    def _link(self, source: int, target_name: str, above: int, name: str, target: str) -> None:
        os.link(target_name, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)

    def _place_node(self, above: int, name: str, entry: Entry) -> None:
        if entry.type == kinds.SYMLINK:
            self._instead(above, name, lambda: os.symlink(entry.linkname, name, dir_fd=above))
        elif entry.type in _MODES:
            mode, device = _MODES[entry.type] | entry.mode, os.makedev(entry.major, entry.minor)
            self._instead(above, name, lambda: os.mknod(name, mode, device, dir_fd=above))
        else:
            raise MalformedArchive(f"unhandled tar header type {ord(entry.type)}")
        self._describe(above, name, entry)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=above, follow_symlinks=False)

    def _instead(self, above: int, name: str, make: Callable[[], int | None]) -> int:
        """Do ``make``, once more with what is in its way removed."""
        try:
            return make() or 0
        except FileExistsError:
            self.remove(above, name)
            return make() or 0

    def _describe(self, above: int, name: str, entry: Entry) -> None:
        """Owner, mode, attributes, in this order: a change of owner drops set-id bits and capabilities."""
        os.chown(name or ".", entry.uid, entry.gid, dir_fd=above, follow_symlinks=False)
        if entry.type != kinds.SYMLINK:
            change_mode(above, name, entry.mode)
        if entry.xattrs:
            _set_xattrs(above, name, entry.xattrs)

    @staticmethod
    def stat(above: int, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=above, follow_symlinks=False)

    def remove(self, above: int, name: str) -> None:
        """Remove whatever ``name`` is, a directory with all below it."""
        self.forget_times_below(above, name)
        remove_tree(above, name, self._keep(above))

    def _keep(self, above: int) -> Callable[[], None]:
        """Forget cached directories, but not the one that is being worked in."""

        def forget() -> None:
            for path, fd in list(self._directories.items()):
                if fd != above:
                    os.close(self._directories.pop(path))

        return forget

    def forget_times_below(self, above: int, name: str) -> None:
        """Directories about to be removed get no times at the end."""
        parent = next((path for path, fd in self._directories.items() if fd == above), "")
        path = f"{parent}/{name}".strip("/")
        for known in [known for known in self._times if known == path or known.startswith(path + "/")]:
            del self._times[known]

    def finish(self) -> None:
        """Set the times of directories, deepest first."""
        for path, mtime_ns in sorted(self._times.items(), reverse=True):
            try:
                fd = open_in_root(self._root, self._below_root(path), _DIRECTORY | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced by a later member
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)
        self._times.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget_directories()


def change_mode(above: int, name: str, mode: int) -> None:
    """chmod that follows no symbolic link, which fchmodat(2) alone cannot promise before Linux 6.6."""
    if not name:
        os.fchmod(above, mode)
        return
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        Path(f"/proc/self/fd/{fd}").chmod(mode)
    finally:
        os.close(fd)


def remove_tree(above: int, name: str, forget: Callable[[], None] = lambda: None) -> None:
    """Remove ``name`` in the directory ``above``: links are not followed, and nothing outside is reached.

    Works on trees deeper than the interpreter's stack and than PATH_MAX.
    """
    try:
        os.unlink(name, dir_fd=above)
        return
    except IsADirectoryError:
        forget()
    except FileNotFoundError:
        return
    stack = [(above, name, os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above))]
    try:
        while stack:
            parent, own, fd = stack[-1]
            child = _empty_of_files(fd)
            if child is None:
                os.rmdir(own, dir_fd=parent)
                os.close(stack.pop()[2])
            else:
                stack.append((fd, child, os.open(child, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)))
    finally:
        for _, _, fd in stack:
            os.close(fd)


def _empty_of_files(fd: int) -> str | None:
    """Unlink all files in a directory; the name of one directory that is left, or None."""
    left = None
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                left = entry.name
            else:
                os.unlink(entry.name, dir_fd=fd)
    return left


def _write_content(fd: int, entry: Entry, reader: TarReader) -> None:
    if entry.sparse is not None:
        os.ftruncate(fd, entry.size)
        for offset, chunk in reader.data():
            _pwrite_all(fd, chunk, offset)
        return
    if entry.size:
        for _, chunk in reader.data():
            rest = chunk
            while rest:
                rest = rest[os.write(fd, rest) :]


def _pwrite_all(fd: int, chunk: memoryview, offset: int) -> None:
    while chunk:
        written = os.pwrite(fd, chunk, offset)
        chunk, offset = chunk[written:], offset + written


def _set_xattrs(above: int, name: str, attributes: Mapping[str, bytes]) -> None:
    """Set attributes; overlayfs's own are the engine's and never taken from an archive."""
    for attribute, value in attributes.items():
        if not attribute.startswith((overlay.ATTRIBUTES, "user.overlay.")):
            xattr.set(above, name, attribute, value)
