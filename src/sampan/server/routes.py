"""The route table's rows and how a path finds its row.

Every operation is served as ``/x`` and as ``/v{version}/x``; the version is taken off before.

    {id}      one segment of the path
    {path}    anything at all, as the first segment: routes for every path
    {name}    anything, slashes included: images, plugins and volumes have them in their names
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from aiohttp import web

from sampan.api.versions import Version
from sampan.errors import InvalidParameter
from sampan.server.call import Call

Handler = Callable[[Call], Awaitable[web.StreamResponse]]

NEWER: Mapping[str, Version] = {
    "POST /containers/prune": Version(1, 25),
    "POST /images/prune": Version(1, 25),
    "POST /networks/prune": Version(1, 25),
    "POST /volumes/prune": Version(1, 25),
    "GET /secrets": Version(1, 25),
    "POST /secrets/create": Version(1, 25),
    "GET /secrets/{id}": Version(1, 25),
    "DELETE /secrets/{id}": Version(1, 25),
    "POST /secrets/{id}/update": Version(1, 25),
    "POST /plugins/{name}/upgrade": Version(1, 26),
    "GET /configs": Version(1, 30),
    "POST /configs/create": Version(1, 30),
    "GET /configs/{id}": Version(1, 30),
    "DELETE /configs/{id}": Version(1, 30),
    "POST /configs/{id}/update": Version(1, 30),
    "GET /distribution/{name}/json": Version(1, 30),
    "POST /build/prune": Version(1, 31),
    "PUT /volumes/{name}": Version(1, 42),
    "GET /images/{name}/attestations": Version(1, 55),
}
"""Operations that are refused to clients of a version that did not have them."""

ANYWHERE = "{path}"
SEGMENTS = {"id": "[^/]+", "name": ".+", "path": ".*"}


class Route(NamedTuple):
    """One operation. A route that ``finishes`` runs to its end although the client goes away."""

    method: str
    path: str
    handler: Handler
    finishes: bool

    @property
    def operation(self) -> str:
        """The operation's name: the reference's operationId in snake case."""
        return self.handler.__name__

    def check(self, version: Version) -> None:
        """Raises InvalidParameter for a client whose version did not have the operation."""
        name = f"{self.method} {self.path}"
        since = NEWER.get(name)
        if since is not None and version < since:
            name = name.replace("{name}", "{name:.*}")
            raise InvalidParameter(f"{name} requires minimum API version {since}")


def reads(method: str, path: str, handler: Handler) -> Route:
    """A route that is cancelled when its client goes away."""
    return Route(method, path, handler, False)


def changes(method: str, path: str, handler: Handler) -> Route:
    """A route that changes something and is never left half-done."""
    return Route(method, path, handler, True)


def cleaned(path: str) -> str:
    """``path`` without empty segments, ``.`` and ``..``: dockerd sends whoever asks for another form there."""
    if "//" not in path and "/." not in path:
        return path
    clean = "/" + posixpath.normpath(path).lstrip("/")
    return clean + "/" if path.endswith("/") and clean != "/" else clean


class Router:
    """Finds the route of a path: one regular expression for each method and first segment."""

    def __init__(self, routes: Iterable[Route]) -> None:
        groups: dict[tuple[str, str], list[Route]] = defaultdict(list)
        for route in routes:
            groups[route.method, _first(route.path)].append(route)
        self._groups = {key: [(_pattern(row.path), row) for row in rows] for key, rows in groups.items()}

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
        """The route and the names in the path; ``None`` when nothing is served there."""
        rows = self._groups.get((method, _first(path))) or self._groups.get((method, ANYWHERE), [])
        for pattern, route in rows:
            if match := pattern.fullmatch(path):
                return route, match.groupdict()
        return None


def _first(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def _pattern(path: str) -> re.Pattern[str]:
    words = re.split(r"\{(\w+)\}", path)
    parts = [re.escape(word) if at % 2 == 0 else f"(?P<{word}>{SEGMENTS[word]})" for at, word in enumerate(words)]
    return re.compile("".join(parts))
