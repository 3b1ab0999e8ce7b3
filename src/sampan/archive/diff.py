"""An overlay's upper directory as a layer tar: the reverse of ``archive.apply``.

    character device 0:0            → .wh.NAME
    trusted.overlay.opaque=y on D   → D/.wh..wh..opq after D
    anything else                   → itself

Members come in the order of their names' bytes; the same directory gives the same bytes.
"""

import os
import stat
from collections.abc import Collection

from sampan.archive import names
from sampan.archive.entry import Entry
from sampan.archive.stream import Sink
from sampan.archive.walk import Found, walk
from sampan.archive.writer import TarWriter
from sampan.linux import overlay, xattr


def write_diff(upper: int, sink: Sink, leave_out: Collection[str] = (), *, settled: bool = False) -> None:
    """Write the layer that the directory fd ``upper`` of an overlay amounts to.

    ``leave_out`` names paths that are not part of it; ``settled`` says that nobody writes to it meanwhile.
    """
    writer = TarWriter(sink, settled=settled)
    for found in walk(upper):
        if found.path in leave_out:
            continue
        if is_whiteout(found.status):
            parent = found.path[: -len(found.name)]
            writer.add(_marker(f"{parent}{names.WHITEOUT}{found.name}"))
            continue
        writer.add_found(found, found.path)
        if found.is_directory and is_opaque(found):
            writer.add(_marker(f"{found.path}/{names.OPAQUE}"))
    writer.finish()


def _marker(name: str) -> Entry:
    return Entry(name, mode=0)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this is overlayfs's mark of a deleted name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == overlay.WHITEOUT_DEVICE


def is_opaque(found: Found) -> bool:
    """Whether a directory of an upper hides those below it."""
    return xattr.get(found.directory, found.name, overlay.OPAQUE) == b"y"
