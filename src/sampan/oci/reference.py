"""References: what users type for an image, parsed and made canonical.

    [domain[:port]/]path[:tag][@digest]

    typed               canonical                               familiar
    busybox             docker.io/library/busybox               busybox
    me/app:1            docker.io/me/app:1                      me/app:1
    r.io:5000/a/b@sha…  r.io:5000/a/b@sha…                      the same

Grammar and sentences: https://github.com/distribution/reference (reference.go, normalize.go).
"""

import re
from dataclasses import dataclass, replace
from typing import Self

from sampan.errors import InvalidParameter
from sampan.oci import digest as digests
from sampan.oci.digest import Digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_NAME_LIMIT = 255

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])"
_DOMAIN = rf"{_HOST}(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE = re.compile(rf"({_DOMAIN})/({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?")
_TAG_ONLY = re.compile(_TAG)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A canonical reference; at most one tag and one digest, possibly neither."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what a user typed; raises InvalidParameter with Docker's sentence."""
        if _IDENTIFIER.fullmatch(text):
            raise InvalidParameter(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        domain, remainder = _split_domain(text)
        remote = remainder.partition(":")[0]
        if remote.lower() != remote:
            raise InvalidParameter(f"invalid reference format: repository name ({remote}) must be lowercase")
        match = _REFERENCE.fullmatch(f"{domain}/{remainder}")
        if match is None:
            raise InvalidParameter("invalid reference format")
        return cls._checked(match)

    @classmethod
    def _checked(cls, match: "re.Match[str]") -> Self:
        domain, path, tag, digest = match.groups()
        if len(path) > _NAME_LIMIT:
            raise InvalidParameter(f"repository name must not be more than {_NAME_LIMIT} characters")
        return cls(domain, path, tag, digests.parse(digest) if digest else None)

    @property
    def name(self) -> str:
        """Domain and path: ``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The name as users write it: ``busybox``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        bare = self.path.removeprefix(_OFFICIAL)
        return bare if "/" not in bare else self.path

    @property
    def familiar(self) -> str:
        """The whole reference as users write it: ``busybox:1.36``."""
        return self.familiar_name + self._suffix

    @property
    def is_name_only(self) -> bool:
        return self.tag is None and self.digest is None

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix

    def tagged(self) -> Self:
        """With the tag ``latest`` where neither tag nor digest is given."""
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def with_tag(self, tag: str) -> Self:
        """The same repository with ``tag`` and no digest; raises InvalidParameter for a malformed tag."""
        if not _TAG_ONLY.fullmatch(tag):
            raise InvalidParameter("invalid tag format")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Self:
        """The same repository by ``digest``, no tag."""
        return replace(self, tag=None, digest=digest)


def new_name(repository: str, tag: str) -> Reference | None:
    """The name for a new image: ``tag`` beats one in ``repository``, ``latest`` goes without saying; None for none.

    Raises InvalidParameter, for a digest too: that is what nobody can promise.
    """
    if not repository:
        return None
    reference = Reference.parse(repository)
    if reference.digest is not None:
        raise InvalidParameter("cannot import digest reference")
    return reference.with_tag(tag) if tag else reference.tagged()


def parse_repository(text: str) -> Reference:
    """A bare repository name; a tag or digest in it is refused."""
    reference = Reference.parse(text)
    if not reference.is_name_only:
        raise InvalidParameter(f"repository name must be canonical: {text}")
    return reference


def _split_domain(text: str) -> tuple[str, str]:
    """Domain and remainder, with Docker Hub's defaults filled in."""
    first, slash, rest = text.partition("/")
    has_domain = slash and (any(mark in first for mark in ".:") or first == "localhost" or first.lower() != first)
    domain, remainder = (first, rest) if has_domain else (DEFAULT_DOMAIN, text)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder
