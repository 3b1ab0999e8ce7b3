"""Filters in both encodings, and how they are asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.filters import Filters, format_filters, parse
from sampan.errors import InvalidParameter


def test_both_encodings_are_read() -> None:
    assert parse('{"label":["a","b=c"]}') == parse('{"label":{"a":true,"b=c":true,"d":false}}')
    assert not parse("")
    assert not parse("null")
    assert parse('{"a":null}').get("a") == []


@given(st.dictionaries(st.text(), st.lists(st.text(), unique=True)))
def test_what_a_client_writes_is_read_back(terms: dict[str, list[str]]) -> None:
    assert parse(format_filters(terms)).terms == terms


@pytest.mark.parametrize("text", ["{", "[]", '{"a":1}', '{"a":[1]}', '{"a":{"b":1}}', '"x"'])
def test_other_values_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid filter"):
        parse(text)


def test_an_unknown_term_is_refused_by_name() -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'colour'$"):
        Filters({"label": [], "colour": ["red"]}).validate(("label",))


def test_flags() -> None:
    assert Filters({"dangling": ["1"]}).flag("dangling") is True
    assert Filters({"dangling": ["FALSE"]}).flag("dangling", True) is False
    assert Filters().flag("dangling", True) is True
    for values in (["maybe"], ["1", "0"]):
        with pytest.raises(InvalidParameter, match="invalid filter 'dangling="):
            Filters({"dangling": values}).flag("dangling")


def test_labels_by_key_and_by_value() -> None:
    labels = {"a": "1", "b": ""}
    assert Filters({"label": ["a", "b="]}).labels(labels)
    assert not Filters({"label": ["a=2"]}).labels(labels)
    assert not Filters({"label": ["c"]}).labels(None)
    assert not Filters({"label!": ["a=1"]}).labels(labels)
    assert Filters({"label!": ["a=2"]}).labels(labels)


def test_of_several_unwanted_labels_a_container_needs_all_to_be_left_out_and_an_image_one() -> None:
    both = Filters({"label!": ["a", "b=2"]})
    assert both.labels({"a": "1"})
    assert both.labels({"a": "1", "b": "1"})
    assert not both.labels({"a": "1", "b": "2"})
    assert not both.labels_and_none_of({"a": "1"})
    assert both.labels_and_none_of({"b": "1"})


def test_terms_that_were_not_given_let_everything_through() -> None:
    assert Filters().exact("status", "x")
    assert Filters().pattern("name", "x")
    assert Filters({"status": ["a", "b"]}).exact("status", "b")
    assert Filters({"name": ["^we"]}).pattern("name", "/web", "web")
    assert not Filters({"name": ["^eb"]}).pattern("name", "web")
    assert Filters({"name": ["["]}).pattern("name", "[")
    assert Filters({"reference": ["busy*:1.?"]}).glob("reference", "busybox:1.2")
