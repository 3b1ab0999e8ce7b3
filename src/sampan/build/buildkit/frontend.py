"""What ``dockerfile.v0`` is asked for, as a build's request: options to values, the session's files to directories.

target, filename, platform, no-cache, build-arg:*, label:*, add-hosts, force-network-mode, image-resolve-mode,
shm-size, cgroup-parent, contextkey, dockerfilekey
"""

import os
import posixpath
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sampan.build.buildkit.content import bring_image
from sampan.build.buildkit.contexts import NamedContexts, apply_contexts, named_contexts
from sampan.build.buildkit.definition import tree_in
from sampan.build.buildkit.failures import Text
from sampan.build.buildkit.locals import SESSION, Locals, Wanted
from sampan.build.buildkit.session import UPLOADS, Session, Sessions
from sampan.build.buildkit.status import StatusLog
from sampan.build.context import open_context
from sampan.build.imported import Imported
from sampan.build.limits import limits_of
from sampan.build.remote_tree import open_tree
from sampan.build.request import Request
from sampan.build.stages import target_index
from sampan.dockerfile.ignore import read_patterns
from sampan.dockerfile.instructions import Dockerfile
from sampan.dockerfile.parser import SIZE_LIMIT, parse
from sampan.errors import Forbidden, InvalidParameter
from sampan.linux.openat2 import open_regular
from sampan.oci import digest as digests
from sampan.oci.platform import Platform, host
from sampan.storage.store import Storage

DOCKERFILE = "Dockerfile"
IGNORE_FILE = ".dockerignore"
CONTEXT_TASK = "transferring context:"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks the frontend for, and what it may: options, inputs, entitlements, steps done elsewhere.

    ``log`` is told what is brought from the client.
    """

    options: Mapping[str, str]
    log: StatusLog = field(default_factory=StatusLog)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    entitlements: frozenset[str] = frozenset()
    imported: Imported = field(default_factory=Imported)
    inline_cache: bool = False

    def parsed(self, text: str) -> Dockerfile:
        """The Dockerfile, known to the log from here on. Raises ParseError, InvalidParameter for a target it lacks."""
        self.log.source = Text(self.options.get("filename") or DOCKERFILE, text)
        if not text:
            raise InvalidParameter("the Dockerfile cannot be empty")
        file = parse(text)
        target_index(file, self.options.get("target", ""))
        return file


@dataclass(frozen=True, slots=True)
class Source:
    """A context: the fd of its directory, and the Dockerfile."""

    root: int
    dockerfile: Dockerfile


@dataclass(frozen=True, slots=True)
class Client:
    """Whom files are brought from, and whom that is told; some directories may be another session's of theirs."""

    asked: Asked
    session: Session
    sessions: Sessions
    locals: Locals

    @asynccontextmanager
    async def open(self, wanted: Wanted) -> AsyncIterator[int]:
        """The client's directory, here: an fd until the end of the block. Raises EngineError, NotFound."""
        id = self.asked.options.get(SESSION + wanted.name)
        session = await self.sessions.get(id) if id else self.session
        async with self.locals.open(wanted, session, self.asked.log) as root:
            yield root


