"""“(did you mean RUN?)”: the nearest of the known names, if it is at most two edits away."""

from collections.abc import Iterable

NEAREST = 2


def distance(a: str, b: str) -> int:
    """Levenshtein distance: insertions, deletions and substitutions from ``a`` to ``b``."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


def nearest(word: str, known: Iterable[str], *, case_sensitive: bool = True) -> str:
    """The known name closest to ``word``, in ``word``'s case; empty if none is near or one is equal.

    Of two equally near, the one with the same letters wins (RNU is RUN rather than ENV).
    """
    wanted = word if case_sensitive else word.lower()
    names = [name if case_sensitive else name.lower() for name in known]
    if wanted in names:
        return ""
    near = [name for name in names if abs(len(name) - len(wanted)) <= NEAREST and distance(wanted, name) <= NEAREST]
    best = min(near, key=lambda name: (distance(wanted, name), sorted(name) != sorted(wanted)), default="")
    return best.upper() if not case_sensitive and word.isupper() else best


def suggestion(word: str, known: Iterable[str], *, case_sensitive: bool = True) -> str:
    """`` (did you mean X?)`` or nothing."""
    match = nearest(word, known, case_sensitive=case_sensitive)
    return f" (did you mean {match}?)" if match else ""
