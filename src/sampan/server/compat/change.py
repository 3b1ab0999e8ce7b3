"""How a response of the newest version becomes one that an older client knows.

A table is a tuple of changes, newest first. Each says before which version it is needed and edits the response as plain
dictionaries; a client that needs none gets the struct as it is, which costs nothing, and one that only misses members
(``Cleared``) the struct without them, which costs little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from sampan.api.versions import Version

Document = dict[str, Any]


class Change(NamedTuple):
    """For clients that speak less than ``before``, ``edit`` the response."""

    before: Version
    edit: Callable[[Document], None]


def before(minor: int, edit: Callable[[Document], None]) -> Change:
    """A change for clients that speak less than API 1.``minor``."""
    return Change(Version(1, minor), edit)


def for_client(table: Sequence[Change], value: Any, version: Version) -> Any:
    """``value`` (or every element of a list) as a client of ``version`` knows it, ready to be encoded."""
    edits = [change.edit for change in table if version < change.before]
    if plainly := [edit for edit in edits if isinstance(edit, Cleared)]:
        for struct in value if isinstance(value, list) else [value]:
            for each in plainly:
                setattr(struct, each.attribute, None)
    if len(plainly) == len(edits):
        return value
    plain = msgspec.to_builtins(value)
    for document in plain if isinstance(plain, list) else [plain]:
        for edit in edits:
            edit(document)
    return plain


@dataclass(frozen=True)
class Cleared:
    """An edit that takes away a member which its struct leaves out where it is None: done without a dictionary."""

    attribute: str

    def __call__(self, document: Document) -> None:
        """Nothing is left to do in the dictionary."""


def without(*names: str) -> Callable[[Document], None]:
    """An edit that takes members away."""

    def edit(document: Document) -> None:
        for name in names:
            document.pop(name, None)

    return edit


def with_defaults(values: Document, inside: str = "") -> Callable[[Document], None]:
    """An edit that adds members that are missing, in the object ``inside`` if named."""

    def edit(document: Document) -> None:
        target = document.get(inside) if inside else document
        if isinstance(target, dict):
            for name, value in values.items():
                target.setdefault(name, value)

    return edit
