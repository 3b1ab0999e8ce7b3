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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO

from sampan.archive.walk import Found, walk
from sampan.dockerfile.ignore import Ignore
from sampan.dockerfile.match import compile_pattern, has_wildcards
from sampan.dockerfile.modes import Mode
from sampan.errors import InvalidParameter
from sampan.linux import xattr
from sampan.linux.openat2 import open_in_root, open_member

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
CHUNK = 1 << 20
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
        fd = open_member(found.directory, found.name)
        with os.fdopen(fd, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(found.name, dir_fd=found.directory)
    return f"{found.path}\0{status.st_mode:o}\0{owner}\0{status.st_rdev}\0{content}\0"


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
    """Writes below the directory fd ``root``."""

    def __init__(self, root: int, placement: Placement) -> None:
        self._root = root
        self._placement = placement
        self._times: list[tuple[str, int]] = []

    def copy(self, source: int, selection: Selection, destination: str, *, into: bool) -> None:
        """Bring one selection to ``destination`` (clean); ``into`` puts a file below it."""
        with ExitStack() as opened:
            base = destination
            if selection.is_directory or into:
                self.make_directory(destination)
            else:
                base = posixpath.dirname(destination)
                self.make_directory(base)
            for found in _members(source, selection, self._placement, opened):
                path = found.path if selection.is_directory or into else posixpath.basename(destination)
                if self._placement.exclude:
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
                with self._parent(current) as (above, name):
                    os.mkdir(name, 0o755, dir_fd=above)
                    os.chown(name, *(self._placement.owner or (0, 0)), dir_fd=above, follow_symlinks=False)
            except NotADirectoryError:
                raise InvalidParameter(f"cannot copy to directory over existing file: /{current}") from None

    def write_file(self, path: str, source: BinaryIO, mtime_ns: int | None = None, mode: int = 0o644) -> None:
        """Make the file ``path`` with what ``source`` has; the placement may say something else about ``mode``."""
        self.make_directory(posixpath.dirname(path))
        with self._parent(path) as (above, name):
            self._remove(above, name)
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=above)
            with os.fdopen(fd, "wb") as file:
                shutil.copyfileobj(source, file, CHUNK)
                file.flush()
                os.fchown(fd, *(self._placement.owner or (0, 0)))
                os.fchmod(fd, mode if self._placement.mode is None else self._placement.mode.of(stat.S_IFREG | mode))
                if mtime_ns is not None:
                    os.utime(fd, ns=(mtime_ns, mtime_ns))

    def _parent(self, path: str) -> "_Above":
        parent, name = posixpath.split(path)
        return _Above(open_in_root(self._root, parent or ".", DIRECTORY), name)

    def place(self, found: Found, path: str) -> None:
        """Make ``path`` like ``found``, in a directory that is there; ``set_times`` at the end dates directories."""
        with self._parent(path) as (above, name):
            if found.is_directory:
                self._place_directory(found, above, name, path)
                return
            self._remove(above, name)
            status = found.status
            if stat.S_ISREG(status.st_mode):
                _copy_file(found, above, name)
            elif stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(found.name, dir_fd=found.directory), name, dir_fd=above)
            elif stat.S_ISSOCK(status.st_mode):
                return
            else:
                os.mknod(name, status.st_mode, status.st_rdev, dir_fd=above)
            self._finish(found, above, name)
            os.utime(name, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=above, follow_symlinks=False)

    def _place_directory(self, found: Found, above: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                raise InvalidParameter(f"cannot copy to non-directory: /{path}") from None
        self._finish(found, above, name)
        self._times.append((path, found.status.st_mtime_ns))

    def _finish(self, found: Found, above: int, name: str) -> None:
        status = found.status
        owner = self._placement.owner or (status.st_uid, status.st_gid)
        os.chown(name, *owner, dir_fd=above, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            wanted = self._placement.mode
            mode = stat.S_IMODE(status.st_mode) if wanted is None else wanted.of(status.st_mode)
            os.chmod(name, mode, dir_fd=above)
        for attribute, value in xattr.all_of(found.directory, found.name).items():
            if attribute.startswith("user.") or attribute == "security.capability":
                xattr.set(above, name, attribute, value)

    def _remove(self, above: int, name: str) -> None:
        try:
            os.unlink(name, dir_fd=above)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            raise InvalidParameter(f"cannot replace to directory {name} with file") from None

    def set_times(self) -> None:
        """Give the directories made so far their times, now that nothing more is written to them."""
        for path, mtime in reversed(self._times):
            fd = open_in_root(self._root, path, DIRECTORY)
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)
        self._times.clear()


class _Above:
    """A parent directory's fd and a name in it, closed at the end of the block."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd, self._name = fd, name

    def __enter__(self) -> tuple[int, str]:
        return self._fd, self._name

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _copy_file(found: Found, above: int, name: str) -> None:
    reading = open_member(found.directory, found.name)
    try:
        writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=above)
        try:
            while os.sendfile(writing, reading, None, CHUNK):
                pass
        finally:
            os.close(writing)
    finally:
        os.close(reading)
