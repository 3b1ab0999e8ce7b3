"""The local volume driver: a directory of the data root, or anything that mount(8) could put there.

    <data-root>/volumes/<name>/_data        the volume; with options the place of their mount
    <data-root>/volumes/.tmp-<random>       on its way in or out; swept at each start

Options are those of mount(8): ``type``, ``device``, ``o``. The mount is made when the first container starts with the
volume and goes with the last; it is in the host's mount table, so that it outlives the daemon as its users do.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from pathlib import Path

from sampan.errors import EngineError, InvalidParameter, Unsupported
from sampan.linux import mount

OPTIONS = frozenset({"type", "device", "o", "size"})
TEMPORARY = ".tmp-"
DATA = "_data"

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
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
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

    def check(self, name: str, options: Mapping[str, str]) -> None:
        """Raise InvalidParameter or Unsupported for options that can never be mounted."""
        if unknown := sorted(set(options) - OPTIONS):
            raise InvalidParameter(f'create {name}: invalid option: "{unknown[0]}"')
        if "size" in options:
            raise Unsupported(f"create {name}: quota size requested but no quota support")
        if options and not (options.get("device") and (options.get("type") or is_bind(options))):
            missing = "type" if options.get("device") else "device"
            raise InvalidParameter(f'create {name}: missing required option: "{missing}"')

    def create(self, name: str) -> None:
        """Make the directory; one that is there already is kept, with its content."""
        self.path(name).mkdir(mode=0o755, parents=True, exist_ok=True)
        (self._root / name).chmod(0o711)

    def exists(self, name: str) -> bool:
        """Whether the directory is there."""
        return self.path(name).is_dir()

    def remove(self, name: str) -> None:
        """Take the volume away: at once out of sight, then from the disk."""
        self.unmount(name)
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
        if options and not self.is_mounted(name):
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
        return str(self.path(name).resolve()) in mount_points()


def temporary() -> str:
    """A name that no volume can have, for a directory that the next start sweeps."""
    return f"{TEMPORARY}{secrets.token_hex(8)}"


def mount_failed(path: Path, options: Mapping[str, str], error: OSError) -> EngineError:
    """The error of a mount that did not come about."""
    said = f"{options.get('device', '')}:{path}, data: {options.get('o', '')}"
    return EngineError(
        f"error while mounting volume '{path}': failed to mount local volume: mount {said}: {error.strerror}"
    )


def mount_points() -> set[str]:
    """All mount points of this mount namespace (proc_pid_mountinfo(5))."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4].encode().decode("unicode_escape") for line in lines}


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
    pairs = [("source", options["device"])] + [pair(word) for word in data]
    return mount.mount_detached(options["type"], pairs, attributes)


def pair(word: str) -> tuple[str, str | None]:
    """``key=value``, or a flag."""
    key, equals, value = word.partition("=")
    return key, value if equals else None
