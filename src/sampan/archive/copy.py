"""Trees to and from plain archives: ``docker cp``, ``docker export``, build contexts.

    stat_path  what is at a path of a container
    pack       a file or a directory as an archive, its top renamed as ``docker cp`` wants it
    export     a whole root file system
    unpack     an archive into a directory of a container

``root`` is always an fd of the container's root directory, and no path is looked up outside of it, whatever links
there are and however the container changes them meanwhile. ``owners`` are the maps of its user namespace: archives
have the container's IDs, its files the host's.

Names in an archive of /etc:  path /etc → ``etc/``, ``etc/passwd``    path /etc/. → ``./``, ``./passwd``
"""

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from sampan.archive import names
from sampan.archive.entry import DIRECTORY, Entry
from sampan.archive.errors import placing
from sampan.archive.reader import Source, TarReader
from sampan.archive.stream import Sink
from sampan.archive.tree import Tree
from sampan.archive.walk import Found, walk
from sampan.archive.writer import TarWriter
from sampan.errors import InvalidParameter, NotFound
from sampan.linux.idmap import IdMap, acting_as_root, host_ids
from sampan.linux.openat2 import open_in_root

_PATH = os.O_PATH | os.O_CLOEXEC
_GO_TYPE = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


@dataclass(frozen=True, slots=True)
class PathStat:
    """What is at a path. ``mode`` in the bits of Go's io/fs.FileMode, ``link_target`` where a link leads."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str = ""

    @property
    def is_directory(self) -> bool:
        return bool(self.mode & 1 << 31)


def stat_path(root: int, path: str) -> PathStat:
    """Status of ``path``, its last component not followed unless it ends in a slash; raises NotFound."""
    path = _clean(path)
    fd = _open(root, path)
    try:
        status = os.fstat(fd)
        target = os.readlink("", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
    finally:
        os.close(fd)
    if target:
        target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target))
    return PathStat(_base(path), status.st_size, go_file_mode(status.st_mode), status.st_mtime_ns, target)


def go_file_mode(mode: int) -> int:
    """st_mode in the bits of Go's io/fs.FileMode, as the API sends it."""
    bits = sum(go for bit, go in _GO_BITS.items() if mode & bit)
    return _GO_TYPE.get(stat.S_IFMT(mode), 0) | bits | stat.S_IMODE(mode) & 0o777


def pack(root: int, path: str, sink: Sink, *, leave_empty: Collection[str] = (), owners: IdMap | None = None) -> None:
    """Write what is at ``path`` to ``sink``, named by its last component; raises NotFound.

    Directories ``leave_empty`` (absolute) further down are written without what is in them.
    """
    path = _clean(path)
    fd = _open(root, path)
    try:
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
    writer = TarWriter(sink)
    if is_directory:
        _pack_directory(root, path, writer, leave_empty, owners)
    else:
        _pack_file(root, path, writer, owners)
    writer.finish()


