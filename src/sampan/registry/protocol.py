"""The words both ends of the distribution specification use: errors, headers, ranges, challenges, scopes.

    {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {…}}]}     every 4xx body
    WWW-Authenticate: Bearer realm="https://…/token",service="…",scope="repository:a/b:pull,push"
    Range: 0-1023            bytes an upload holds (both ends inclusive)
    Content-Range: 0-1023    bytes a chunk carries (both ends inclusive, no unit)
    Link: </v2/a/b/tags/list?n=10&last=x>; rel="next"

Sources: https://github.com/opencontainers/distribution-spec spec.md; RFC 9110 (ranges, challenges);
https://distribution.github.io/distribution/spec/auth/ (tokens and scopes).
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

CONTENT_DIGEST = "Docker-Content-Digest"
UPLOAD_UUID = "Docker-Upload-UUID"
API_VERSION = "Docker-Distribution-Api-Version"
API_VERSION_2 = "registry/2.0"
SUBJECT = "OCI-Subject"
FILTERS_APPLIED = "OCI-Filters-Applied"
CHUNK_MIN_LENGTH = "OCI-Chunk-Min-Length"
TAG = "OCI-Tag"

NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
NAME_LIMIT = 255
PAGE_LIMIT = 9
"""Most digits of a page size that are looked at."""


class Code(Enum):
    """Error codes: the specification's fourteen and Docker's two further ones, with status and sentence."""

    BLOB_UNKNOWN = (404, "blob unknown to registry")
    BLOB_UPLOAD_INVALID = (400, "blob upload invalid")
    BLOB_UPLOAD_UNKNOWN = (404, "blob upload unknown to registry")
    DIGEST_INVALID = (400, "provided digest did not match uploaded content")
    MANIFEST_BLOB_UNKNOWN = (404, "manifest references a manifest or blob unknown to registry")
    MANIFEST_INVALID = (400, "manifest invalid")
    MANIFEST_UNKNOWN = (404, "manifest unknown")
    NAME_INVALID = (400, "invalid repository name")
    NAME_UNKNOWN = (404, "repository name not known to registry")
    SIZE_INVALID = (400, "provided length did not match content length")
    UNAUTHORIZED = (401, "authentication required")
    DENIED = (403, "requested access to the resource is denied")
    UNSUPPORTED = (405, "the operation is unsupported")
    TOOMANYREQUESTS = (429, "too many requests")
    RANGE_INVALID = (416, "invalid content range")
    PAGINATION_NUMBER_INVALID = (400, "invalid number of results requested")
    UNAVAILABLE = (503, "service unavailable")
    UNKNOWN = (500, "unknown error")

    @property
    def status(self) -> int:
        """HTTP status that goes with the code unless the refusal says otherwise."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """The message clients show."""
        return self.value[1]


class ErrorEntry(msgspec.Struct, omit_defaults=True):
    """One error of a response; ``code`` is kept as text because other registries send codes of their own."""

    code: str = "UNKNOWN"
    message: str = ""
    detail: Any = None


class _Errors(msgspec.Struct, omit_defaults=True):
    errors: list[ErrorEntry] = []
    message: str = ""
    details: str = ""


def decode_errors(body: bytes) -> list[ErrorEntry]:
    """Errors of a response body; an empty list when it is not such a body."""
    try:
        wire = msgspec.json.decode(body, type=_Errors)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return []
    told = wire.details or wire.message  # as Docker Hub's token service says it
    return wire.errors or ([ErrorEntry(code="UNAUTHORIZED", message=told)] if told else [])


def encode_errors(*errors: ErrorEntry) -> bytes:
    """The body of a refusal."""
    return msgspec.json.encode({"errors": errors})


# ---------------------------------------------------------------- ranges

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/(?:\d+|\*))?")
_BYTE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def parse_content_range(text: str) -> tuple[int, int] | None:
    """First and last byte of a chunk (inclusive), None when malformed."""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None or int(match[2]) < int(match[1]) - 1:
        return None
    return int(match[1]), int(match[2])


def upload_range(offset: int) -> str:
    """What an upload of ``offset`` bytes says it holds; an empty one says ``0-0``, as Docker's registry does."""
    return f"0-{max(offset - 1, 0)}"


class Unsatisfiable(ValueError):
    """The range asked for lies outside the content."""


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Start and length of the one range ``text`` asks of ``size`` bytes; None to send everything.

    Several ranges and unknown units are ignored, as RFC 9110 section 14.2 allows. Raises Unsatisfiable.
    """
    match = _BYTE_RANGE.fullmatch(text.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        start = size - length
    else:
        start = int(match[1])
        length = min(int(match[2]) + 1 if match[2] else size, size) - start
    if length <= 0:
        raise Unsatisfiable(text)
    return start, length


# ---------------------------------------------------------------- authentication


@dataclass(frozen=True)
class Challenge:
    """One challenge of a WWW-Authenticate header; the scheme is in lower case."""

    scheme: str
    parameters: dict[str, str]


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CHALLENGE_PART = re.compile(
    rf'\s*,?\s*(?:(?P<key>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<bare>{_TOKEN}))|(?P<scheme>{_TOKEN}))'
)


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """Challenges in WWW-Authenticate headers, in order; parameters nobody can read end their header."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        while match := _CHALLENGE_PART.match(header, position):
            position = match.end()
            if match["scheme"]:
                found.append(Challenge(match["scheme"].lower(), {}))
            elif found:
                quoted = match["quoted"]
                value = match["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                found[-1].parameters.setdefault(match["key"].lower(), value)
    return found


@dataclass(frozen=True)
class Scope:
    """Access to one resource: ``repository:library/busybox:pull,push``."""

    type: str
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}"


def parse_scopes(text: str) -> list[Scope]:
    """Space-separated scopes; malformed ones are left out. A name may hold colons (a host with a port)."""
    scopes = []
    for word in text.split():
        kind, _, rest = word.partition(":")
        name, colon, actions = rest.rpartition(":")
        if kind and name and colon:
            scopes.append(Scope(kind, name, frozenset(filter(None, actions.split(",")))))
    return scopes


# ---------------------------------------------------------------- paging

_LINK = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


def next_page(link: str) -> str | None:
    """Where the next page is, by a Link header."""
    match = _LINK.search(link)
    return match[1] if match else None
