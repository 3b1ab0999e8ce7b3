"""What goes wrong on the way to a registry, in the sentences docker users know.

    401, 403 on a repository   pull access denied for x, repository does not exist or may require 'docker login': …
    NAME_UNKNOWN               repository x not found: name unknown: …
    404 on a manifest          manifest for x:tag not found: manifest unknown: manifest unknown
    plain HTTP behind https    http: server gave HTTP response to HTTPS client

Source: moby daemon/containerd and distribution/errors.go for the wording.
"""

import os
from collections.abc import Sequence

import aiohttp

from sampan.errors import EngineError, Forbidden, InvalidParameter, NotFound, Unauthorized, Unavailable, Unreachable
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.registry.protocol import Code, ErrorEntry


class RegistryFailure(EngineError):
    """A registry answered with an error; ``status`` and ``errors`` are what it said."""

    def __init__(self, status: int, errors: Sequence[ErrorEntry], url: str) -> None:
        super().__init__(_sentence(status, errors, url))
        self.status = status
        self.errors = errors
        self.url = url

    @property
    def codes(self) -> set[str]:
        """Codes of the errors, as sent."""
        return {error.code for error in self.errors}


def _sentence(status: int, errors: Sequence[ErrorEntry], url: str) -> str:
    """``unauthorized: authentication required``, or what little is known."""
    if errors:
        return "\n".join(": ".join(filter(None, (_words(error.code), error.message))) for error in errors)
    if status in _BODILESS:
        code = _BODILESS[status]
        return f"{_words(code.name)}: {code.sentence}"
    return f"received unexpected HTTP status: {status} from {url}"


# Answers to HEAD have no body: their status alone speaks.
_BODILESS = {code.status: code for code in (Code.UNAUTHORIZED, Code.DENIED, Code.TOOMANYREQUESTS)}


def _words(code: str) -> str:
    return code.lower().replace("_", " ")


class NotReached(Unreachable):
    """No connection could be made at all: refused, no such host, not trusted. Trying again at once is no use."""


class NoPlatform(NotFound):
    """The index has no image for the platform."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(f"no matching manifest for {platform} in the manifest list entries")


class NoCredentials(Unauthorized):
    """The registry wants credentials and there are none."""

    def __init__(self) -> None:
        super().__init__("no basic auth credentials")


def pull_failure(failure: RegistryFailure, reference: Reference) -> EngineError:
    """What a user reads when the registry refuses a pull."""
    name = reference.familiar_name
    if failure.status in (401, 403) or failure.codes & {"UNAUTHORIZED", "DENIED"}:
        return NotFound(
            f"pull access denied for {name}, repository does not exist or may require 'docker login': {failure}"
        )
    if "NAME_UNKNOWN" in failure.codes:
        return NotFound(f"repository {name} not found: {failure}")
    if failure.status == 404:
        detail = str(failure) if failure.errors else "manifest unknown: manifest unknown"
        return NotFound(f"manifest for {reference.familiar} not found: {detail}")
    return general_failure(failure)


def general_failure(failure: RegistryFailure) -> EngineError:
    """What a user reads for any other refusal; the class is chosen by the status."""
    kinds: dict[int, type[EngineError]] = {
        400: InvalidParameter,
        401: Unauthorized,
        403: Forbidden,
        404: NotFound,
        429: Unavailable,
        502: Unavailable,
        503: Unavailable,
        504: Unavailable,
    }
    if failure.status == 429:
        return Unavailable(f"toomanyrequests: {failure.errors[0].message if failure.errors else 'too many requests'}")
    return kinds.get(failure.status, EngineError)(failure.message)


def told(method: str, url: str, error: BaseException) -> str:
    """The sentence of Go's HTTP client, which docker users know."""
    return f'{method.capitalize()} "{url}": {_reason(error)}'


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorSSLError) and _spoke_http(error.os_error):
        return "http: server gave HTTP response to HTTPS client"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {error.host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        cause = os.strerror(number).lower() if number else str(error.os_error)
        return f"dial tcp {error.host}:{error.port}: connect: {cause}"
    if isinstance(error, TimeoutError):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    return str(error) or "EOF"


def _spoke_http(error: OSError) -> bool:
    """OpenSSL says one of these when the answer to its hello is text."""
    reason = getattr(error, "reason", "") or ""
    return reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
