"""The ground: what any container finds where its image says nothing, as one layer below all the image's.

    .dockerenv (empty file)   etc/mtab → /proc/mounts   etc/hosts, etc/hostname, etc/resolv.conf (empty files)
    dev/console (empty file)  dev/pts dev/shm proc sys (directories)

Programs look for the first two; the others are places to mount on. Lying below, they give way to whatever an image
has there, and a container starts without making them in its own layer, where each would cost a write to the disk.
What an image deleted is made at the start, as any place to mount on.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

MARKER, MTAB = ".dockerenv", "etc/mtab"
MTAB_TARGET = "/proc/mounts"
FILES = (MARKER, "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console")
DIRECTORIES = ("etc", "dev", "dev/pts", "dev/shm", "proc", "sys")


def lay_ground(directory: Path) -> None:
    """Make the layer in ``directory``, or what is missing of it; what is there may be mounted and stays."""
    for name in ("", *DIRECTORIES):
        _new(directory / name, partial(Path.mkdir, parents=True))
    for name in FILES:
        _new(directory / name, partial(Path.touch, exist_ok=False))
    with suppress(FileExistsError):
        (directory / MTAB).symlink_to(MTAB_TARGET)


def _new(path: Path, make: Callable[[Path], None]) -> None:
    """Make ``path``, for all to read, whatever the umask."""
    with suppress(FileExistsError):
        make(path)
        path.chmod(0o755)
