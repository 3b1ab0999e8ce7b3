"""What goes wrong with an archive, and whose fault it is.

MalformedArchive (InvalidParameter)   the bytes are wrong: truncated, bad header, a name that climbs out
DiskFull (EngineError)                no room, or a quota, for what the archive holds
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from sampan.errors import EngineError, InvalidParameter

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BAD_NAME = frozenset(
    {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EXDEV, errno.EMLINK}
)


class MalformedArchive(InvalidParameter):
    """The archive cannot be read, or says what must not be done."""


class DiskFull(EngineError):
    """The file system has no room left for the content."""


@contextmanager
def placing(name: str) -> Iterator[None]:
    """Turn an OSError met while placing the entry ``name`` into the error that says whose fault it is."""
    try:
        yield
    except OSError as error:
        raise explained(error, name) from error


def explained(error: OSError, name: str) -> EngineError:
    """The error for an OSError met at the entry ``name``."""
    if error.errno in FULL:
        return DiskFull(f"failed to extract {name}: no space left on device")
    if error.errno in _BAD_NAME:
        return MalformedArchive(f"invalid archive entry {name!r}: {error.strerror}")
    return EngineError(f"failed to extract {name}: {error}")
