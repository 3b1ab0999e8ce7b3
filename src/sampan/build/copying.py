"""COPY and ADD: files from one directory tree into another, where no name leads out of either.

    Selection   what a source names: a file, a directory's contents, or several names by a pattern
    Placement   owner and mode of what is made
    copy        selections → a tree, by directory fds

A source that is a directory gives its contents; a file goes to the destination if that is no directory and has no
slash at its end, else below it.
"""

import errno
import hashlib
import os
import posixpath
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, Self

from sampan.archive.walk import Found, walk
from sampan.dockerfile.ignore import Ignore
from sampan.dockerfile.match import compile_pattern, has_wildcards
from sampan.dockerfile.modes import Mode
from sampan.errors import InvalidParameter
from sampan.linux import xattr
from sampan.linux.openat2 import open_in_root, open_settled

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
CHUNK = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
LINKS = 40
"""Symbolic links that one source may lead over, as many as the kernel follows."""


class SourceMissing(InvalidParameter):
    """A source is not in the build context (or not in the stage)."""

    def __init__(self, path: str) -> None:
        super().__init__(f'failed to calculate checksum of ref: "{path}": not found')
        self.path = path


@dataclass(frozen=True, slots=True)
class Placement:
    """``owner`` None keeps the source's; ``mode`` is applied to what is made, None keeps the source's.

    ``exclude`` speaks of names below each source, a file's own name; with ``from_top`` of names below the root.
    """

    owner: tuple[int, int] | None = (0, 0)
    mode: Mode | None = None
    exclude: Ignore = field(default_factory=lambda: Ignore(()))
    from_top: bool = False

    def excludes(self, source: str, path: str) -> bool:
        """Whether ``path`` (empty: itself) below ``source`` is left out."""
        if not self.exclude:
            return False
        whole = posixpath.join(source, path) if path else source
        return self.exclude.excludes(whole if self.from_top else path or posixpath.basename(source))


@dataclass(frozen=True, slots=True)
class Selection:
    """One source found: a clean path below the root (empty: the root), and whether it is a directory."""

    path: str
    is_directory: bool


def clean(path: str) -> str:
    """``path`` relative to the root, without ``.`` and ``..``."""
    return posixpath.normpath(posixpath.join("/", path)).lstrip("/")


def select(root: int, source: str) -> list[Selection]:
    """What ``source`` (a path or a pattern) names below ``root``. Raises ``SourceMissing``."""
    wanted = clean(source)
    names = list(_matching(root, wanted)) if has_wildcards(wanted) else [wanted]
    found = [selection for name in names if (selection := _look(root, name))]
    if not found:
        raise SourceMissing("/" + wanted)
    return found


def _look(root: int, path: str) -> Selection | None:
    try:
        fd = open_in_root(root, path or ".", os.O_PATH)
    except (FileNotFoundError, NotADirectoryError, OSError):
        return None
    try:
        return Selection(path, stat.S_ISDIR(os.fstat(fd).st_mode))
    finally:
        os.close(fd)


def _matching(root: int, pattern: str) -> Iterator[str]:
    expression = compile_pattern(pattern)
    depth = pattern.count("/")
    for found in walk(root):
        level = found.path.count("/")
        if level == depth and expression.fullmatch(found.path):
            yield found.path
        found.descend = level < depth


