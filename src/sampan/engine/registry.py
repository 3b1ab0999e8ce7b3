"""Images travel: pull, push, search, login and distribution inspect, as the Engine API knows them.

Each method is one operation of the API's image and system groups. The work itself is done in
``registry.client``; here the user's words become values, and the outcome is recorded and announced.
"""

from typing import Protocol

import msgspec

from sampan.errors import Unavailable
from sampan.registry.client.credentials import ANONYMOUS, Credentials


class Progress(Protocol):
    """Where the lines of a long answer go (``api.progress`` supplies one writing Docker's JSON stream)."""

    async def message(self, status: str, id: str = "") -> None:
        """One line ``{"status": …, "id": …}``."""

    async def advance(self, status: str, id: str, current: int, total: int) -> None:
        """A bar: ``{"status": …, "id": …, "progressDetail": {"current": …, "total": …}}``."""

    async def aux(self, value: object) -> None:
        """A machine-readable result: ``{"aux": …}``."""


class SearchResult(msgspec.Struct, frozen=True):
    """One line of ``docker search``; field names as on the wire."""

    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class LoginOutcome(msgspec.Struct, frozen=True, rename="pascal"):
    """Answer of ``POST /auth``."""

    status: str
    identity_token: str = ""


class Registries:
    """The engine's door to other registries (``engine.registry`` in the engine's wiring)."""

    async def pull(
        self,
        name: str,
        progress: Progress,
        *,
        tag: str = "",
        platform: str = "",
        all_tags: bool = False,
        credentials: Credentials = ANONYMOUS,
    ) -> None:
        """Bring an image here: ``name`` may carry a tag or digest; ``tag`` (or a digest) overrides it.

        Raises NotFound, Unauthorized, InvalidParameter, DataLoss with the sentences docker users know.
        """
        raise Unavailable("not yet")

    async def push(
        self,
        name: str,
        progress: Progress,
        *,
        tag: str = "",
        platform: str = "",
        all_tags: bool = False,
        credentials: Credentials = ANONYMOUS,
    ) -> None:
        """Send a tagged image (or all tags of a repository) to the registry its name says."""
        raise Unavailable("not yet")

    async def search(
        self,
        term: str,
        *,
        limit: int = 25,
        filters: dict[str, list[str]] | None = None,
        credentials: Credentials = ANONYMOUS,
    ) -> list[SearchResult]:
        """Repositories whose name matches, by the registry's v1 search. Raises InvalidParameter for bad filters."""
        raise Unavailable("not yet")

    async def login(self, credentials: Credentials) -> LoginOutcome:
        """Check credentials against their ``server_address``; raises Unauthorized."""
        raise Unavailable("not yet")

    async def distribution(self, name: str, credentials: Credentials = ANONYMOUS) -> dict[str, object]:
        """``GET /distribution/{name}/json``: ``{"Descriptor": {...}, "Platforms": [...]}`` from the registry itself."""
        raise Unavailable("not yet")

    async def close(self) -> None:
        """Close connections; cancels nothing that runs."""
