"""The end of a request is found wherever the pieces are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.server.connection import HEAD_LIMIT, MAY_TAKE_OVER, Splitter

HEAD = b"POST /exec/1/start HTTP/1.1\r\nHost: d\r\n"


def feed(data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """What comes out for HTTP and what is kept back, ``data`` being cut at ``cuts``."""
    splitter, request, late = Splitter(), b"", b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        if splitter.complete:
            late += data[start:end]
        else:
            request += splitter.feed(data[start:end])
    return request, splitter.early + late


@given(st.binary(max_size=50), st.binary(max_size=50), st.lists(st.integers(0, 300)))
def test_a_body_of_known_length(body: bytes, rest: bytes, cuts: list[int]) -> None:
    request = HEAD + b"content-LENGTH: %d\r\n\r\n" % len(body) + body
    assert feed(request + rest, cuts) == (request, rest)


@given(st.binary(max_size=50), st.lists(st.integers(0, 300)))
def test_no_body(rest: bytes, cuts: list[int]) -> None:
    assert feed(HEAD + b"\r\n" + rest, cuts) == (HEAD + b"\r\n", rest)


@given(
    st.lists(st.text("abc{}", min_size=1, max_size=9), max_size=3),
    st.binary(max_size=20),
    st.lists(st.integers(0, 300)),
)
def test_a_chunked_body(chunks: list[str], rest: bytes, cuts: list[int]) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk.encode()) for chunk in chunks) + b"0\r\n\r\n"
    request = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body
    assert feed(request + rest, cuts) == (request, rest)


def test_a_head_that_never_ends_is_given_up() -> None:
    splitter = Splitter()
    assert splitter.feed(b"x" * HEAD_LIMIT) == b""
    assert len(splitter.feed(b"x")) == HEAD_LIMIT + 1
    assert splitter.given_up


@pytest.mark.parametrize("length", [b"999999", b"9" * 5000])
def test_a_body_that_is_too_long_to_wait_for_is_given_on_at_once(length: bytes) -> None:
    splitter, request = Splitter(), HEAD + b"Content-Length: " + length + b"\r\n\r\ny"
    assert splitter.feed(request) == request
    assert splitter.given_up
    assert not splitter.complete


def test_chunks_without_an_end_are_given_on() -> None:
    splitter, head = Splitter(), HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert splitter.feed(head) == b""
    assert splitter.feed(b"y" * HEAD_LIMIT) == head + b"y" * HEAD_LIMIT
    assert splitter.given_up


def test_only_operations_that_take_the_connection_are_split() -> None:
    taking = (b"/containers/a/attach?x", b"/v1.41/exec/b/start ", b"/session ", b"/v1.55/grpc ")
    others = (b"/containers/a/attach/ws ", b"/containers/create ", b"/images/exec/1/start ", b"/exec/1/resize ")
    assert all(MAY_TAKE_OVER.match(b"POST " + path) for path in taking)
    assert not any(MAY_TAKE_OVER.match(b"POST " + path) for path in others)
