"""Bodies that come in pieces: a container's output, a path of it as an archive."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from sampan.api.containers import PathStat

Bytes = AsyncIterator[bytes]
"""A body in pieces of any size; bounded: the next piece is not made before the last was taken."""


class Output(NamedTuple):
    """A container's output: ``chunks`` are ready for the wire, raw for a terminal, otherwise frames of ``stdcopy``."""

    terminal: bool
    chunks: Bytes


class Archive(NamedTuple):
    """A path of a container as a tar stream, and what the path itself is."""

    stat: PathStat
    chunks: Bytes