def _pack_directory(
    root: int, path: str, writer: TarWriter, leave_empty: Collection[str], owners: IdMap | None
) -> None:
    base = _base(path)
    fd = open_in_root(root, path.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        top = Found(base, fd, "", os.fstat(fd))
        writer.add_found(top, base, _inside(owners))
        prefix = base if base.endswith("/") else base + "/"
        for found in walk(fd):
            if posixpath.normpath(posixpath.join(path, found.path)) in leave_empty:
                found.descend = False
            writer.add_found(found, prefix + found.path, _inside(owners))
    finally:
        os.close(fd)


def _pack_file(root: int, path: str, writer: TarWriter, owners: IdMap | None) -> None:
    parent, name = posixpath.split(path)
    fd = open_in_root(root, parent.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        writer.add_found(Found(name, fd, name, status), name, _inside(owners))
    finally:
        os.close(fd)


def export(
    tree: int,
    sink: Sink,
    *,
    one_filesystem: bool = True,
    leave_out: Collection[str] = (),
    owners: IdMap | None = None,
) -> None:
    """Write everything below the directory fd ``tree``.

    With ``one_filesystem`` other mounts appear as empty directories. ``leave_out`` names paths not to write.
    """
    device = os.fstat(tree).st_dev
    writer = TarWriter(sink)
    for found in walk(tree):
        if found.is_directory and (found.path in leave_out or (one_filesystem and found.status.st_dev != device)):
            found.descend = False
        if found.path not in leave_out:
            writer.add_found(found, found.path, _inside(owners))
    writer.finish()


def _inside(owners: IdMap | None) -> Callable[[Entry], Entry] | None:
    """A change of an entry to the owner that the container sees."""
    if owners is None:
        return None

    def change(entry: Entry) -> Entry:
        uid, gid = owners.inside(entry.uid, entry.gid)
        return replace(entry, uid=uid, gid=gid)

    return change


def unpack(
    source: Source,
    root: int,
    path: str = "/",
    *,
    overwrite_directories: bool = True,
    owner: tuple[int, int] | None = None,
    owners: IdMap | None = None,
) -> None:
    """Extract the (uncompressed) archive ``source`` into the directory ``path`` of the container ``root``.

    Without ``overwrite_directories`` a file does not take the place of a directory, nor the reverse. ``owner`` is the
    uid and gid in the container that everything gets, None leaves what the archive says.
    Raises NotFound, InvalidParameter.
    """
    path = _clean(path)
    _check_directory(root, path)
    reader = TarReader(source)
    with acting_as_root(owners), _CopyTree(root, path, overwrite_directories) as tree:
        for entry in reader:
            with placing(entry.name):
                _extract(tree, _owned(entry, owner, owners), reader)
        with placing("."):
            tree.finish()


def _check_directory(root: int, path: str) -> None:
    try:
        os.close(_open(root, path, os.O_DIRECTORY))
    except NotADirectoryError:
        raise InvalidParameter("extraction point is not a directory") from None


def _owned(entry: Entry, owner: tuple[int, int] | None, owners: IdMap | None) -> Entry:
    """``entry`` with its owner on the host."""
    uid, gid = host_ids(owners, *(owner or (entry.uid, entry.gid)))
    return replace(entry, uid=uid, gid=gid)


def _extract(tree: "_CopyTree", entry: Entry, reader: TarReader) -> None:
    path = names.clean(entry.name)
    if path:  # the directory that is extracted into keeps its own owner and mode
        tree.check(path, entry)
        tree.place(path, entry, reader)


class _CopyTree(Tree):
    """A tree that may refuse to change the kind of what is there."""

    def __init__(self, root: int, base: str, overwrite_directories: bool) -> None:
        super().__init__(root, base)
        self._overwrites = overwrite_directories

    def check(self, path: str, entry: Entry) -> None:
        """Refuse what ``overwrite_directories=False`` forbids; the sentences are Docker's."""
        if self._overwrites:
            return
        parent, name = names.split(path)
        try:
            there = self.stat(self.directory(parent), name)
        except FileNotFoundError:
            return
        was_directory, will_be = stat.S_ISDIR(there.st_mode), entry.type == DIRECTORY
        if was_directory and not will_be:
            raise InvalidParameter(f'cannot overwrite directory "/{path}" with non-directory "{entry.name}"')
        if will_be and not was_directory:
            raise InvalidParameter(f'cannot overwrite non-directory "/{path}" with directory "{entry.name}"')


def _clean(path: str) -> str:
    """``path`` absolute and without ``..``, a trailing slash or ``/.`` kept, as Docker's clients count on."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    for ending in ("/.", "/"):
        if path.endswith(ending) and not cleaned.endswith(ending):
            return cleaned.rstrip("/") + ending
    return cleaned


def _base(path: str) -> str:
    """Go's filepath.Base of the path with its trailing ``/.`` kept: ``.`` for ``/etc/.``, ``/`` for ``/``."""
    if path.endswith("/."):
        return "."
    return posixpath.basename(path.rstrip("/")) or "/"


def _open(root: int, path: str, flags: int = 0) -> int:
    """Open for status: parents followed inside the root, the last component after a trailing slash only."""
    follow = flags or path.endswith(("/", "/."))
    try:
        return open_in_root(root, path.lstrip("/") or ".", _PATH | flags | (0 if follow else os.O_NOFOLLOW))
    except FileNotFoundError:
        raise NotFound(f"Could not find the file {path} in container") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG) or (error.errno == errno.ENOTDIR and not flags):
            raise InvalidParameter(f"lstat {path}: {os.strerror(error.errno).lower()}") from error
        raise
