"""overlayfs as detached mounts: many read-only layers, one writable one, no entry in the host's mount table.

    lowers   directories, topmost first
    upper    where changes go; ``work`` beside it is overlayfs's own

A deleted name is a character device 0:0 in ``upper``; a directory that hides those below it has
``trusted.overlay.opaque``. Renamed directories and metadata-only copies are switched off, so that an upper directory
can be read on its own. ``index`` is off, so that a container's upper may be used again under another stack.

The last reference to a writable overlay costs a sync of the file system below (tens to hundreds of milliseconds on a
busy disk), paid by whoever drops it: let that be a thread nobody waits for, not an exiting container.

Source: https://docs.kernel.org/filesystems/overlayfs.html. Layers by fd need Linux 6.13;
before it mount(2) and /proc/self/fd serve, without ``mapped``.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sampan.linux import mount
from sampan.linux.idmap import acting_as_root
from sampan.linux.syscall import libc_call
from sampan.linux.userns import Mapped

OPAQUE = "trusted.overlay.opaque"
ATTRIBUTES = "trusted.overlay."
WHITEOUT_DEVICE = os.makedev(0, 0)
_OPTIONS = {"index": "off", "metacopy": "off", "redirect_dir": "nofollow", "xino": "auto"}
_MS_RDONLY = 1


@dataclass(frozen=True, slots=True)
class Writable:
    """Where changes go: ``directory`` holds ``upper`` and ``work`` side by side.

    ``volatile`` ignores fsync and skips the sync of the *whole* file system below that the kernel makes when the
    mount goes: right for what is thrown away after a crash anyway, wrong for anything else.
    """

    directory: Path
    volatile: bool = False


def mount_overlay(lowers: Sequence[Path], writable: Writable | None = None, *, mapped: Mapped | None = None) -> int:
    """Mount the stack; returns the fd (O_PATH) of the detached mount. Without ``writable`` it is read-only.

    ``mapped`` shows all layers through the maps of a user namespace: on disk every file keeps the owner that the
    namespace sees, below and above. Overlayfs makes its own files with the IDs of whoever mounts, so that must be
    the namespace's root, for whom the maps have a place.
    The kernel wants two lower layers at least where there is no writable one.
    """
    with ExitStack() as opened:
        above = _layer(writable.directory, mapped, opened) if writable else None
        stack = _Stack(
            lowers=[_layer(lower, mapped, opened) for lower in lowers],
            upper=_below(above, "upper", opened) if above else None,
            work=_below(above, "work", opened) if above else None,
            volatile=writable is not None and writable.volatile,
        )
        opened.enter_context(acting_as_root(mapped.maps if mapped else None))
        return mount_by_fds(stack, opened) if takes_fds() else mount_by_paths(stack)


@dataclass(frozen=True, slots=True)
class _Stack:
    """The layers of one mount, opened."""

    lowers: Sequence[int]
    upper: int | None
    work: int | None
    volatile: bool


@cache
def takes_fds() -> bool:
    """Whether this kernel takes layers as fds."""
    with ExitStack() as opened:
        context = _owned(mount.fsopen("overlay"), opened)
        try:
            mount.fsconfig_fd(context, "lowerdir+", _layer(Path("/"), None, opened))
        except OSError:
            return False
        return True


def mount_by_fds(stack: _Stack, opened: ExitStack) -> int:
    """Mount without touching any mount table."""
    context = _owned(mount.fsopen("overlay"), opened)
    for lower in stack.lowers:
        mount.fsconfig_fd(context, "lowerdir+", lower)
    if stack.upper is not None and stack.work is not None:
        mount.fsconfig_fd(context, "upperdir", stack.upper)
        mount.fsconfig_fd(context, "workdir", stack.work)
    if stack.volatile:
        mount.fsconfig_flag(context, "volatile")
    for key, value in _OPTIONS.items():
        mount.fsconfig_string(context, key, value)
    mount.fsconfig_create(context)
    return mount.fsmount(context, mount.MOUNT_ATTR_RDONLY if stack.upper is None else 0)


def mount_by_paths(stack: _Stack) -> int:
    """Mount on a directory for a moment, for older kernels: mount(2) takes a page of options, fsconfig 255 bytes."""
    options = [f"{key}={value}" for key, value in _OPTIONS.items()]
    options.append("lowerdir=" + ":".join(map(_by_fd, stack.lowers)))
    if stack.upper is not None and stack.work is not None:
        options += [f"upperdir={_by_fd(stack.upper)}", f"workdir={_by_fd(stack.work)}"]
    if stack.volatile:
        options.append("volatile")
    data = ",".join(options).encode()
    if len(data) >= os.sysconf("SC_PAGE_SIZE"):
        raise OSError(errno.E2BIG, f"{len(stack.lowers)} layers are more than this kernel takes")
    with TemporaryDirectory(prefix="sampan-") as target:
        flags = 0 if stack.upper is not None else _MS_RDONLY
        libc_call("mount", b"overlay", target.encode(), b"overlay", flags, data, about="overlay")
        try:
            return mount.clone_mount(target)
        finally:
            mount.umount(target, mount.MNT_DETACH)


def _by_fd(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _layer(path: Path, mapped: Mapped | None, opened: ExitStack) -> int:
    """A layer by fd, idmapped where asked."""
    if mapped is None:
        return _owned(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), opened)
    layer = _owned(mount.clone_mount(path), opened)
    mount.idmap(layer, mapped.namespace)
    return layer


def _below(directory: int, name: str, opened: ExitStack) -> int:
    """A directory of a layer, in the same mount."""
    return _owned(os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory), opened)


def _owned(fd: int, opened: ExitStack) -> int:
    opened.callback(os.close, fd)
    return fd
