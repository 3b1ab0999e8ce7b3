"""Whether a bind can have the propagation asked for: what is mounted later spreads only from mounts that let it.

    private, rprivate       always
    slave, rslave           the mount that the source lies on is shared, or itself the slave of one
    shared, rshared         it is shared

Source: mount_namespaces(7), "Shared subtrees".
"""

from collections.abc import Iterable
from pathlib import Path

from sampan.errors import EngineError
from sampan.linux.mountinfo import Mount, mounts

NEEDS = {
    "shared": (("shared:",), "shared"),
    "slave": (("shared:", "master:"), "shared or slave"),
}
"""By propagation: the optional fields of which the source's mount must have one, and their name in the error."""

UNLISTED = Mount(device="", root="/", point="/", optional=(), type="")
"""What stands for a root that is no mount, as in a chroot."""


def check_source(source: str, propagation: str) -> None:
    """Raise EngineError, in Docker's words, where ``source`` cannot have ``propagation``."""
    needed, name = NEEDS.get(propagation.removeprefix("r"), ((), ""))
    if not needed:
        return
    mount = mount_of(Path(source).resolve(), mounts())
    if not any(field.startswith(needed) for field in mount.optional):
        raise EngineError(f"path {source} is mounted on {mount.point} but it is not a {name} mount")


def mount_of(path: Path, mounted: Iterable[Mount]) -> Mount:
    """The mount that ``path`` lies on: of those at one place the last."""
    above = [mount for mount in mounted if path.is_relative_to(mount.point)]
    return max(reversed(above), key=_depth, default=UNLISTED)


def _depth(mount: Mount) -> int:
    return len(mount.point)
