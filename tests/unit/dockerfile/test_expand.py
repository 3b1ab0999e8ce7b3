"""Variables and quotes in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.dockerfile.expand import ExpansionError, expand, expand_words

ENV = {"a": "abcabc", "p": "/foo/bar.tar.gz", "empty": "", "s": "x y"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$a-$p", "abcabc-/foo/bar.tar.gz"),
        ("${a:-x}", "abcabc"),
        ("${n:-x y}", "x y"),
        ("${n-}", ""),
        ("${empty-x}", ""),
        ("${empty:-x}", "x"),
        ("${a:+y}", "y"),
        ("${n+y}", ""),
        ("${empty:+y}", ""),
        ("${a%c*}", "abcab"),
        ("${a%%b*}", "a"),
        ("${a#*b}", "cabc"),
        ("${a##*b}", "c"),
        ("${p##*/}", "bar.tar.gz"),
        ("${p%.*}", "/foo/bar.tar"),
        ("${p%%.*}", "/foo/bar"),
        ("${p//o/0}", "/f00/bar.tar.gz"),
        ("${p/o/0}", "/f0o/bar.tar.gz"),
        ("${p//\\//_}", "_foo_bar.tar.gz"),
        ("${a/b*c/-}", "a-"),
        ("${n:-${p%.*}}", "/foo/bar.tar"),
        ("\"$a\" '$a'", "abcabc $a"),
        ("\\$a", "$a"),
        ('"\\"x\\q"', '"x\\q'),
        ("$n.", "."),
        ("a$", "a$"),
        ("$1x", "x"),
        ("${a?no}", "abcabc"),
    ],
)
def test_a_word_expands(word: str, value: str) -> None:
    assert expand(word, ENV) == value


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${n:?wanted}", 'failed to process "${n:?wanted}": n: wanted'),
        ("${n?}", 'failed to process "${n?}": n: is not allowed to be unset'),
        ("${empty:?}", 'failed to process "${empty:?}": empty: is not allowed to be empty'),
        ("${a", 'failed to process "${a": unsupported modifier () in substitution'),
        ("${a:-x", "failed to process \"${a:-x\": syntax error: missing '}'"),
        ("${}", 'failed to process "${}": syntax error: bad substitution'),
        ("${a:#x}", 'failed to process "${a:#x}": unsupported modifier (:#) in substitution'),
        ("'a", 'failed to process "\'a": unexpected end of statement while looking for matching single-quote'),
    ],
)
def test_a_bad_substitution_says_what_is_wrong(word: str, message: str) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(word, ENV)
    assert caught.value.message == message


def test_words_split_at_blanks_that_came_unquoted() -> None:
    assert expand_words("a $s \"$s\" 'b  c' d\\ e", ENV) == ["a", "x", "y", "x y", "b  c", "d e"]


def test_names_without_a_value_are_reported() -> None:
    unset: set[str] = set()
    expand("$a $missing ${other:-x}", ENV, unset=unset)
    assert unset == {"missing", "other"}


@given(st.text(alphabet="ab$${}:-+?#%/*\\'\"< \t\n", max_size=40))
def test_no_word_raises_anything_but_an_expansion_error(word: str) -> None:
    try:
        expand(word, ENV)
        expand_words(word, ENV)
    except ExpansionError as error:
        assert error.message
