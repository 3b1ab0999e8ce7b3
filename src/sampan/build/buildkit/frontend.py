"""What ``dockerfile.v0`` is asked for, as a build's request: options to values, the session's files to directories.

target, filename, platform, no-cache, build-arg:*, label:*, add-hosts, force-network-mode, image-resolve-mode,
shm-size, cgroup-parent, contextkey, dockerfilekey
"""

import asyncio
import hashlib
import os
import posixpath
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from sampan.build.buildkit.session import Session
from sampan.build.copying import DIRECTORY
from sampan.build.executor import Limits
from sampan.build.request import Request
from sampan.dockerfile.ignore import read_patterns
from sampan.dockerfile.parser import SIZE_LIMIT, parse
from sampan.errors import InvalidParameter, Unsupported
from sampan.linux.openat2 import open_in_root
from sampan.oci.platform import Platform, host

DOCKERFILE = "Dockerfile"


class Frontend:
    """Turns options into requests; ``root`` holds the directories that clients' files are kept in between builds."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks: dict[Path, asyncio.Lock] = {}

    @asynccontextmanager
    async def request(self, options: Mapping[str, str], session: Session) -> AsyncIterator[Request]:
        """The request, its context held until the end of the block. Raises EngineError, ParseError."""
        _refuse(options)
        context = self._directory(session, "context")
        lock = self._locks.setdefault(context, asyncio.Lock())
        async with lock:
            text, patterns = await self._dockerfile(options, session)
            await session.synchronise(options.get("contextkey") or "context", context, exclude=patterns)
            root = os.open(context, DIRECTORY)
            try:
                yield _request(options, text, root, session)
            finally:
                os.close(root)

    def _directory(self, session: Session, kind: str) -> Path:
        key = hashlib.sha256(f"{session.shared_key}\0{kind}".encode()).hexdigest()[:32]
        return self._root / f"{kind}-{key}"

    async def _dockerfile(self, options: Mapping[str, str], session: Session) -> tuple[str, list[str]]:
        """The Dockerfile's text and the patterns that keep files out of the context."""
        name = posixpath.normpath(options.get("filename") or DOCKERFILE)
        into = self._directory(session, "dockerfile")
        own_ignore = f"{name}.dockerignore"
        wanted = [name, own_ignore, name.lower()] if name == DOCKERFILE else [name, own_ignore]
        key = options.get("dockerfilekey") or "dockerfile"
        await session.synchronise(key, into, follow=[*wanted, ".dockerignore"])
        text = _first(into, wanted[:1] + wanted[2:])
        if text is None:
            raise InvalidParameter(f"failed to read dockerfile: open {name}: no such file or directory")
        ignored = _first(into, [own_ignore, ".dockerignore"])
        return text, read_patterns(ignored) if ignored else []


def _first(directory: Path, names: list[str]) -> str | None:
    """The text of the first of ``names`` that is there; nothing is read outside of ``directory``."""
    root = os.open(directory, DIRECTORY)
    try:
        return next((text for name in names if (text := _read(root, name)) is not None), None)
    finally:
        os.close(root)


def _read(root: int, name: str) -> str | None:
    try:
        fd = open_in_root(root, name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(SIZE_LIMIT).decode(errors="replace")


def _refuse(options: Mapping[str, str]) -> None:
    if options.get("context"):
        raise Unsupported(f"build context {options['context']}: only local directories can be built over a session")
    for name in options:
        if name.startswith("context:"):
            raise Unsupported(f"--build-context {name.removeprefix('context:')}: named contexts are not supported")
    if options.get("requestid"):
        raise Unsupported(f"--call={options['requestid']} is not supported")
    if "," in options.get("platform", ""):
        raise Unsupported("multi-platform builds are not supported")


def _prefixed(options: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)}


def _request(options: Mapping[str, str], text: str, root: int, session: Session) -> Request:
    arguments = _prefixed(options, "build-arg:")
    epoch = arguments.get("SOURCE_DATE_EPOCH", "")
    uncached = options.get("no-cache")
    return Request(
        dockerfile=parse(text),
        context=root,
        target=options.get("target", ""),
        build_args=arguments,
        labels=_prefixed(options, "label:"),
        no_cache=uncached == "",
        no_cache_stages=frozenset((uncached or "").split(",")) - {""},
        pull=options.get("image-resolve-mode") == "pull",
        platform=Platform.parse(options["platform"]) if options.get("platform") else host(),
        network=options.get("force-network-mode") or "default",
        extra_hosts=tuple(pair.replace("=", ":", 1) for pair in options.get("add-hosts", "").split(",") if pair),
        limits=Limits(shm_size=int(options.get("shm-size") or 0), cgroup_parent=options.get("cgroup-parent", "")),
        secrets=session,
        epoch=int(epoch) if epoch.isdecimal() else None,
    )