def fingerprint(root: int, selections: Sequence[Selection], placement: Placement) -> str:
    """A digest of everything ``selections`` bring along: names, kinds, modes, owners, contents; not times."""
    state = hashlib.sha256()
    for selection in selections:
        with ExitStack() as opened:
            for found in _members(root, selection, placement, opened):
                state.update(_describe(found, placement).encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def _describe(found: Found, placement: Placement) -> str:
    status = found.status
    owner = placement.owner or (status.st_uid, status.st_gid)
    content = ""
    if stat.S_ISREG(status.st_mode):
        content = _content(found)
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(found.name, dir_fd=found.directory)
    return f"{found.path}\0{status.st_mode:o}\0{owner}\0{status.st_rdev}\0{content}\0"


def _content(found: Found) -> str:
    """SHA-256 of a file; a small one is read at once, without a buffer to be made for each."""
    size = found.status.st_size
    fd = open_settled(found.directory, found.name)
    try:
        data = os.read(fd, min(size, CHUNK) + 1)
        state = hashlib.sha256(data)
        while len(data) != size and (more := os.read(fd, CHUNK)):
            state.update(more)
    finally:
        os.close(fd)
    return state.hexdigest()


def _members(root: int, selection: Selection, placement: Placement, opened: ExitStack) -> Iterator[Found]:
    """Everything a selection brings, with paths as they will be below the destination."""
    if selection.is_directory:
        start = open_in_root(root, selection.path or ".", DIRECTORY)
        opened.callback(os.close, start)
        for found in walk(start):
            if placement.excludes(selection.path, found.path):
                continue
            yield found
        return
    if not placement.excludes(selection.path, ""):
        yield Found(posixpath.basename(selection.path), *_followed(root, selection.path, opened))


def _followed(root: int, path: str, opened: ExitStack) -> tuple[int, str, os.stat_result]:
    """A symbolic link given as a source stands for what it points to: the directory of that, its name and status."""
    for _ in range(LINKS):
        parent, name = posixpath.split(path)
        above = open_in_root(root, parent or ".", DIRECTORY)
        opened.callback(os.close, above)
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            return above, name, status
        target = os.readlink(name, dir_fd=above)
        path = target if target.startswith("/") else f"{parent or '.'}/{target}"
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


class Copier:
    """Writes below the directory fd ``root``. Use as a context manager: it keeps a directory open."""

    def __init__(self, root: int, placement: Placement) -> None:
        self._root = root
        self.placement = placement
        self._times: list[tuple[str, int]] = []
        self._above: tuple[str, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def copy(self, source: int, selection: Selection, destination: str, *, into: bool) -> None:
        """Bring one selection to ``destination`` (clean); ``into`` puts a file below it."""
        with ExitStack() as opened:
            base = destination
            if selection.is_directory or into:
                self.make_directory(destination)
            else:
                base = posixpath.dirname(destination)
                self.make_directory(base)
            for found in _members(source, selection, self.placement, opened):
                path = found.path if selection.is_directory or into else posixpath.basename(destination)
                if self.placement.exclude:
                    self.make_directory(posixpath.join(base, posixpath.dirname(path)))
                self.place(found, posixpath.join(base, path))
        self.set_times()

    def make_directory(self, path: str) -> None:
        """Make ``path`` and what is missing above it."""
        parts = [part for part in path.split("/") if part]
        for depth in range(1, len(parts) + 1):
            current = "/".join(parts[:depth])
            try:
                os.close(open_in_root(self._root, current, DIRECTORY))
            except FileNotFoundError:
                above, name = self._parent(current)
                os.mkdir(name, 0o755, dir_fd=above)
                os.chown(name, *(self.placement.owner or (0, 0)), dir_fd=above, follow_symlinks=False)
            except NotADirectoryError:
                raise InvalidParameter(f"cannot copy to directory over existing file: /{current}") from None

    def write_file(self, path: str, source: BinaryIO, mtime_ns: int | None = None, mode: int = 0o644) -> None:
        """Make the file ``path`` with what ``source`` has; the placement may say something else about ``mode``."""
        self.make_directory(posixpath.dirname(path))
        above, name = self._parent(path)
        with os.fdopen(_new_file(above, name), "wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
            file.flush()
            fd = file.fileno()
            os.fchown(fd, *(self.placement.owner or (0, 0)))
            os.fchmod(fd, mode if self.placement.mode is None else self.placement.mode.of(stat.S_IFREG | mode))
            if mtime_ns is not None:
                os.utime(fd, ns=(mtime_ns, mtime_ns))

    def _parent(self, path: str) -> tuple[int, str]:
        """An fd of the directory of ``path``, valid until another is asked for, and the name in it.

        Names come sorted: one directory's stand together.
        """
        parent, name = posixpath.split(path)
        if self._above is None or self._above[0] != parent:
            opened = open_in_root(self._root, parent or ".", DIRECTORY)
            self._forget()
            self._above = parent, opened
        return self._above[1], name

    def _forget(self) -> None:
        if self._above is not None:
            os.close(self._above[1])
            self._above = None

    def place(self, found: Found, path: str) -> None:
        """Make ``path`` like ``found``, in a directory that is there; ``set_times`` at the end dates directories."""
        above, name = self._parent(path)
        status = found.status
        if found.is_directory:
            self._place_directory(found, above, name, path)
        elif stat.S_ISREG(status.st_mode):
            self._place_file(found, above, name)
        elif not stat.S_ISSOCK(status.st_mode):
            _remove(above, name)
            if stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(found.name, dir_fd=found.directory), name, dir_fd=above)
            else:
                os.mknod(name, status.st_mode, status.st_rdev, dir_fd=above)
            self._finish(found, above, name)
            os.utime(name, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=above, follow_symlinks=False)

    def _place_file(self, found: Found, above: int, name: str) -> None:
        """A regular file, all of it by its two fds."""
        mtime = found.status.st_mtime_ns
        reading = open_settled(found.directory, found.name)
        try:
            writing = _new_file(above, name)
            try:
                _copy_content(reading, writing, found.status.st_size)
                os.fchown(writing, *self._owner(found))
                os.fchmod(writing, self._mode(found))
                _copy_attributes(xattr.all_of(reading, ""), writing, "")
                os.utime(writing, ns=(mtime, mtime))
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _place_directory(self, found: Found, above: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                raise InvalidParameter(f"cannot copy to non-directory: /{path}") from None
        self._finish(found, above, name)
        self._times.append((path, found.status.st_mtime_ns))

    def _finish(self, found: Found, above: int, name: str) -> None:
        """Owner, mode and attributes of something that is no regular file."""
        os.chown(name, *self._owner(found), dir_fd=above, follow_symlinks=False)
        if not stat.S_ISLNK(found.status.st_mode):
            os.chmod(name, self._mode(found), dir_fd=above)
        _copy_attributes(xattr.all_of(found.directory, found.name), above, name)

    def _owner(self, found: Found) -> tuple[int, int]:
        return self.placement.owner or (found.status.st_uid, found.status.st_gid)

    def _mode(self, found: Found) -> int:
        wanted, mode = self.placement.mode, found.status.st_mode
        return stat.S_IMODE(mode) if wanted is None else wanted.of(mode)

    def set_times(self) -> None:
        """Give the directories made so far their times, now that nothing more is written to them."""
        for path, mtime in reversed(self._times):
            fd = open_in_root(self._root, path, DIRECTORY)
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)
        self._times.clear()
        self._forget()


def _new_file(above: int, name: str) -> int:
    """A new file for writing, in place of what has its name."""
    try:
        return os.open(name, _NEW_FILE, 0o600, dir_fd=above)
    except FileExistsError:
        _remove(above, name)
        return os.open(name, _NEW_FILE, 0o600, dir_fd=above)


def _remove(above: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        raise InvalidParameter(f"cannot replace to directory {name} with file") from None


def _copy_content(reading: int, writing: int, size: int) -> None:
    """All of a file that is ``size`` long."""
    while size and (copied := os.sendfile(writing, reading, None, CHUNK)):
        size -= copied


def _copy_attributes(attributes: Mapping[str, bytes], above: int, name: str) -> None:
    """Users' attributes and capabilities."""
    for attribute, value in attributes.items():
        if attribute.startswith("user.") or attribute == "security.capability":
            xattr.set(above, name, attribute, value)
