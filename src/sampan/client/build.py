"""Builds from Python: a Dockerfile's text, or a ``Recipe``, to an image of the daemon.

    from sampan.build import Recipe, build

    built = build(Recipe("busybox").file("/greeting", "hello").cmd("cat", "/greeting"), tags=["hello"])
    built = build("FROM busybox\nCOPY . /app\n", context="app", arguments={"MODE": "fast"}, on_output=print)

The context is a directory (its ``.dockerignore`` holds), files by name, or nothing.
"""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.client.http import Address, Client
from sampan.client.recipe import Recipe
from sampan.dockerfile.ignore import Ignore, read_patterns
from sampan.errors import EngineError

NAME = ".sampan.Dockerfile"
"""The Dockerfile's name in a context, where it hides no file of the user's; no step sees it, as it is ignored."""
IGNORE = ".dockerignore"
Context = str | os.PathLike[str] | Mapping[str, bytes | str] | None


@dataclass(frozen=True, slots=True)
class Built:
    """An image, and what the build said."""

    id: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a build may be asked for beside its Dockerfile; ``unset_*`` takes settings out of the final image."""

    tags: Iterable[str] = ()
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    platform: str = ""
    no_cache: bool = False
    pull: bool = False
    squash: bool = False
    cache_from: Iterable[str] = ()
    unset_env: Iterable[str] = ()
    unset_label: Iterable[str] = ()
    unset_volume: Iterable[str] = ()
    unset_expose: Iterable[str] = ()

    def query(self) -> dict[str, Any]:
        """The query of ``POST /build``."""
        unset = {
            f"SAMPAN_UNSET_{kind}": ",".join(names)
            for kind, names in (
                ("ENV", self.unset_env),
                ("LABEL", self.unset_label),
                ("VOLUME", self.unset_volume),
                ("EXPOSE", self.unset_expose),
            )
        }
        arguments = {**self.arguments, **{name: value for name, value in unset.items() if value}}
        return {
            "dockerfile": NAME,
            "t": list(self.tags),
            "target": self.target,
            "buildargs": json.dumps(arguments),
            "labels": json.dumps(dict(self.labels)),
            "networkmode": self.network,
            "platform": self.platform,
            "nocache": self.no_cache,
            "pull": self.pull,
            "squash": self.squash,
            "cachefrom": json.dumps(list(self.cache_from)),
        }


def build(
    source: "str | Recipe",
    context: Context = None,
    *,
    host: str = "",
    on_output: Callable[[str], object] | None = None,
    **options: Any,
) -> Built:
    """Build ``source`` and return the image; ``options`` are those of ``Options``.

    ``on_output`` is given the build's text piece by piece. Raises EngineError with what went wrong.
    """
    daemon = Client(Address.parse(host) if host else Address.from_environment())
    query = Options(**options).query()
    response = daemon.request("POST", "/build", query, stream=tar_of(str(source), context))
    said: list[str] = []
    image = ""
    for message in response.json_lines():
        if "error" in message:
            raise EngineError(message["error"])
        image = (message.get("aux") or {}).get("ID", image)
        if text := message.get("stream", ""):
            said.append(text)
            if on_output is not None:
                on_output(text)
    return Built(image, "".join(said))


def tar_of(dockerfile: str, context: Context) -> Iterator[bytes]:
    """The context as a tar, with the Dockerfile in it, a piece at a time."""
    sink = _Pieces()
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, data in _named(dockerfile, context):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
            yield from sink.taken()
        if isinstance(context, (str, os.PathLike)):
            for name, path in walk(Path(context)):
                tar.add(path, name, recursive=False)
                yield from sink.taken()
    yield from sink.taken()


def _named(dockerfile: str, context: Context) -> Iterator[tuple[str, bytes]]:
    yield NAME, dockerfile.encode()
    files = context if isinstance(context, Mapping) else {}
    own = files.get(IGNORE) if not isinstance(context, (str, os.PathLike)) else _text_of(Path(context, IGNORE))
    said = own.decode() if isinstance(own, bytes) else own
    hidden = [NAME] if said is not None else [NAME, IGNORE]
    yield IGNORE, "\n".join([said or "", *hidden, ""]).encode()
    for name, data in files.items():
        if name != IGNORE:
            yield name, data.encode() if isinstance(data, str) else data


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Everything of a directory that its ``.dockerignore`` leaves in: name below it, and path."""
    ignore = Ignore(read_patterns(_text_of(root / IGNORE) or ""))
    for directory, directories, files in os.walk(root):
        directories.sort()
        for name in sorted(directories + files):
            path = Path(directory, name)
            relative = path.relative_to(root).as_posix()
            if relative != IGNORE and not ignore.excludes(relative):
                yield relative, path


class _Pieces(io.RawIOBase):
    """A file that gives back what was written, once."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._written.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        """What was written since the last time."""
        written, self._written = self._written, []
        yield from written
