"""The netlink codec, without a kernel."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.linux import nftables, rtnetlink

PAIRS = st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8)


@given(PAIRS)
def test_attributes_survive_the_wire(pairs: list[tuple[int, bytes]]) -> None:
    packed = b"".join(rtnetlink.attribute(kind, payload) for kind, payload in pairs)
    assert len(packed) % 4 == 0
    assert list(rtnetlink.attributes(packed)) == pairs


@given(st.binary(max_size=200))
def test_any_bytes_are_some_attributes(data: bytes) -> None:
    list(rtnetlink.attributes(data))


def test_the_flag_of_nested_attributes_is_not_part_of_their_kind() -> None:
    packed = rtnetlink.nested(18, rtnetlink.text(1, "veth"))
    assert list(rtnetlink.attributes(packed)) == [(18, rtnetlink.text(1, "veth"))]


def test_an_error_carries_call_object_and_the_kernels_words() -> None:
    request = rtnetlink.message(16, 0, 1, b"")
    said = rtnetlink.text(rtnetlink.NLMSGERR_ATTR_MSG, "Unknown device type")
    payload = struct.pack("=i", -errno.EOPNOTSUPP) + request + said
    with pytest.raises(OSError, match=r"link_add: Operation not supported \(Unknown device type\): 'x'") as caught:
        rtnetlink.raise_error("link_add", "x", rtnetlink.NLM_F_ACK_TLVS, payload)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_an_acknowledgement_is_no_error() -> None:
    rtnetlink.raise_error("link_add", "x", 0, struct.pack("=i", 0))


def test_concatenated_keys_are_padded_field_by_field() -> None:
    assert nftables.key(b"\x06", b"\x00\x50") == b"\x06\0\0\0\x00\x50\0\0"
    assert nftables.key(b"\x06") == b"\x06"
