"""A directory made of what lies elsewhere: a commit of a repository, or a file at a URL, taken apart if it is a tar.

scratch/tree-<random>/tree    what came, gone at the end of the block
"""

import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sampan.archive.compression import decompressed
from sampan.archive.copy import unpack
from sampan.build.context import is_tar
from sampan.build.copying import DIRECTORY
from sampan.build.git import Remote, open_commit
from sampan.build.remote import fetch_all
from sampan.build.threads import in_thread
from sampan.errors import InvalidParameter

FILE_MODE = 0o600
"""Of a downloaded file, as ADD gives it."""


@dataclass(frozen=True, slots=True)
class RemoteTree:
    """A ``repository``, or else the file at ``url`` under the name ``filename``; ``takes_apart`` unpacks a tar."""

    repository: Remote | None = None
    url: str = ""
    filename: str = ""
    checksum: str = ""
    takes_apart: bool = False


@asynccontextmanager
async def open_tree(scratch: Path, wanted: RemoteTree) -> AsyncIterator[int]:
    """The fd of the directory. Raises EngineError for what cannot be fetched, DataLoss for a wrong checksum."""
    directory = scratch / f"tree-{secrets.token_hex(8)}"
    directory.mkdir(parents=True, mode=0o755)
    try:
        if wanted.repository:
            root = await open_commit(wanted.repository, directory / "tree")
        else:
            root = await _file(directory, wanted)
        try:
            yield root
        finally:
            os.close(root)
    finally:
        await in_thread(shutil.rmtree, directory, ignore_errors=True)


async def _file(directory: Path, wanted: RemoteTree) -> int:
    if "/" in wanted.filename or wanted.filename in (".", ".."):
        raise InvalidParameter(f"invalid name of a downloaded file: {wanted.filename!r}")
    (download,) = await fetch_all([wanted.url], directory, wanted.checksum)
    tree = directory / "tree"
    tree.mkdir(mode=0o755)
    root = os.open(tree, DIRECTORY)
    try:
        await in_thread(_place, download.path, root, wanted.filename or download.name, takes_apart=wanted.takes_apart)
    except BaseException:
        os.close(root)
        raise
    return root


def _place(downloaded: Path, root: int, name: str, *, takes_apart: bool) -> None:
    with downloaded.open("rb") as file:
        if takes_apart and is_tar(file):
            unpack(decompressed(file), root, owner=(0, 0))
            return
    downloaded.chmod(FILE_MODE)
    os.rename(downloaded, name, dst_dir_fd=root)
