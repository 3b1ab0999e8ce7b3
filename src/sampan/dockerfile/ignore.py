"""``.dockerignore``: which files of a build context are left out.

A line is a pattern, ``!pattern`` takes paths back in, ``#`` starts a comment. The last pattern that matches a path,
or a directory above it, decides. Leading slashes and ``./`` mean nothing.
"""

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.dockerfile.match import BadPattern, compile_pattern


def read_patterns(text: str) -> list[str]:
    """The patterns of a ``.dockerignore`` file, cleaned."""
    patterns = []
    for line in text.removeprefix("\ufeff").splitlines():
        pattern = line.strip()
        if line.startswith("#") or not pattern:
            continue
        negated = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip()
        if pattern:
            pattern = posixpath.normpath(pattern)
            pattern = pattern.lstrip("/") if len(pattern) > 1 else pattern
        patterns.append("!" + pattern if negated else pattern)
    return patterns


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern; ``excludes`` is false for an exception."""

    expression: re.Pattern[str]
    excludes: bool


class Ignore:
    """A set of patterns. Raises ``BadPattern`` for one that is malformed."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.rules: Sequence[Rule] = tuple(_rule(pattern) for pattern in patterns if pattern.strip())

    def __bool__(self) -> bool:
        return bool(self.rules)

    def excludes(self, path: str) -> bool:
        """Whether ``path`` (relative, slashes) is left out."""
        above = list(_prefixes(path))
        verdict = False
        for rule in self.rules:
            if rule.excludes != verdict and any(rule.expression.fullmatch(prefix) for prefix in above):
                verdict = rule.excludes
        return verdict


def _rule(pattern: str) -> Rule:
    negated = pattern.startswith("!")
    body = posixpath.normpath(pattern.removeprefix("!").strip() or ".").lstrip("/")
    if negated and body == ".":
        raise BadPattern(pattern)
    return Rule(compile_pattern(body, deep=True), not negated)


def _prefixes(path: str) -> Iterable[str]:
    """``a``, ``a/b``, ``a/b/c`` of ``a/b/c``."""
    parts = [part for part in path.split("/") if part]
    return ("/".join(parts[: depth + 1]) for depth in range(len(parts)))
