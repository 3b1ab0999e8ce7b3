"""What is wrong with a text that is not JSON, in the words of Go's ``encoding/json``, which clients know.

    {bad        invalid character 'b' looking for beginning of object key string
    {"a" 1}     invalid character '1' after object key
    [1,         unexpected EOF

Only for texts that a decoder has refused already; nothing here is fast.
"""

import re

SPACE = re.compile(r"[ \t\r\n]*")
LITERALS = {"t": "true", "f": "false", "n": "null"}
HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
END = "unexpected EOF"


class Malformed(Exception):
    """Found: where the text stops being JSON."""


def explain(data: bytes) -> str:
    """Why ``data`` is not one JSON value."""
    text = data.decode("utf-8", "replace")
    try:
        at = _value(text, _skip(text, 0))
    except Malformed as found:
        return str(found)
    except RecursionError:
        return "exceeded max depth"
    rest = _skip(text, at)
    return _unexpected(text, rest, "after top-level value") if rest < len(text) else "invalid UTF-8"


def _unexpected(text: str, at: int, place: str) -> str:
    if at >= len(text):
        return END
    shown = {"'": r"'\''", '"': "'\"'"}.get(text[at]) or repr(text[at])
    return f"invalid character {shown} {place}"


def _skip(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, accepted: str, place: str) -> None:
    if at >= len(text) or text[at] not in accepted:
        raise Malformed(_unexpected(text, at, place))


def _value(text: str, at: int) -> int:
    """Where the value that begins at ``at`` ends."""
    _expect(text, at, '{["-0123456789tfn', "looking for beginning of value")
    first = text[at]
    if first == "{":
        return _object(text, at)
    if first == "[":
        return _array(text, at)
    if first == '"':
        return _string(text, at)
    if first in LITERALS:
        return _literal(text, at, LITERALS[first])
    return _number(text, at)


def _object(text: str, at: int) -> int:
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        _expect(text, at, '"', "looking for beginning of object key string")
        at = _skip(text, _string(text, at))
        _expect(text, at, ":", "after object key")
        at = _skip(text, _value(text, _skip(text, at + 1)))
        _expect(text, at, ",}", "after object key:value pair")
        if text[at] == "}":
            return at + 1
        at = _skip(text, at + 1)


def _array(text: str, at: int) -> int:
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        at = _skip(text, _value(text, at))
        _expect(text, at, ",]", "after array element")
        if text[at] == "]":
            return at + 1
        at = _skip(text, at + 1)


def _string(text: str, at: int) -> int:
    at += 1
    while at < len(text):
        if text[at] == '"':
            return at + 1
        if text[at] < " ":
            raise Malformed(_unexpected(text, at, "in string literal"))
        at = _escape(text, at + 1) if text[at] == "\\" else at + 1
    raise Malformed(END)


def _escape(text: str, at: int) -> int:
    _expect(text, at, '"\\/bfnrtu', "in string escape code")
    if text[at] != "u":
        return at + 1
    for digit in range(at + 1, at + 5):
        if digit >= len(text) or text[digit] not in HEXADECIMAL:
            raise Malformed(_unexpected(text, digit, "in \\u hexadecimal character escape"))
    return at + 5


def _literal(text: str, at: int, word: str) -> int:
    for offset, letter in enumerate(word):
        _expect(text, at + offset, letter, f"in literal {word} (expecting '{letter}')")
    return at + len(word)


def _number(text: str, at: int) -> int:
    """A number ends where it cannot go on; the digit after a sign, a point, an exponent must be there."""
    at += text[at] == "-"
    _expect(text, at, "0123456789", "in numeric literal")
    at = at + 1 if text[at] == "0" else _digits(text, at)
    if text[at : at + 1] == ".":
        _expect(text, at + 1, "0123456789", "after decimal point in numeric literal")
        at = _digits(text, at + 1)
    if text[at : at + 1] in ("e", "E"):
        at += 2 if text[at + 1 : at + 2] in ("+", "-") else 1
        _expect(text, at, "0123456789", "in exponent of numeric literal")
        at = _digits(text, at)
    return at


def _digits(text: str, at: int) -> int:
    while at < len(text) and text[at] in "0123456789":
        at += 1
    return at
