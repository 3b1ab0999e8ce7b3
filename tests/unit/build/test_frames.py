"""Small DATA frames are joined and every byte of every stream stays where it was; messages come all at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.build.buildkit.frames import FRAME_LIMIT, Joiner, joined, split_messages
from sampan.errors import EngineError

DATA, HEADERS, END_STREAM, PADDED = 0, 1, 0x1, 0x8


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def test_neighbours_of_one_stream_become_one_frame() -> None:
    told, rest = joined(frame(DATA, 0, 1, b"a") + frame(DATA, 0, 1, b"bc") + frame(DATA, 0, 3, b"d"))
    assert frames(told) == [(DATA, 0, 1, b"abc"), (DATA, 0, 3, b"d")]
    assert rest == b""


def test_what_ends_a_stream_is_padded_or_is_no_data_stays_as_it_is() -> None:
    sent = [
        (DATA, 0, 1, b"a"),
        (DATA, PADDED, 1, b"\1b\0"),
        (HEADERS, 0, 1, b"h"),
        (DATA, 0, 1, b"c"),
        (DATA, END_STREAM, 1, b"d"),
    ]
    told, _ = joined(b"".join(frame(*one) for one in sent))
    assert frames(told) == sent


def test_no_frame_grows_longer_than_h2_takes() -> None:
    half = bytes(FRAME_LIMIT // 2 + 1)
    told, _ = joined(frame(DATA, 0, 1, half) * 2)
    assert [len(payload) for *_, payload in frames(told)] == [len(half)] * 2


def test_a_frame_longer_than_it_may_be_is_not_waited_for() -> None:
    head = frame(DATA, 0, 1, bytes(FRAME_LIMIT + 1))[:20]
    assert joined(head) == (head, b"")


@given(
    st.lists(
        st.tuples(st.sampled_from([DATA, HEADERS]), st.sampled_from([0, 1]), st.integers(1, 3), st.binary(max_size=40))
    ),
    st.lists(st.integers(1, 30)),
)
def test_however_it_is_cut_every_stream_has_its_bytes(sent: list[tuple[int, int, int, bytes]], cuts: list[int]) -> None:
    data, told = b"".join(frame(*one) for one in sent), bytearray()
    joiner = Joiner(told.extend)
    for cut in cuts:
        joiner.data_received(data[:cut])
        data = data[cut:]
    joiner.data_received(data)
    got = frames(bytes(told))
    for stream in (1, 2, 3):
        assert b"".join(payload for _, _, of, payload in got if of == stream) == b"".join(
            payload for _, _, of, payload in sent if of == stream
        )
    others = [one for one in sent if one[:2] != (DATA, 0)]
    assert [one for one in got if one[:2] != (DATA, 0)] == others


def test_messages_come_whole() -> None:
    first, second = b"\0\0\0\0\2hi", b"\0\0\0\0\0"
    assert split_messages(first + second + first[:4]) == ([b"hi", b""], first[:4])


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(EngineError, match="compressed"):
        split_messages(b"\1\0\0\0\1x")
