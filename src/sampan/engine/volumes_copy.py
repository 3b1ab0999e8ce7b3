"""Copying a tree by directory fds, exactly: types, owners, modes, times, hard links, attributes, holes.

Nothing is followed on either side, and special files are made anew, so a hostile tree copies no more than itself.
"""

import errno
import os
import stat

from sampan.archive.walk import Found, walk
from sampan.linux import xattr
from sampan.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, open_member, openat2

_CHUNK = 1 << 24
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def is_empty(directory: int) -> bool:
    """Whether the directory holds nothing, ``lost+found`` aside."""
    return not set(os.listdir(directory)) - {"lost+found"}


def copy_tree(source: int, target: int) -> None:
    """Copy everything below the directory fd ``source`` into ``target``, and the directory's own properties."""
    linked: dict[tuple[int, int], str] = {}
    directories: list[tuple[str, os.stat_result]] = []
    for found in walk(source):
        parent = open_beneath(target, found.path.rpartition("/")[0])
        try:
            _copy_entry(found, parent, target, linked)
            if found.is_directory:
                directories.append((found.path, found.status))
        finally:
            os.close(parent)
    for path, status in reversed(directories):
        _set_times(target, path, status)
    copy_properties(source, target)


def open_beneath(root: int, path: str) -> int:
    """The directory ``path`` below ``root``, no symbolic link on the way."""
    return openat2(root, path or ".", _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def copy_properties(source: int, target: int) -> None:
    """Give the directory fd ``target`` the owner, mode, attributes and times of ``source``."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name, value in xattr.all_of(source, "").items():
        xattr.set(target, "", name, value)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_entry(found: Found, parent: int, root: int, linked: dict[tuple[int, int], str]) -> None:
    """Make one name with all its properties; a further link to a known file is linked."""
    status, name = found.status, found.name
    identity = (status.st_dev, status.st_ino)
    if identity in linked:
        os.link(linked[identity], name, src_dir_fd=root, dst_dir_fd=parent, follow_symlinks=False)
        return
    if status.st_nlink > 1 and not found.is_directory:
        linked[identity] = found.path
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        os.mkdir(name, 0o700, dir_fd=parent)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=found.directory), name, dir_fd=parent)
    elif stat.S_ISREG(mode):
        _copy_file(found, parent)
    elif not stat.S_ISSOCK(mode):
        os.mknod(name, mode, status.st_rdev, dir_fd=parent)
    else:
        return
    _copy_metadata(found, parent)


def _copy_file(found: Found, parent: int) -> None:
    source = open_member(found.directory, found.name)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = os.open(found.name, flags, 0o600, dir_fd=parent)
        try:
            _copy_data(source, target, found.status.st_size)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy_data(source: int, target: int, size: int) -> None:
    """Copy the extents that hold data; what lies between stays a hole."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # only a hole is left
                raise
            break
        end = os.lseek(source, offset, os.SEEK_HOLE)
        os.lseek(source, offset, os.SEEK_SET)
        os.lseek(target, offset, os.SEEK_SET)
        while offset < end:
            sent = os.sendfile(target, source, None, min(end - offset, _CHUNK))
            if sent == 0:
                break
            offset += sent
    os.ftruncate(target, size)


def _copy_metadata(found: Found, parent: int) -> None:
    """Owner first (it clears set-user-ID), then mode, attributes, and times last."""
    status, name = found.status, found.name
    os.chown(name, status.st_uid, status.st_gid, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=parent)
    for attribute, value in xattr.all_of(found.directory, name).items():
        xattr.set(parent, name, attribute, value)
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


def _set_times(root: int, path: str, status: os.stat_result) -> None:
    """Times of a directory, once nothing is made in it any more."""
    fd = open_beneath(root, path)
    try:
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(fd)


def usage(directory: int) -> int:
    """Bytes of disk below ``directory``, files with several links counted once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for found in walk(directory):
        identity = (found.status.st_dev, found.status.st_ino)
        if identity not in seen:
            seen.add(identity)
            total += found.status.st_blocks * 512
    return total