class Frontend:
    """Turns options into requests; ``root`` holds the directories that clients' files are kept in between builds.

    ``scratch`` is for contexts that come as one archive, and go with their build; images that clients have in
    directories are brought into ``storage``. ``bodies`` are the requests that bring a context along, by its URL.
    """

    def __init__(self, root: Path, scratch: Path, storage: Storage) -> None:
        self._locals = Locals(root)
        self._scratch = scratch
        self._storage = storage
        self.sessions = Sessions()
        self.bodies: dict[str, AsyncIterator[bytes]] = {}

    def _client(self, asked: Asked, session: Session) -> Client:
        return Client(asked, session, self.sessions, self._locals)

    @asynccontextmanager
    async def requests(self, asked: Asked, session: Session) -> AsyncIterator[list[Request]]:
        """A request for each platform, contexts held until the end of the block. Raises EngineError, ParseError."""
        contexts = named_contexts(asked.options, asked.inputs)
        async with AsyncExitStack() as held:
            source = await held.enter_async_context(self._source(asked, session))
            directories = await self._directories(contexts, self._client(asked, session), held)
            await self._layouts(contexts, asked.options, session, held)
            file = apply_contexts(source.dockerfile, contexts)
            request = _request(asked, file, source.root, session)
            request = replace(request, named_contexts=directories, named_images=contexts.images)
            yield [replace(request, platform=platform) for platform in platforms_of(asked.options)]

    async def _directories(self, contexts: NamedContexts, client: "Client", held: AsyncExitStack) -> dict[str, int]:
        """Named contexts that are files, the client's or from elsewhere: fds that close with ``held``."""
        found = {}
        for name, local in contexts.directories.items():
            vertex = f"[context {name}] load .dockerignore"
            only = Wanted(f"named-{name}-ignore", local, vertex, CONTEXT_TASK, follow=(IGNORE_FILE,))
            async with client.open(only) as root:
                ignored = _read(root, IGNORE_FILE)
            patterns = tuple(read_patterns(ignored)) if ignored else ()
            wanted = Wanted(f"named-{name}", local, f"[context {name}] load from client", CONTEXT_TASK, patterns)
            found[name] = await held.enter_async_context(client.open(wanted))
        for name, tree in contexts.trees.items():
            found[name] = await held.enter_async_context(open_tree(self._scratch, tree))
        return found

    async def _layouts(
        self, contexts: NamedContexts, options: Mapping[str, str], session: Session, held: AsyncExitStack
    ) -> None:
        """Bring the images of the client's layouts here; they become contexts like other images."""
        for name, layout in contexts.layouts.items():
            store, _, digest = layout.partition("@")
            lease = held.enter_context(self._storage.leases.take())
            content = session.content("oci:" + store.partition(":")[0])
            image = await bring_image(self._storage, lease, content, digests.parse(digest), platforms_of(options)[0])
            contexts.images[name] = image.id

    async def definition(self, asked: Asked, session: Session) -> Dockerfile:
        """The Dockerfile alone, for what needs no build. Raises EngineError, ParseError."""
        options = asked.options
        if options.get("context") or "context" in asked.inputs:
            async with self._source(asked, session) as source:
                return source.dockerfile
        text, _ = await self._dockerfile(self._client(asked, session))
        return asked.parsed(text)

    @asynccontextmanager
    async def _source(self, asked: Asked, session: Session) -> AsyncIterator[Source]:
        """The main context: a directory of the client's, what it uploads, or what a URL gives."""
        options, client = asked.options, self._client(asked, session)
        remote = options.get("context", "")
        if not remote and "context" in asked.inputs:
            async with open_tree(self._scratch, tree_in(asked.inputs["context"])) as root:
                yield Source(root, asked.parsed(await self._dockerfile_beside(root, options, client)))
            return
        if not remote:
            text, patterns = await self._dockerfile(client)
            file = asked.parsed(text)
            key = options.get("contextkey") or "context"
            wanted = Wanted("context", key, "[internal] load build context", CONTEXT_TASK, tuple(patterns))
            async with client.open(wanted) as root:
                yield Source(root, file)
            return
        body, url = self._body(remote, session)
        name = None if "dockerfilekey" in options else options.get("filename") or DOCKERFILE
        async with open_context(self._scratch, body, url, name) as context:
            text = context.dockerfile if name else (await self._dockerfile(client))[0]
            yield Source(context.root, asked.parsed(text))

    def _body(self, remote: str, session: Session) -> tuple[AsyncIterator[bytes], str]:
        """What a context's URL means: an upload, or a request's body; or the URL itself."""
        if remote in self.bodies:
            return self.bodies[remote], ""
        return (session.upload(remote), "") if remote.startswith(UPLOADS) else (_nothing(), remote)

    async def _dockerfile_beside(self, root: int, options: Mapping[str, str], client: "Client") -> str:
        """The Dockerfile of a context that is here: the client's own if it gives one, else what is in the context."""
        if "dockerfilekey" in options:
            return (await self._dockerfile(client))[0]
        name = posixpath.normpath(options.get("filename") or DOCKERFILE)
        text = _read(root, name)
        if text is None:
            raise InvalidParameter(f"failed to read dockerfile: open {name}: no such file or directory")
        return text

    async def _dockerfile(self, client: Client) -> tuple[str, list[str]]:
        """The Dockerfile's text and the patterns that keep files out of the context."""
        options, log = client.asked.options, client.asked.log
        name = posixpath.normpath(options.get("filename") or DOCKERFILE)
        own_ignore = f"{name}.dockerignore"
        names = [name, name.lower()] if name == DOCKERFILE else [name]
        wanted = Wanted(
            "dockerfile",
            options.get("dockerfilekey") or "dockerfile",
            f"[internal] load build definition from {posixpath.basename(name)}",
            "transferring dockerfile:",
            follow=(*names, own_ignore, IGNORE_FILE),
        )
        async with client.open(wanted) as root:
            text, ignored = _first(root, names), _first(root, [own_ignore, IGNORE_FILE])
        if text is None:
            raise InvalidParameter(f"failed to read dockerfile: open {name}: no such file or directory")
        async with log.vertex("[internal] load .dockerignore") as activity, activity.task(CONTEXT_TASK) as task:
            task.count(len(ignored or ""))
        return text, read_patterns(ignored) if ignored else []


