"""One call of the API as a handler sees it: the engine, the version, the path's names, the query, the body.

The readers follow moby's ``httputils``: a boolean is true unless it is empty, 0, no, false or none; what cannot be
read is InvalidParameter with the parameter's name.
"""

import base64
import binascii
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import TypeVar

from aiohttp import web

from sampan.api import filters, json, times
from sampan.api.descriptor import OCIPlatform
from sampan.api.filters import Filters
from sampan.api.images import AuthConfig
from sampan.api.versions import Version
from sampan.errors import InvalidParameter
from sampan.oci.platform import Platform
from sampan.server.contract import Engine

T = TypeVar("T")

UNTRUE = frozenset({"", "0", "no", "false", "none"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
PIECE = 256 << 10
"""Bytes of a streamed body that are handed on at a time, at the most."""


class Call:
    """A request on its way through a handler."""

    __slots__ = ("_data", "engine", "labels", "path", "request", "version")

    def __init__(self, engine: Engine, request: web.Request, version: Version, path: Mapping[str, str]) -> None:
        self.engine = engine
        self.request = request
        self.version = version
        self.path = path
        self.labels: Mapping[str, str] = {}
        """Labels that a container must carry to exist for this client."""
        self._data: bytes | None = None

    @property
    def reference(self) -> str:
        """The object that the path names."""
        return self.path["id"] if "id" in self.path else self.path["name"]

    def since(self, major: int, minor: int) -> bool:
        """Whether the client speaks API ``major.minor`` or later."""
        return self.version >= (major, minor)

    # the query

    def text(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return self.request.query.get(name, default)

    def texts(self, name: str) -> list[str]:
        """All values of a parameter."""
        return self.request.query.getall(name, [])

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean parameter; ``default`` when it is not given at all."""
        value = self.request.query.get(name)
        return default if value is None else value.strip().lower() not in UNTRUE

    def optional_integer(self, name: str) -> int | None:
        """An integer parameter, ``None`` when it is not given or empty; the error is Go's ``strconv.Atoi``'s."""
        value = self.text(name)
        if not value:
            return None
        if not _INTEGER.fullmatch(value):
            raise InvalidParameter(f"strconv.Atoi: parsing {json.quote(value)}: invalid syntax")
        if not -1 << 63 <= int(value) < 1 << 63:
            raise InvalidParameter(f"strconv.Atoi: parsing {json.quote(value)}: value out of range")
        return int(value)

    def integer(self, name: str, default: int = 0) -> int:
        """An integer parameter."""
        value = self.optional_integer(name)
        return default if value is None else value

    def moment(self, name: str, quotes: str = "'") -> int | None:
        """A point in time in nanoseconds, ``None`` when it is not given; an error has ``quotes`` around the name."""
        value = self.text(name)
        try:
            return times.parse_moment(value, time.time_ns()) if value else None
        except InvalidParameter:
            seconds = json.quote(value.partition(".")[0])
            why = f"invalid timestamp {json.quote(value)}: invalid seconds {seconds}: invalid syntax"
            raise InvalidParameter(f"invalid value for {quotes}{name}{quotes}: {why}") from None

    def filters(self) -> Filters:
        """The ``filters`` parameter."""
        return filters.parse(self.text("filters"))

    def container_filters(self) -> Filters:
        """The ``filters`` parameter, narrowed to the containers that exist for this client."""
        asked = self.filters()
        if not self.labels:
            return asked
        own = [f"{name}={value}" for name, value in self.labels.items()]
        return Filters({**asked.terms, "label": [*asked.get("label"), *own]})

    def structure(self, name: str, type_: type[T], default: T, called: str = "") -> T:
        """A parameter that holds JSON, null for nothing; ``called`` is what an error calls it."""
        value = self.text(name)
        if not value:
            return default
        try:
            decoded = json.decode_parameter(value)
            return default if decoded is None else json.convert(decoded, type_)
        except InvalidParameter as error:
            raise error.within(f"error reading {called or name}") from error

    def platforms(self, name: str) -> list[OCIPlatform]:
        """The platforms given as JSON, one a value."""
        return [decode_platform(value) for value in self.texts(name) if value]

    def platform(self, name: str = "platform") -> OCIPlatform | None:
        """The one platform given as JSON."""
        return next(iter(self.platforms(name)), None)

    # headers

    def auth(self) -> AuthConfig | None:
        """Credentials of ``X-Registry-Auth``; what cannot be read counts as not given, as Docker has it."""
        return decode_header(self.request.headers.get("X-Registry-Auth", ""), AuthConfig)

    # the body

    async def body(self, type_: type[T], *, required: bool = False) -> T:
        """The JSON body; an empty one is all zero values unless it is ``required``."""
        data = await self.data()
        self._expect_json(data)
        if not data and not required:
            return json.convert({}, type_)
        return json.decode(data, type_)

    async def optional_body(self, type_: type[T]) -> T | None:
        """The JSON body; ``None`` when there is none or nothing in it."""
        data = await self.data()
        self._expect_json(data)
        value = json.decode_value(data) if data.strip() else None
        return json.convert(value, type_) if value else None

    async def data(self) -> bytes:
        """The whole body, which may be read again; raises InvalidParameter for one larger than JSON may be."""
        if self._data is None:
            data = bytearray()
            async for piece in self.request.content.iter_any():
                data += piece
                if len(data) > json.LIMIT:
                    raise InvalidParameter(f"request body too large: more than {json.LIMIT} bytes of JSON")
            self._data = bytes(data)
        return self._data

    def _expect_json(self, data: bytes) -> None:
        if not data:
            return
        declared = self.request.headers.get("Content-Type", "")
        media_type = declared.partition(";")[0].strip().lower()
        if not media_type:
            raise InvalidParameter(f"malformed Content-Type header ({declared}): mime: no media type")
        if media_type != "application/json":
            raise InvalidParameter(f"unsupported Content-Type header ({declared}): must be 'application/json'")

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces as they come."""
        if self._data:
            yield self._data
        async for piece in self.request.content.iter_chunked(PIECE):
            yield piece


def decode_header(text: str, type_: type[T]) -> T | None:
    """A header that holds URL-safe base64 of JSON; ``None`` when it cannot be read."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return json.decode(data, type_) if data else None
    except (binascii.Error, ValueError, InvalidParameter):
        return None


def decode_platform(text: str) -> OCIPlatform:
    """A platform given as JSON; raises InvalidParameter."""
    try:
        platform = json.convert(json.decode_parameter(text), OCIPlatform)
    except InvalidParameter as error:
        raise error.within("failed to parse platform") from None
    if not platform.os or not platform.architecture:
        raise InvalidParameter("both OS and Architecture must be provided")
    return platform


def parse_platform(text: str) -> OCIPlatform | None:
    """A platform given as ``os/arch[/variant]`` or either word alone; raises InvalidParameter."""
    if not text:
        return None
    platform = Platform.parse(text)
    return OCIPlatform(os=platform.os, architecture=platform.architecture, variant=platform.variant)
