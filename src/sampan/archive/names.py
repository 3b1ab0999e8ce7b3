"""Names of archive members, made safe: relative, without ``.`` and ``..``; and whiteouts.

    .wh.NAME          NAME of a lower layer is deleted
    .wh..wh..opq      the directory hides what lower layers have in it
    .wh..wh.…         left-overs of aufs, of no meaning here

Source: https://github.com/opencontainers/image-spec layer.md#whiteouts.
"""

from sampan.archive.errors import MalformedArchive

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."


def clean(name: str) -> str:
    """``name`` as a path below the root, ``""`` for the root itself; one that climbs out is refused."""
    if "\0" in name:
        raise MalformedArchive(f"invalid archive entry {name!r}: NUL in its name")
    if "//" not in name and "./" not in name and not name.startswith("/") and not name.endswith(("/", ".")):
        return name
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise MalformedArchive(f"invalid archive entry {name!r}: it is outside of the root")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def split(path: str) -> tuple[str, str]:
    """Directory and last component of a clean path."""
    parent, _, name = path.rpartition("/")
    return parent, name


def whiteout_of(name: str) -> str | None:
    """The name that the whiteout ``name`` deletes, None if it is no whiteout of a name."""
    if not name.startswith(WHITEOUT) or name.startswith(_AUFS):
        return None
    target = name.removeprefix(WHITEOUT)
    if target in ("", ".", ".."):
        raise MalformedArchive(f"invalid whiteout {name!r}")
    return target


def is_aufs(name: str) -> bool:
    """Whether ``name`` is one of aufs's own, to be left out."""
    return name.startswith(_AUFS) and name != OPAQUE
