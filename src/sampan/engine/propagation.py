"""Whether a bind can have the propagation asked for: what is mounted later spreads only from mounts that let it.

    private, rprivate       always
    slave, rslave           the mount that the source lies on is shared, or itself the slave of one
    shared, rshared         it is shared

Source: mount_namespaces(7), "Shared subtrees"; the optional fields of proc_pid_mountinfo(5).
"""

from pathlib import Path

from sampan.errors import EngineError

MOUNTINFO = Path("/proc/self/mountinfo")
NEEDS = {
    "shared": (("shared:",), "shared"),
    "slave": (("shared:", "master:"), "shared or slave"),
}
"""By propagation: the optional fields of which the source's mount must have one, and their name in the error."""


def check_source(source: str, propagation: str) -> None:
    """Raise EngineError, in Docker's words, where ``source`` cannot have ``propagation``."""
    needed, name = NEEDS.get(propagation.removeprefix("r"), ((), ""))
    if not needed:
        return
    point, fields = mount_of(Path(source).resolve(), MOUNTINFO.read_text())
    if not any(field.startswith(needed) for field in fields):
        raise EngineError(f"path {source} is mounted on {point} but it is not a {name} mount")


def mount_of(path: Path, mountinfo: str) -> tuple[str, list[str]]:
    """The mount that ``path`` lies on: where it is, and its optional fields."""
    best: tuple[str, list[str]] = ("/", [])
    for line in mountinfo.splitlines():
        fields = line.split()
        point = fields[4].encode().decode("unicode_escape")
        if len(point) >= len(best[0]) and path.is_relative_to(point):
            best = point, fields[6 : fields.index("-", 6)]
    return best
