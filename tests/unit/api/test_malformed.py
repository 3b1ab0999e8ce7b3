"""What is wrong with JSON, in Go's words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.malformed import explain


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{bad", "invalid character 'b' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        ("[1,", "unexpected EOF"),
        ('"open', "unexpected EOF"),
        ("nul", "unexpected EOF"),
        ("nuts", "invalid character 't' in literal null (expecting 'l')"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e", "unexpected EOF"),
        ('"\\x"', "invalid character 'x' in string escape code"),
        ('"\\u12g4"', r"invalid character 'g' in \u hexadecimal character escape"),
        ('"a\nb"', r"invalid character '\n' in string literal"),
        ("1 2", "invalid character '2' after top-level value"),
        ("01", "invalid character '1' after top-level value"),
    ],
)
def test_the_place_where_json_ends_is_told(text: str, told: str) -> None:
    assert explain(text.encode()) == told


@given(st.binary(max_size=60))
def test_anything_is_explained(data: bytes) -> None:
    assert explain(data)


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_json_itself_is_read_to_its_end(value: object) -> None:
    assert explain(json.dumps(value).encode() + b" !") == "invalid character '!' after top-level value"
