"""The mount API of Linux 5.2 and later: contexts, detached mounts, attributes.

A *detached mount* is a file descriptor (O_PATH) that holds a mount in no mount table: ``fsmount`` makes one
of a new file system, ``open_tree(…, OPEN_TREE_CLONE)`` one of an existing path. ``move_mount`` puts it
somewhere; closing the last descriptor unmounts it. Numbers are the same on every architecture.

Source: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2), umount2(2).
"""

import ctypes
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from sampan.linux.syscall import syscall

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_NO_AUTOMOUNT = 0x800
AT_SYMLINK_NOFOLLOW = 0x100

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1

FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

MNT_DETACH = 2

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_UMOUNT2 = {"x86_64": 166, "aarch64": 39, "riscv64": 39}.get(os.uname().machine, 39)


class _MountAttr(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def fsopen(filesystem: str, flags: int = FSOPEN_CLOEXEC) -> int:
    """Open a context in which a file system of this type is configured; returns its fd."""
    return syscall("fsopen", _FSOPEN, filesystem.encode(), flags, about=filesystem)


def fsconfig_string(context: int, key: str, value: str) -> None:
    """Set a ``key=value`` option of the context (values over 255 bytes: EINVAL on older kernels)."""
    key_, value_ = key.encode(), os.fsencode(value)
    _fsconfig(context, FSCONFIG_SET_STRING, key_, value_, about=f"{key}={value}")


def fsconfig_flag(context: int, key: str) -> None:
    """Set an option without a value (``ro``, ``index``)."""
    _fsconfig(context, FSCONFIG_SET_FLAG, key.encode(), about=key)


def fsconfig_fd(context: int, key: str, fd: int) -> None:
    """Set an option to an open file (overlay's layers since Linux 6.13)."""
    _fsconfig(context, FSCONFIG_SET_FD, key.encode(), aux=fd, about=key)


def fsconfig_create(context: int) -> None:
    """Create the file system the context describes; the kernel's own words are in the error."""
    _fsconfig(context, FSCONFIG_CMD_CREATE, None, about="create")


def _fsconfig(
    context: int, command: int, key: bytes | None, value: bytes | None = None, *, aux: int = 0, about: str
) -> None:
    try:
        syscall("fsconfig", _FSCONFIG, context, command, key, value, aux, about=about)
    except OSError as error:
        if said := context_messages(context):
            raise OSError(error.errno, f"{error.strerror} ({'; '.join(said)})", error.filename) from None
        raise


def context_messages(context: int) -> list[str]:
    """Messages the kernel left in the context (read once, then gone)."""
    messages = []
    with suppress(OSError):
        while message := os.read(context, 8192):
            messages.append(message.decode(errors="replace").strip()[2:])
    return messages


def fsmount(context: int, attributes: int = 0, flags: int = FSMOUNT_CLOEXEC) -> int:
    """A detached mount of the created file system, with ``MOUNT_ATTR_*`` attributes; returns its fd."""
    return syscall("fsmount", _FSMOUNT, context, flags, attributes)


def mount_detached(
    filesystem: str,
    options: Mapping[str, str] | Iterable[tuple[str, str | None]],
    attributes: int = 0,
) -> int:
    """Make a file system and give it as a detached mount fd; an option with value None (or "") is a flag."""
    context = fsopen(filesystem)
    try:
        for key, value in options.items() if isinstance(options, Mapping) else options:
            if value:
                fsconfig_string(context, key, value)
            else:
                fsconfig_flag(context, key)
        fsconfig_create(context)
        return fsmount(context, attributes)
    finally:
        os.close(context)


def open_tree(path: str | bytes | os.PathLike[str], flags: int = 0, dir_fd: int = AT_FDCWD) -> int:
    """An fd on ``path``; with OPEN_TREE_CLONE (and AT_RECURSIVE) a detached copy of the mount there."""
    return syscall("open_tree", _OPEN_TREE, dir_fd, os.fsencode(path), flags | OPEN_TREE_CLOEXEC, about=str(path))


def clone_mount(path: str | bytes | os.PathLike[str], *, recursive: bool = False, dir_fd: int = AT_FDCWD) -> int:
    """A detached bind mount of ``path`` (of ``dir_fd`` itself where path is empty); returns its fd."""
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return open_tree(path, flags, dir_fd)


def move_mount(mount: int, target: str | bytes | os.PathLike[str], dir_fd: int = AT_FDCWD) -> None:
    """Put a detached mount at ``target`` (on ``dir_fd`` itself where target is empty)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if target else MOVE_MOUNT_T_EMPTY_PATH)
    syscall("move_mount", _MOVE_MOUNT, mount, b"", dir_fd, os.fsencode(target), flags, about=str(target))


def mount_setattr(
    mount: int,
    path: str = "",
    *,
    set_: int = 0,
    clear: int = 0,
    propagation: int = 0,
    userns: int = 0,
    recursive: bool = False,
) -> None:
    """Change attributes of a mount (of the fd itself where path is empty), of all below too if ``recursive``.

    ``userns`` is the fd of the user namespace for MOUNT_ATTR_IDMAP: allowed once, on a detached mount.
    """
    attr = _MountAttr(set_, clear, propagation, userns)
    flags = (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    syscall(
        "mount_setattr",
        _MOUNT_SETATTR,
        mount,
        os.fsencode(path),
        flags,
        attr,
        ctypes.sizeof(attr),
        about=path,
    )


def idmap(mount: int, userns: int, *, recursive: bool = False) -> None:
    """Show a detached mount's owners through the maps of a user namespace."""
    mount_setattr(mount, set_=MOUNT_ATTR_IDMAP, userns=userns, recursive=recursive)


def umount(path: str | bytes | os.PathLike[str], flags: int = 0) -> None:
    """Unmount what is at ``path``; MNT_DETACH lets users of it finish."""
    syscall("umount2", _UMOUNT2, os.fsencode(path), flags, about=str(path))
