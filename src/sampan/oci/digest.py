"""Digests: the names of content, in three types that must not be mixed.

    Digest    hash of bytes as they are stored or sent        ``sha256:`` + 64 hex digits
    DiffID    hash of a layer's *uncompressed* tar
    ChainID   hash of a stack of diff IDs, lowest layer first

All three are plain strings at run time (they travel in JSON as they are) and distinct types to the checker.
Source: https://github.com/opencontainers/image-spec descriptor.md#digests, config.md#layer-chainid.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NewType

from sampan.errors import InvalidParameter

if TYPE_CHECKING:
    from hashlib import _Hash

Digest = NewType("Digest", str)
DiffID = NewType("DiffID", str)
ChainID = NewType("ChainID", str)
AnyDigest = Digest | DiffID | ChainID

HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
"""Algorithms understood, with the number of hex digits of each."""

_DIGEST = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)")
_HEX = re.compile(r"[0-9a-f]+")


def parse(text: str) -> Digest:
    """``text`` as a digest; raises InvalidParameter with the sentences of go-digest."""
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise InvalidParameter("invalid checksum digest format")
    algorithm, encoded = match.groups()
    if algorithm not in HEX_LENGTH:
        raise InvalidParameter("unsupported digest algorithm")
    if len(encoded) != HEX_LENGTH[algorithm]:
        raise InvalidParameter("invalid checksum digest length")
    if not _HEX.fullmatch(encoded):
        raise InvalidParameter("invalid checksum digest format")
    return Digest(text)


def of(data: bytes, algorithm: str = "sha256") -> Digest:
    """The digest of ``data``."""
    return of_hash(hashlib.new(algorithm, data))


def of_hash(state: "_Hash") -> Digest:
    """The digest a hashlib object has come to."""
    return Digest(f"{state.name}:{state.hexdigest()}")


def algorithm(digest: AnyDigest) -> str:
    """``sha256`` of ``sha256:1234…``."""
    return digest.partition(":")[0]


def encoded(digest: AnyDigest) -> str:
    """The hex digits."""
    return digest.partition(":")[2]


def short(digest: AnyDigest) -> str:
    """The first 12 hex digits, as users see them."""
    return encoded(digest)[:12]


def hasher(digest: AnyDigest) -> "_Hash":
    """A fresh hashlib object of the digest's algorithm."""
    return hashlib.new(algorithm(digest))


def chain_id(diff_ids: Sequence[DiffID]) -> ChainID | None:
    """The chain ID of a stack, None for the empty one."""
    chain: ChainID | None = None
    for diff_id in diff_ids:
        chain = extend(chain, diff_id)
    return chain


def extend(parent: ChainID | None, diff_id: DiffID) -> ChainID:
    """The chain ID of ``diff_id`` on top of ``parent``."""
    return ChainID(diff_id) if parent is None else ChainID(of(f"{parent} {diff_id}".encode()))


EMPTY_LAYER = DiffID("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")
"""Diff ID of a tar of 1024 zero bytes: the layer Docker leaves out of the root file system."""
