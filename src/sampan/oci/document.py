"""JSON documents named by their digest: the bytes are kept beside what they say.

A manifest, an index or an image config is identified by the digest of its bytes; decoding and encoding again would
lose that name. ``Document`` therefore never changes: a new one is made by ``Document.encode``.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec

from sampan.errors import InvalidParameter
from sampan.oci import digest as digests
from sampan.oci.digest import Digest

T = TypeVar("T")

SIZE_LIMIT = 8 << 20
"""Largest document read into memory, in bytes (registries refuse manifests above 4 MiB)."""


@dataclass(frozen=True)
class Document(Generic[T]):
    """``raw`` bytes and the ``value`` they decode to."""

    raw: bytes
    value: T

    @cached_property
    def digest(self) -> Digest:
        return digests.of(self.raw)

    @property
    def size(self) -> int:
        return len(self.raw)

    @classmethod
    def decode(cls, raw: bytes, kind: type[T], what: str) -> "Document[T]":
        """Decode ``raw`` as ``kind``; ``what`` names the document in the InvalidParameter raised if it is malformed.

        As in Go's JSON, a null stands for an absent field.
        """
        if len(raw) > SIZE_LIMIT:
            raise InvalidParameter(f"invalid {what}: larger than {SIZE_LIMIT} bytes")
        try:
            value = msgspec.convert(without_nulls(msgspec.json.decode(raw)), kind)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise InvalidParameter(f"invalid {what}: {error}") from error
        return cls(raw, value)

    @classmethod
    def encode(cls, value: T) -> "Document[T]":
        """A new document that says ``value``."""
        return cls(msgspec.json.encode(value), value)


def without_nulls(value: Any) -> Any:
    """``value`` with null members of objects removed, at every depth."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value