async def _nothing() -> AsyncIterator[bytes]:
    """No body: the context is at a URL."""
    return
    yield b""


def _first(root: int, names: list[str]) -> str | None:
    """The text of the first of ``names`` that is there; nothing is read outside of the directory ``root``."""
    return next((text for name in names if (text := _read(root, name)) is not None), None)


def _read(root: int, name: str) -> str | None:
    try:
        fd = open_regular(root, name)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(SIZE_LIMIT).decode(errors="replace")


def platforms_of(options: Mapping[str, str]) -> list[Platform]:
    """The platforms to build for: ours if none is named. Raises InvalidParameter."""
    named = [Platform.parse(text) for text in options.get("platform", "").split(",") if text]
    return list(dict.fromkeys(named)) or [host()]


def _prefixed(options: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)}


NETWORKS = {
    "": "default",
    "default": "default",
    "sandbox": "default",
    "unset": "default",
    "none": "none",
    "host": "host",
}
"""``force-network-mode`` → the network of a step."""


def _network(options: Mapping[str, str], entitlements: frozenset[str]) -> str:
    mode = options.get("force-network-mode", "")
    if mode not in NETWORKS:
        raise InvalidParameter(f"unsupported network mode {mode!r} in a build")
    if mode == "host" and "network.host" not in entitlements:
        raise Forbidden("granting entitlement network.host is not allowed by build request")
    return NETWORKS[mode]


def _request(asked: Asked, file: Dockerfile, root: int, session: Session) -> Request:
    options = asked.options
    arguments = _prefixed(options, "build-arg:")
    epoch = arguments.get("SOURCE_DATE_EPOCH", "")
    uncached = options.get("no-cache")
    return Request(
        dockerfile=file,
        context=root,
        target=options.get("target", ""),
        build_args=arguments,
        labels=_prefixed(options, "label:"),
        no_cache=uncached == "",
        no_cache_stages=frozenset(name.lower() for name in (uncached or "").split(",")) - {""},
        pull=options.get("image-resolve-mode") == "pull",
        network=_network(options, asked.entitlements),
        extra_hosts=tuple(pair.replace("=", ":", 1) for pair in options.get("add-hosts", "").split(",") if pair),
        limits=limits_of(options),
        secrets=session,
        agents=session,
        epoch=int(epoch) if epoch.isdecimal() else None,
        imported=asked.imported,
        inline_cache=asked.inline_cache,
        entitlements=asked.entitlements,
    )
