"""The vocabulary of both ends: ranges, challenges, scopes, errors, pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.registry.protocol import (
    Challenge,
    ErrorEntry,
    Scope,
    Unsatisfiable,
    byte_range,
    decode_errors,
    encode_errors,
    next_page,
    parse_challenges,
    parse_content_range,
    parse_scopes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-9", (0, 9)), ("bytes 5-6/7", (5, 6)), ("bytes=5-6", (5, 6)), ("0--1", None), ("9-3", None), ("", None)],
)
def test_content_ranges(text: str, expected: tuple[int, int] | None) -> None:
    assert parse_content_range(text) == expected


@given(st.integers(0, 1000), st.integers(0, 1100), st.integers(0, 1100))
def test_a_byte_range_lies_within_the_content(size: int, first: int, last: int) -> None:
    try:
        found = byte_range(f"bytes={first}-{last}", size)
    except Unsatisfiable:
        assert first >= size or last < first
    else:
        assert found is not None
        start, length = found
        assert start == first
        assert 0 < length <= size - start


@given(st.text())
def test_any_text_is_a_range_or_none(text: str) -> None:
    try:
        byte_range(text, 100)
    except Unsatisfiable:
        assert text.strip().startswith("bytes=")


def test_challenges_are_parsed_with_their_parameters() -> None:
    header = 'Bearer realm="https://a/token",service="r",scope="repository:a/b:pull,push", Basic realm="with \\"x\\""'
    assert parse_challenges([header, "Negotiate"]) == [
        Challenge("bearer", {"realm": "https://a/token", "service": "r", "scope": "repository:a/b:pull,push"}),
        Challenge("basic", {"realm": 'with "x"'}),
        Challenge("negotiate", {}),
    ]


@given(st.lists(st.text()))
def test_any_header_is_survived(headers: list[str]) -> None:
    parse_challenges(headers)


def test_scopes_may_hold_a_port() -> None:
    scope = Scope("repository", "r.io:5000/a", frozenset({"pull", "push"}))
    assert parse_scopes(f"{scope} nonsense :x:") == [scope]


def test_errors_go_there_and_back() -> None:
    entries = [ErrorEntry("DENIED", "no", {"a": 1}), ErrorEntry("UNKNOWN")]
    assert decode_errors(encode_errors(*entries)) == entries


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors": 5}'])
def test_other_bodies_hold_no_errors(body: bytes) -> None:
    assert decode_errors(body) == []


def test_what_token_services_say_is_an_error_too() -> None:
    assert decode_errors(b'{"details":"incorrect username or password"}')[0].message == "incorrect username or password"


def test_the_next_page_is_found_in_a_link() -> None:
    assert next_page('</v2/_catalog?n=2&last=b>; rel="next"') == "/v2/_catalog?n=2&last=b"
    assert next_page("<x>; rel=prev") is None
