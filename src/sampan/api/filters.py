"""Filters: the ``filters`` query parameter of list and prune operations.

Two encodings are on the wire, both JSON: ``{"label": ["a", "b=c"]}`` and the older ``{"label": {"a": true}}``.
Inside, a ``Filters`` is a mapping of term to values; each operation checks it against the terms that it knows.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from sampan.errors import InvalidParameter

TRUE, FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})


class Filters(msgspec.Struct, frozen=True):
    """Terms with the values given for each, in the order given."""

    terms: dict[str, list[str]] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __contains__(self, term: object) -> bool:
        return bool(self.terms.get(str(term)))

    def get(self, term: str) -> list[str]:
        """The values given for ``term``; none is an empty list."""
        return self.terms.get(term, [])

    def validate(self, accepted: Iterable[str]) -> None:
        """Raises InvalidParameter for the first term that is not among ``accepted``."""
        known = frozenset(accepted)
        for term in self.terms:
            if term not in known:
                raise InvalidParameter(f"invalid filter '{term}'")

    def flag(self, term: str, default: bool = False) -> bool:
        """The boolean given for ``term``, ``default`` when there is none; raises InvalidParameter."""
        values = {value.lower() for value in self.get(term)}
        if not values:
            return default
        if values <= TRUE:
            return True
        if values <= FALSE:
            return False
        raise InvalidParameter(f"invalid filter '{term}=[{' '.join(self.get(term))}]'")

    def exact(self, term: str, value: str) -> bool:
        """Whether ``term`` was not asked for or ``value`` is one of its values."""
        return term not in self or value in self.get(term)

    def any_of(self, term: str, matches: Callable[[str], bool]) -> bool:
        """Whether ``term`` was not asked for or ``matches`` accepts one of its values."""
        return term not in self or any(matches(value) for value in self.get(term))

    def pattern(self, term: str, *values: str) -> bool:
        """Whether ``term`` was not asked for, or one of ``values`` matches one of its regular expressions."""
        return self.any_of(term, lambda pattern: any(_search(pattern, value) for value in values))

    def glob(self, term: str, *values: str) -> bool:
        """Whether ``term`` was not asked for, or one of ``values`` matches one of its shell patterns."""
        return self.any_of(term, lambda pattern: any(fnmatch.fnmatchcase(value, pattern) for value in values))

    def labels(self, labels: Mapping[str, str] | None) -> bool:
        """Whether ``labels`` has every ``label`` asked for, and not all of ``label!`` (``key`` or ``key=value``)."""
        have, unwanted = labels or {}, self.get("label!")
        return self._has_every_label(have) and not (unwanted and all(_has_label(have, one) for one in unwanted))

    def labels_and_none_of(self, labels: Mapping[str, str] | None) -> bool:
        """The same for images, of which each ``label!`` excludes by itself."""
        have = labels or {}
        return self._has_every_label(have) and not any(_has_label(have, one) for one in self.get("label!"))

    def _has_every_label(self, have: Mapping[str, str]) -> bool:
        return all(_has_label(have, wanted) for wanted in self.get("label"))


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)


def _search(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return pattern == value


def parse(text: str) -> Filters:
    """The value of a ``filters`` parameter; empty is no filter. Raises InvalidParameter."""
    if not text:
        return Filters()
    try:
        return Filters(_terms(msgspec.json.decode(text)))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidParameter("invalid filter") from error


def _terms(decoded: Any) -> dict[str, list[str]]:
    if decoded is None:
        return {}
    if not isinstance(decoded, dict):
        raise InvalidParameter("invalid filter")
    return {term: _values(values) for term, values in decoded.items()}


def _values(values: Any) -> list[str]:
    if isinstance(values, dict) and all(isinstance(chosen, bool) for chosen in values.values()):
        return [value for value, chosen in values.items() if chosen]
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        return list(dict.fromkeys(values))
    if values is None:
        return []
    raise InvalidParameter("invalid filter")


def format_filters(terms: Mapping[str, Iterable[str]]) -> str:
    """``terms`` as the value of a ``filters`` parameter: what a client sends."""
    return msgspec.json.encode({term: list(values) for term, values in terms.items()}).decode()
