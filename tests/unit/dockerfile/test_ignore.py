"""``.dockerignore`` and Go's patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.dockerfile.ignore import Ignore, read_patterns
from sampan.dockerfile.match import BadPattern, compile_pattern


@pytest.mark.parametrize(
    ("patterns", "path", "excluded"),
    [
        (["*.md"], "a.md", True),
        (["*.md"], "d/a.md", False),
        (["**/*.md"], "d/e/a.md", True),
        (["**/*.md"], "a.md", True),
        (["d"], "d/e/f", True),
        (["d/**"], "d/e", True),
        (["d/**"], "d", False),
        (["*", "!keep"], "keep", False),
        (["*", "!keep"], "keep/inside", False),
        (["!a", "a"], "a", True),
        (["d", "!d/keep"], "d/keep", False),
        (["a?c"], "abc", True),
        (["a?c"], "a/c", False),
        (["[a-c]x"], "bx", True),
        (["[^a-c]x"], "bx", False),
        (["a/*/c"], "a/b/c", True),
        (["/lead"], "lead", True),
        ([r"a\*b"], "a*b", True),
        ([r"a\*b"], "axb", False),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: list[str], path: str, excluded: bool) -> None:
    assert Ignore(patterns).excludes(path) is excluded


def test_a_file_of_patterns_is_cleaned() -> None:
    text = "\ufeff# comment\n\n  ./a/ \n/b/../c\n! d \n"
    assert read_patterns(text) == ["a", "c", "!d"]


@pytest.mark.parametrize("pattern", ["[", "[a", "a\\", "[]a]", "[a-]"])
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)


@given(st.text(alphabet="a*?[]^-\\/!", max_size=20), st.text(alphabet="ab/", max_size=12))
def test_any_pattern_compiles_or_is_refused(pattern: str, path: str) -> None:
    try:
        Ignore([pattern]).excludes(path)
    except BadPattern:
        assert pattern
