"""Digests: what is refused, and the chain of diff IDs."""

import hashlib

import pytest

from sampan.errors import InvalidParameter
from sampan.oci import digest as digests
from sampan.oci.digest import DiffID

A, B = DiffID("sha256:" + "a" * 64), DiffID("sha256:" + "b" * 64)


@pytest.mark.parametrize("algorithm", digests.HEX_LENGTH)
def test_the_digest_of_bytes_parses_back(algorithm: str) -> None:
    digest = digests.of(b"sampan", algorithm)
    assert digests.parse(digest) == digest
    assert digests.encoded(digest) == hashlib.new(algorithm, b"sampan").hexdigest()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "invalid checksum digest format"),
        ("sha256", "invalid checksum digest format"),
        ("sha256:" + "A" * 64, "invalid checksum digest format"),
        ("sha256:" + "a" * 63, "invalid checksum digest length"),
        ("md5:" + "a" * 32, "unsupported digest algorithm"),
        ("sha256:../../etc/passwd", "invalid checksum digest format"),
    ],
)
def test_a_malformed_digest_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        digests.parse(text)


def test_the_chain_of_one_layer_is_its_diff_id() -> None:
    assert digests.chain_id([A]) == A


def test_a_chain_hashes_parent_and_layer() -> None:
    assert digests.chain_id([A, B]) == "sha256:" + hashlib.sha256(f"{A} {B}".encode()).hexdigest()


def test_no_layers_have_no_chain() -> None:
    assert digests.chain_id([]) is None


def test_the_empty_layer_is_the_tar_without_members() -> None:
    assert digests.of(bytes(1024)) == digests.EMPTY_LAYER
