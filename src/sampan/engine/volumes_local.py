"""The local volume driver: a directory of the data root, or anything that mount(8) could put there.

    <data-root>/volumes/<name>/_data        the volume; with options the place of their mount
    <data-root>/volumes/.tmp-<random>       on its way in or out; swept at each start

Options are those of mount(8): ``type``, ``device``, ``o``; or ``size``, a quota of the directory. The mount is made
when the first container starts with the volume and goes with the last; it is in the host's mount table, so that it
outlives the daemon as its users do.
"""

import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from pathlib import Path

from sampan.engine.defaults import parse_size
from sampan.errors import EngineError, InvalidParameter
from sampan.linux import mount
from sampan.linux.inode_flags import make_home_of_trees
from sampan.linux.mountinfo import mounts
from sampan.storage.quota import Quotas

OPTIONS = frozenset({"type", "device", "o", "size"})
TEMPORARY = ".tmp-"
DATA = "_data"
NETWORKED = ("nfs", "cifs")
PASSWORD = re.compile(r"password=[^,]*")

# Flags of mount(8) that are attributes of the mount; their opposites are the default.
ATTRIBUTES = {
    "ro": mount.MOUNT_ATTR_RDONLY,
    "nosuid": mount.MOUNT_ATTR_NOSUID,
    "nodev": mount.MOUNT_ATTR_NODEV,
    "noexec": mount.MOUNT_ATTR_NOEXEC,
    "noatime": mount.MOUNT_ATTR_NOATIME,
    "nodiratime": mount.MOUNT_ATTR_NODIRATIME,
    "strictatime": mount.MOUNT_ATTR_STRICTATIME,
}
DEFAULTS = frozenset({"", "rw", "suid", "dev", "exec", "relatime", "defaults", "nofail", "_netdev"})


class LocalDriver:
    """Volumes under ``root``; plain file-system calls, some of which take long: call from a worker thread."""

    name = "local"

    def __init__(self, root: Path) -> None:
        self._root = root
        make_home_of_trees(root, 0o711)
        self._quotas = Quotas(root)
        for left in root.glob(f"{TEMPORARY}*"):
            shutil.rmtree(left, ignore_errors=True)

    def sweep(self, known: Set[str]) -> None:
        """Remove what an interrupted creation left: empty directories that are no volume's. Others stay."""
        for directory in self._root.iterdir():
            if directory.name not in known:
                with suppress(OSError):
                    (directory / DATA).rmdir()
                with suppress(OSError):
                    directory.rmdir()

    def path(self, name: str) -> Path:
        """Where the volume's content is."""
        return self._root / name / DATA

    def check(self, options: Mapping[str, str]) -> None:
        """Raise InvalidParameter for options that can never be mounted, or a size that nothing would keep to."""
        if unknown := sorted(set(options) - OPTIONS):
            raise InvalidParameter(f'invalid option: "{unknown[0]}"')
        if size(options) and (needs_mount(options) or not self._quotas.supported):
            raise InvalidParameter("quota size requested but no quota support")
        if options.get("type") == "cifs" and has_port(options.get("device", "")):
            raise InvalidParameter("port not allowed in CIFS device URL, include 'port' in 'o='")
        if missing := [needed for needed in ("device", "type") if needs_mount(options) and not options.get(needed)]:
            raise InvalidParameter(f'missing required option: "{missing[0]}"')

    def create(self, name: str, options: Mapping[str, str]) -> None:
        """Make the directory with its quota; one that is there already is kept, with its content."""
        self.path(name).mkdir(mode=0o755, parents=True, exist_ok=True)
        (self._root / name).chmod(0o711)
        if limit := size(options):
            self._quotas.limit([self.path(name)], limit)

    def exists(self, name: str) -> bool:
        """Whether the directory is there."""
        return self.path(name).is_dir()

    def remove(self, name: str) -> None:
        """Take the volume away: at once out of sight, then from the disk."""
        self.unmount(name)
        self._quotas.forget(self.path(name))
        away = self._root / temporary()
        try:
            (self._root / name).rename(away)
        except FileNotFoundError:
            return
        shutil.rmtree(away)

    def rename(self, name: str, to: str) -> None:
        """Give the directory another name; fails if that is taken."""
        if (self._root / to).exists():
            raise EngineError(f"the directory of volume {to} exists already")
        (self._root / name).rename(self._root / to)

    def mount(self, name: str, options: Mapping[str, str]) -> Path:
        """Make the mount that ``options`` ask for, unless it is there; returns the volume's path."""
        path = self.path(name)
        if needs_mount(options) and not self.is_mounted(name):
            try:
                fd = detached(options)
                try:
                    mount.move_mount(fd, path)
                finally:
                    os.close(fd)
            except OSError as error:
                raise mount_failed(path, options, error) from error
        return path

    def unmount(self, name: str) -> None:
        """Remove the mount; none is fine."""
        while self.is_mounted(name):
            mount.umount(self.path(name), mount.MNT_DETACH)

    def is_mounted(self, name: str) -> bool:
        """Whether something is mounted at the volume's path (a bind of the same file system counts)."""
        return str(self.path(name).resolve()) in {mounted.point for mounted in mounts()}


def temporary() -> str:
    """A name that no volume can have, for a directory that the next start sweeps."""
    return f"{TEMPORARY}{secrets.token_hex(8)}"


def mount_failed(path: Path, options: Mapping[str, str], error: OSError) -> EngineError:
    """The error of a mount that did not come about."""
    said = f"{options.get('device', '')}:{path}, data: {PASSWORD.sub('password=********', options.get('o', ''))}"
    return EngineError(
        f"error while mounting volume '{path}': failed to mount local volume: mount {said}: {error.strerror}"
    )


def needs_mount(options: Mapping[str, str]) -> bool:
    """Whether the options describe a mount; ``size`` alone is a quota of the directory."""
    return bool(set(options) - {"size"})


def size(options: Mapping[str, str]) -> int:
    """The quota asked for in bytes, 0 for none; raises InvalidParameter."""
    return parse_size(options["size"]) if "size" in options else 0


def has_port(device: str) -> bool:
    """Whether the host of ``//host:port/share`` has a port."""
    return ":" in device.removeprefix("//").partition("/")[0]


def is_bind(options: Mapping[str, str]) -> bool:
    """Whether the options describe a bind mount."""
    return bool({"bind", "rbind"} & set(words(options)))


def words(options: Mapping[str, str]) -> Iterator[str]:
    """The comma-separated words of ``o``."""
    return (word.strip() for word in options.get("o", "").split(","))


def detached(options: Mapping[str, str]) -> int:
    """A detached mount as ``options`` describe it; the caller closes it."""
    given = [word for word in words(options) if word not in DEFAULTS]
    attributes = 0
    for word in given:
        attributes |= ATTRIBUTES.get(word, 0)
    data = [word for word in given if word not in ATTRIBUTES and word not in ("bind", "rbind")]
    if is_bind(options):
        fd = mount.clone_mount(options["device"], recursive="rbind" in given)
        try:
            mount.mount_setattr(fd, set_=attributes)
        except BaseException:
            os.close(fd)
            raise
        return fd
    pairs = [("source", options["device"])] + [pair(word, options["type"]) for word in data]
    return mount.mount_detached(options["type"], pairs, attributes)


def pair(word: str, type_: str) -> tuple[str, str | None]:
    """``key=value``, or a flag; the server of a network file system becomes its address, as mount(8) would do."""
    key, equals, value = word.partition("=")
    if key == "addr" and type_.startswith(NETWORKED):
        value = str(socket.getaddrinfo(value, None)[0][4][0])
    return key, value if equals else None
