"""A classic build's context: a tar (compressed or not), a bare Dockerfile, or something at a URL.

scratch/context-<random>/body    what came, as it came
scratch/context-<random>/tree    unpacked, owned by root
"""

import io
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sampan.archive.compression import decompressed
from sampan.archive.copy import unpack
from sampan.build.copying import DIRECTORY, clean
from sampan.build.git import is_git, open_commit, parse_remote
from sampan.build.remote import fetch_all, is_url
from sampan.build.threads import in_thread
from sampan.dockerfile.ignore import Ignore, read_patterns
from sampan.errors import EngineError, InvalidParameter
from sampan.linux.openat2 import open_regular

DOCKERFILE = "Dockerfile"
DOCKERFILE_LIMIT = 1 << 24
HEAD = 512
TAR_MAGIC_AT = 257


@dataclass(frozen=True, slots=True)
class Context:
    """``root`` is the fd of the unpacked tree, ``dockerfile`` the text to build,
    ``ignored`` the patterns of ``.dockerignore``.
    """

    root: int
    dockerfile: str
    ignored: tuple[str, ...] = ()


@asynccontextmanager
async def open_context(
    scratch: Path, body: AsyncIterator[bytes], remote: str, dockerfile: str | None
) -> AsyncIterator[Context]:
    """The context that a request's body or its ``remote`` is; gone at the end of the block.

    ``dockerfile`` None is for a Dockerfile that comes from elsewhere.

    Raises InvalidParameter for what is no context, EngineError for what cannot be fetched.
    """
    directory = scratch / f"context-{secrets.token_hex(8)}"
    directory.mkdir(parents=True, mode=0o755)
    try:
        source = await _receive(directory, body, remote)
        root = await _opened(directory, remote)
        try:
            yield await in_thread(_fill, source, root, dockerfile, remote)
        finally:
            os.close(root)
    finally:
        await in_thread(shutil.rmtree, directory, ignore_errors=True)


async def _opened(directory: Path, remote: str) -> int:
    """An fd of the tree to build: a repository's, or an empty one."""
    tree = directory / "tree"
    if is_git(remote):
        return await open_commit(parse_remote(remote), tree)
    tree.mkdir(mode=0o755)
    return os.open(tree, DIRECTORY)


async def _receive(directory: Path, body: AsyncIterator[bytes], remote: str) -> Path | None:
    """The file that came; None for a repository, which is checked out instead."""
    if is_git(remote):
        return None
    if is_url(remote):
        try:
            (download,) = await fetch_all([remote], directory)
        except EngineError as error:
            raise EngineError(f"error downloading remote context {remote}: {error.message}") from error
        return download.path
    if remote:
        raise EngineError(f"remoteURL ({remote}) could not be recognized as URL")
    path = directory / "body"
    with path.open("wb") as file:
        async for chunk in body:
            await in_thread(file.write, chunk)
    return path


def _fill(source: Path | None, root: int, dockerfile: str | None, remote: str) -> Context:
    """Unpack ``source`` below ``root``."""
    if source is None:
        return _described(root, dockerfile)
    with source.open("rb") as file:
        if remote and not is_tar(file):
            return Context(root, file.read(DOCKERFILE_LIMIT).decode(errors="replace"))
        unpack(decompressed(file), root, owner=(0, 0))
    source.unlink()
    return _described(root, dockerfile)


def _described(root: int, dockerfile: str | None) -> Context:
    """The tree as a context. Raises EngineError where it has no Dockerfile, with dockerd's status too."""
    if dockerfile is None:
        return Context(root, "", tuple(read_patterns(_read(root, ".dockerignore") or "")))
    text = _read(root, dockerfile)
    if text is None and dockerfile == DOCKERFILE:
        text = _read(root, DOCKERFILE.lower())
    if text is None:
        raise EngineError(f"Cannot locate specified Dockerfile: {dockerfile}")
    if not text.strip():
        raise InvalidParameter(f"the Dockerfile ({dockerfile}) cannot be empty")
    patterns = read_patterns(_read(root, ".dockerignore") or "")
    _hide(root, dockerfile, Ignore(patterns))
    return Context(root, text, tuple(patterns))


def is_tar(file: BinaryIO) -> bool:
    """Whether a file is a tar, compressed or not; it stands at its beginning before and after."""
    try:
        head = decompressed(file).read(HEAD)
    except InvalidParameter:
        head = b""
    finally:
        file.seek(0, io.SEEK_SET)
    return head[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar"


def _read(root: int, path: str) -> str | None:
    try:
        fd = open_regular(root, clean(path))
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(DOCKERFILE_LIMIT).decode(errors="replace")


def _hide(root: int, dockerfile: str, ignore: Ignore) -> None:
    """The client sends the Dockerfile and ``.dockerignore`` even if the latter excludes them."""
    for name in (clean(dockerfile), ".dockerignore"):
        if ignore.excludes(name) and "/" not in name:
            os.unlink(name, dir_fd=root)
