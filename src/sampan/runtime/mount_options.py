"""The options of an OCI mount, read: which attributes to set and clear, propagation, and what the file system gets.

Source: runtime-spec config.md "Linux mount options"; mount(8).
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from sampan.linux import mount as kernel

_ATIME = kernel.MOUNT_ATTR__ATIME

ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (kernel.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, kernel.MOUNT_ATTR_RDONLY),
    "nosuid": (kernel.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, kernel.MOUNT_ATTR_NOSUID),
    "nodev": (kernel.MOUNT_ATTR_NODEV, 0),
    "dev": (0, kernel.MOUNT_ATTR_NODEV),
    "noexec": (kernel.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, kernel.MOUNT_ATTR_NOEXEC),
    "noatime": (kernel.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (0, _ATIME),
    "relatime": (kernel.MOUNT_ATTR_RELATIME, _ATIME),
    "norelatime": (0, _ATIME),
    "strictatime": (kernel.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (0, _ATIME),
    "nodiratime": (kernel.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, kernel.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (kernel.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, kernel.MOUNT_ATTR_NOSYMFOLLOW),
}
"""Option → attributes set, attributes cleared. With an ``r`` before it, for all mounts below too."""

PROPAGATION: dict[str, tuple[int, bool]] = {
    "private": (kernel.MS_PRIVATE, False),
    "rprivate": (kernel.MS_PRIVATE, True),
    "slave": (kernel.MS_SLAVE, False),
    "rslave": (kernel.MS_SLAVE, True),
    "shared": (kernel.MS_SHARED, False),
    "rshared": (kernel.MS_SHARED, True),
    "unbindable": (kernel.MS_UNBINDABLE, False),
    "runbindable": (kernel.MS_UNBINDABLE, True),
}

SUPERBLOCK = {
    "sync": "sync", "dirsync": "dirsync", "mand": "mand", "lazytime": "lazytime",
    "async": "", "nomand": "", "nolazytime": "", "silent": "", "loud": "",
    "iversion": "", "noiversion": "", "defaults": "", "remount": "", "copy-symlink": "",
}  # fmt: skip
"""Options of the file system without a value, and those that ask for what is so anyway."""


MODES = {"bind", "rbind", "tmpcopyup", "idmap", "ridmap"}
"""Options that say how the mount is made."""


class Options(msgspec.Struct, frozen=True):
    """What the options of one mount mean together; the later of two that contradict wins."""

    bind: bool = False
    recursive: bool = False
    set: int = 0
    clear: int = 0
    set_below: int = 0
    clear_below: int = 0
    propagation: tuple[tuple[int, bool], ...] = ()
    copy_up: bool = False
    idmap: bool = False
    idmap_below: bool = False
    data: tuple[str, ...] = ()


def parse(options: Sequence[str]) -> Options:
    """Read the options; a word nobody knows is for the file system."""
    return _parse(tuple(options))


@lru_cache(256)
def _parse(options: tuple[str, ...]) -> Options:
    here = _Attributes()
    below = _Attributes()
    propagation, data, words = [], [], set(options)
    for word in options:
        if word in ATTRIBUTES:
            here.add(word)
        elif word[:1] == "r" and word[1:] in ATTRIBUTES:
            below.add(word[1:])
        elif word in PROPAGATION:
            propagation.append(PROPAGATION[word])
        elif word in SUPERBLOCK:
            data += [SUPERBLOCK[word]] if SUPERBLOCK[word] else []
        elif word not in MODES:
            data.append(word)
    return Options(
        bind=bool(words & {"bind", "rbind"}),
        recursive="rbind" in words,
        set=here.set,
        clear=here.clear,
        set_below=below.set,
        clear_below=below.clear,
        propagation=tuple(propagation),
        copy_up="tmpcopyup" in words,
        idmap=bool(words & {"idmap", "ridmap"}),
        idmap_below="ridmap" in words,
        data=tuple(data),
    )


class _Attributes:
    """Attributes set and cleared so far."""

    def __init__(self) -> None:
        self.set = self.clear = 0

    def add(self, word: str) -> None:
        on, off = ATTRIBUTES[word]
        self.set = (self.set & ~off) | on
        self.clear = (self.clear & ~on) | off
