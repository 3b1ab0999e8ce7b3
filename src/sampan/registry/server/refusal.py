"""A request this registry refuses, as the distribution specification words it."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from sampan.errors import EngineError
from sampan.registry.protocol import Code, ErrorEntry, encode_errors


class Refusal(EngineError):
    """Ends a request with an error of the specification; ``detail`` is for people, ``headers`` for programs."""

    def __init__(
        self,
        code: Code,
        detail: Any = None,
        *,
        message: str = "",
        status: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or code.sentence)
        self.reason = code
        self.detail = detail
        self.status = status or code.status
        self.headers = headers or {}

    def response(self) -> web.Response:
        """The answer to send."""
        body = encode_errors(ErrorEntry(self.reason.name, self.message, self.detail))
        return web.Response(body=body, status=self.status, headers=self.headers, content_type="application/json")
