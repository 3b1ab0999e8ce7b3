"""overlayfs as detached mounts: many read-only layers, one writable one, no entry in the host's mount table.

    lowers   directories, topmost first
    upper    where changes go; ``work`` beside it is overlayfs's own

A deleted name is a character device 0:0 in ``upper``; a directory that hides those below it has
``trusted.overlay.opaque``. Renamed directories and metadata-only copies are switched off, so that an upper directory
can be read on its own. ``index`` is off, so that a container's upper may be used again under another stack.

The last reference to a writable overlay costs a sync of the file system below (tens to hundreds of milliseconds on a
busy disk), paid by whoever drops it: let that be a thread nobody waits for, not an exiting container.

Source: https://docs.kernel.org/filesystems/overlayfs.html. ``lowerdir+`` needs Linux 6.8, layers by fd 6.13.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sampan.linux import mount

OPAQUE = "trusted.overlay.opaque"
ATTRIBUTES = "trusted.overlay."
WHITEOUT_DEVICE = os.makedev(0, 0)
_OPTIONS = {"index": "off", "metacopy": "off", "redirect_dir": "nofollow", "xino": "auto"}


@dataclass(frozen=True, slots=True)
class Writable:
    """Where changes go: ``directory`` holds ``upper`` and ``work`` side by side.

    ``volatile`` ignores fsync and skips the sync of the *whole* file system below that the kernel makes when the
    mount goes: right for what is thrown away after a crash anyway, wrong for anything else.
    """

    directory: Path
    volatile: bool = False


def mount_overlay(lowers: Sequence[Path], writable: Writable | None = None, *, userns: int | None = None) -> int:
    """Mount the stack; returns the fd (O_PATH) of the detached mount. Without ``writable`` it is read-only.

    ``userns``, an fd of a user namespace, shows the lower layers through its maps: nothing in them is chowned. The
    writable one stays as it is, for overlayfs writes with the mounter's IDs, which such a map has no place for; its
    ``upper`` must belong to the namespace's root.
    The kernel wants two lower layers at least where there is no writable one.
    """
    with ExitStack() as opened:
        context = _owned(mount.fsopen("overlay"), opened)
        for lower in lowers:
            mount.fsconfig_fd(context, "lowerdir+", _layer(lower, userns, opened))
        if writable is not None:
            _set_writable(context, writable, opened)
        for key, value in _OPTIONS.items():
            mount.fsconfig_string(context, key, value)
        mount.fsconfig_create(context)
        return mount.fsmount(context, mount.MOUNT_ATTR_RDONLY if writable is None else 0)


def _set_writable(context: int, writable: Writable, opened: ExitStack) -> None:
    """Upper and work must be reached through one mount."""
    for key, name in (("upperdir", "upper"), ("workdir", "work")):
        mount.fsconfig_fd(context, key, _layer(writable.directory / name, None, opened))
    if writable.volatile:
        mount.fsconfig_flag(context, "volatile")


def _layer(path: Path, userns: int | None, opened: ExitStack) -> int:
    """A layer by fd (fsconfig takes no path longer than 255 bytes), idmapped where asked."""
    if userns is None:
        return _owned(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), opened)
    layer = _owned(mount.clone_mount(path), opened)
    mount.idmap(layer, userns)
    return layer


def _owned(fd: int, opened: ExitStack) -> int:
    opened.callback(os.close, fd)
    return fd
