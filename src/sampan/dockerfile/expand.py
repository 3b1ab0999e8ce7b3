"""Variables and quotes in one word of an instruction, as a shell would see them.

    $v  ${v}             the value, or nothing
    ${v-w}  ${v:-w}      w if v is unset (with ':' also if it is empty)
    ${v+w}  ${v:+w}      w if v is set
    ${v?w}  ${v:?w}      an error that says w
    ${v#p}  ${v##p}      without the shortest / longest prefix that matches p
    ${v%p}  ${v%%p}      without the shortest / longest suffix
    ${v/p/r}  ${v//p/r}  the first / every match of p replaced by r

Patterns know ``*`` and ``?``; the escape character protects one character. The word is read once,
left to right, into pieces; a piece that was quoted or escaped never splits into several words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.errors import InvalidParameter

SPECIAL_PARAMETERS = "@*#?-$!0"  # POSIX 2.5.2: one character each
DEPTH_LIMIT = 100
ENDS = {"'": "single-quote", '"': "double-quote"}


class ExpansionError(InvalidParameter):
    """A word cannot be expanded; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    splits: bool


@dataclass(slots=True)
class Expansion:
    """One word under expansion; the options serve heredoc words, which keep quotes and variables."""

    text: str
    env: Mapping[str, str]
    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    keep_quotes: bool = False
    keep_unset: bool = False
    unset: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    position: int = 0
    depth: int = 0

    def peek(self) -> str:
        """The next character, or an empty string at the end."""
        return self.text[self.position : self.position + 1]

    def take(self) -> str:
        """Consume the next character."""
        character = self.peek()
        self.position += 1
        return character

    def pieces(self, stop: str = "", raw_escapes: bool = False) -> list[Piece]:
        """Read up to ``stop`` (consumed) or to the end."""
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise ExpansionError("syntax error: substitution is nested too deeply")
        found: list[Piece] = []
        while character := self.peek():
            if character == stop:
                self.take()
                self.depth -= 1
                return found
            found.append(self._piece(character, raw_escapes))
        if stop:
            raise ExpansionError(f"unexpected end of statement while looking for matching {stop}")
        self.depth -= 1
        return found

    def _piece(self, character: str, raw_escapes: bool) -> Piece:
        if character == "$":
            return Piece(self._dollar(), True)
        if character == "'" and not self.keep_quotes:
            return Piece(self._single_quoted(), False)
        if character == '"' and not self.keep_quotes:
            return Piece(self._double_quoted(raw_escapes), False)
        if character == "<":
            return Piece(self._angle(), False)
        self.take()
        if character == self.escape:
            return Piece((character if raw_escapes else "") + self.take(), False)
        return Piece(character, True)

    def _angle(self) -> str:
        """``<<`` swallows the blanks after it, so that ``<< EOF`` stays one word."""
        self.take()
        if self.peek() != "<":
            return "<"
        start = self.position
        self.take()
        while self.peek() and self.peek() in "\t\r ":
            self.take()
        return "<" + self.text[start : self.position]

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            raise ExpansionError("unexpected end of statement while looking for matching single-quote")
        inner = self.text[self.position + 1 : end]
        self.position = end + 1
        return f"'{inner}'" if self.raw_quotes else inner

    def _double_quoted(self, raw_escapes: bool) -> str:
        self.take()
        inner = []
        while (character := self.peek()) != '"':
            if not character:
                raise ExpansionError("unexpected end of statement while looking for matching double-quote")
            if character == "$":
                inner.append(self._dollar())
                continue
            self.take()
            if character == self.escape and self.peek() and self.peek() in ('"', "$", self.escape):
                character = (character if raw_escapes else "") + self.take()
            inner.append(character)
        self.take()
        text = "".join(inner)
        return f'"{text}"' if self.raw_quotes else text

    def _dollar(self) -> str:
        self.take()
        if self.peek() != "{":
            name = self._name()
            value = self._value(name) if name else "$"
            return f"${name}" if value is None and self.keep_unset else value or ""
        self.take()
        if not self.peek():
            raise ExpansionError("syntax error: missing '}'")
        if self.peek() in "{}:":
            raise ExpansionError("syntax error: bad substitution")
        return self._substitution(self._name())

    def _name(self) -> str:
        rest = self.text[self.position :]
        if rest and rest[0] in SPECIAL_PARAMETERS and not rest[0].isdigit():
            name = rest[0]
        else:
            name = match.group() if (match := re.match(r"\d+|\w+", rest)) else ""
        self.position += len(name)
        return name

    def _value(self, name: str) -> str | None:
        value = self.env.get(name)
        (self.unset if value is None else self.used).add(name)
        return value

    def _substitution(self, name: str) -> str:
        operator = self.take()
        if operator == "}":
            value = self._value(name)
            return f"${{{name}}}" if value is None and self.keep_unset else value or ""
        if operator == "/":
            return self._replace(name)
        colon = operator == ":"
        operator = self.take() if colon else operator
        shown = ":" + operator if colon else operator
        if not operator or operator not in "-+?#%" or (colon and operator in "#%"):
            raise ExpansionError(f"unsupported modifier ({shown}) in substitution")
        word = self._operand("}", raw_escapes=operator in "#%")
        value = self._value(name)
        if value is None and self.keep_unset:
            return f"${{{name}{shown}{word}}}"
        if operator in "#%":
            return _trim(operator, word, value or "")
        return _alternative(operator, name, word, value, colon)

    def _operand(self, stop: str, *, raw_escapes: bool) -> str:
        try:
            return "".join(piece.text for piece in self.pieces(stop, raw_escapes))
        except ExpansionError:
            if self.peek():
                raise
            missing = "'/' in ${}" if stop == "/" else "'}'"
            raise ExpansionError(f"syntax error: missing {missing}") from None

    def _replace(self, name: str) -> str:
        everywhere = self.peek() == "/"
        if everywhere:
            self.take()
        pattern = self._operand("/", raw_escapes=True)
        replacement = self._operand("}", raw_escapes=True)
        value = self._value(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        expression = _regex(pattern)
        return expression.sub(lambda _: replacement, value or "", count=0 if everywhere else 1)


def _alternative(operator: str, name: str, word: str, value: str | None, null_is_unset: bool) -> str:
    """The operators that choose between the value and the word."""
    present = value is not None and not (null_is_unset and value == "")
    if operator == "-":
        return value or "" if present else word
    if operator == "+":
        return word if present else ""
    if present:
        return value or ""
    state = "unset" if value is None else "empty"
    raise ExpansionError(f"{name}: {word or f'is not allowed to be {state}'}")


def _trim(operator: str, pattern: str, value: str) -> str:
    """``#``/``%``: cut a matching prefix or suffix, the longest if the operator is doubled."""
    greedy = pattern.startswith(operator)
    expression = _regex(pattern.removeprefix(operator))
    lengths = range(len(value) + 1)
    for length in reversed(lengths) if greedy else lengths:
        part = value[:length] if operator == "#" else value[len(value) - length :]
        if expression.fullmatch(part):
            return value[length:] if operator == "#" else value[: len(value) - length]
    return value


def _regex(pattern: str) -> re.Pattern[str]:
    """A shell pattern of ``*``, ``?`` and escapes as a regular expression."""
    out = []
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            out.append(".*")
        elif character == "?":
            out.append(".")
        elif character == "\\":
            escaped = next(characters, "")
            if escaped not in ("*", "?", "\\", "}", "/"):
                raise ExpansionError(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")
            out.append(re.escape(escaped))
        else:
            out.append(re.escape(character))
    return re.compile("".join(out))


def expand(word: str, env: Mapping[str, str], escape: str = "\\", unset: set[str] | None = None) -> str:
    """``word`` with its variables replaced and its quotes removed.

    Names without a value are added to ``unset``. Raises ``ExpansionError``.
    """
    expansion = Expansion(word, env, escape, unset=set() if unset is None else unset)
    return "".join(piece.text for piece in _read(expansion))


def expand_shown(text: str, env: Mapping[str, str], escape: str = "\\") -> str:
    """``text`` with the variables that ``env`` has replaced, and all else as it is. Raises ``ExpansionError``."""
    shown = Expansion(text, env, escape, raw_escapes=True, keep_quotes=True, keep_unset=True)
    return "".join(piece.text for piece in _read(shown))


def expand_words(word: str, env: Mapping[str, str], escape: str = "\\", unset: set[str] | None = None) -> list[str]:
    """Like ``expand``, then split at white space that was neither quoted nor escaped."""
    return split_pieces(_read(Expansion(word, env, escape, unset=set() if unset is None else unset)))


def _read(expansion: Expansion) -> list[Piece]:
    try:
        return expansion.pieces(raw_escapes=expansion.raw_escapes)
    except ExpansionError as error:
        quoted = expansion.text.replace("\\", "\\\\").replace('"', '\\"')
        raise ExpansionError(f'failed to process "{quoted}": {error}') from None


def split_pieces(pieces: list[Piece]) -> list[str]:
    """The words that ``pieces`` make."""
    words = [""]
    for piece in pieces:
        if not piece.splits:
            words[-1] += piece.text
            continue
        first, *others = re.split(r"\s+", piece.text)
        words[-1] += first
        words.extend(others)
    return [word for word in words if word]
