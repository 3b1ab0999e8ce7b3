"""The functions of a tag's template: Go's own, and those that Docker adds; and how values are shown."""

import html
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

import msgspec

VERB = re.compile(r"%([-+# 0]*\d*(?:\.\d+)?)([a-zA-Z%])")


def shown(value: Any) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{shown(value[key])}' for key in sorted(value))}]"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(map(shown, value))}]"
    return str(value)


def formatted(form: str, *values: Any) -> str:
    """``printf``: the verbs s, v, d, x, f, q, t with flags, width and precision."""
    left = list(values)

    def one(found: re.Match[str]) -> str:
        flags, verb = found.groups()
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        value = left.pop(0)
        if verb == "q":
            return msgspec.json.encode(shown(value)).decode()
        return f"%{flags}{verb}" % value if verb in "dxXf" else f"%{flags}s" % shown(value)

    return VERB.sub(one, form)


def printed(*values: Any) -> str:
    """``print``: spaces only between operands of which neither is text."""
    text = ""
    for number, value in enumerate(values):
        apart = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        text += (" " if apart else "") + shown(value)
    return text


def indexed(value: Any, *keys: Any) -> Any:
    """``index``: elements of lists and maps; text for a key that a map of texts has not."""
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else value[key]
    return value


def either(first: Any, *others: Any) -> Any:
    """``or``: the first value that is not empty, else the last."""
    return next((value for value in (first, *others) if value), (first, *others)[-1])


def both(first: Any, *others: Any) -> Any:
    """``and``: the first value that is empty, else the last."""
    return next((value for value in (first, *others) if not value), (first, *others)[-1])


def sliced(value: Any, *bounds: int) -> Any:
    """``slice``: like value[i:j], within bounds."""
    start, stop = (*bounds, 0)[0], bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= start <= stop <= len(value):
        raise LookupError(f"index out of range: {stop}")
    return value[start:stop]


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "json": lambda value: msgspec.json.encode(value, order="deterministic").decode(),
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "join": lambda parts, separator: separator.join(parts),
    "title": lambda text: re.sub(r"(?<![\w'])\w", lambda found: found[0].upper(), text),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": lambda text, before, after: text and " " * before + text + " " * after,
    "truncate": lambda text, length: text[:length],
    "print": printed,
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "printf": formatted,
    "len": len,
    "index": indexed,
    "slice": sliced,
    "not": operator.not_,
    "and": both,
    "or": either,
    "eq": lambda value, *others: value in others,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "html": lambda *values: html.escape(printed(*values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "urlquery": lambda *values: quote_plus(printed(*values)),
}
