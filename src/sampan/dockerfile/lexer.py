"""Physical lines to logical lines: directives, comments, continuations, here-documents.

# syntax=docker/dockerfile:1        directive  (first lines only, each key once)
# a comment                         kept for the instruction that follows
RUN make \\                         ┐
    # comments vanish in between    │ one logical line, lines 3 to 5
    install                         ┘
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sampan.dockerfile.expand import ExpansionError
from sampan.dockerfile.heredoc import Heredoc, heredocs_in
from sampan.dockerfile.source import ParseError, Span
from sampan.dockerfile.words import BLANKS, json_array, split_flags

KNOWN_DIRECTIVES = ("syntax", "escape", "check")
TAKES_HEREDOC = ("add", "copy", "run")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_CONTINUES = {escape: re.compile(rf"(?:(?<=[^{re.escape(escape)}])|^){re.escape(escape)}[ \t]*$") for escape in "\\`"}


@dataclass(frozen=True, slots=True)
class Line:
    """One logical line: keyword as written, flags, the rest, and what surrounds it."""

    keyword: str
    flags: tuple[str, ...]
    rest: str
    text: str
    span: Span
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    empty_continuation: bool = False


@dataclass(slots=True)
class Lexer:
    """Walks the lines of one Dockerfile once."""

    text: str
    directives: dict[str, str] = field(default_factory=dict)
    escape: str = "\\"
    _physical: list[str] = field(default_factory=list)
    _at: int = 0
    _directives_done: bool = False

    def lines(self) -> Iterator[Line]:
        """All logical lines in order. Raises ``ParseError``."""
        self._physical = self.text.removeprefix("\ufeff").split("\n")
        comments: list[str] = []
        while self._at < len(self._physical):
            raw = self._next().strip("\r\n").lstrip()
            if raw.startswith("#"):
                self._comment(raw, comments)
                continue
            self._directives_done = True
            if not raw:
                continue
            yield self._instruction(raw, tuple(comments))
            comments.clear()

    def _next(self) -> str:
        self._at += 1
        return self._physical[self._at - 1]

    def _comment(self, raw: str, comments: list[str]) -> None:
        if self._directive(raw):
            return
        text = raw[1:].strip()
        if text:
            comments.append(text)
        else:
            comments.clear()  # an empty comment parts a description from what follows

    def _directive(self, raw: str) -> bool:
        match = None if self._directives_done else _DIRECTIVE.fullmatch(raw)
        key = match[1].lower() if match else ""
        if match is None or key not in KNOWN_DIRECTIVES:
            self._directives_done = True
            return False
        here = Span(self._at, self._at)
        if key in self.directives:
            raise ParseError(f"only one {key} parser directive can be used", here)
        if key == "escape":
            if match[2] not in _CONTINUES:
                raise ParseError(f"invalid escape token '{match[2]}' does not match ` or \\", here)
            self.escape = match[2]
        self.directives[key] = match[2]
        return True

    def _instruction(self, raw: str, comments: tuple[str, ...]) -> Line:
        start = self._at
        text, empty = self._joined(raw)
        try:
            return self._heredocs(text, Span(start, self._at), comments, empty)
        except (ParseError, ExpansionError) as error:
            raise ParseError(error.message, Span(start, self._at)) from None

    def _joined(self, raw: str) -> tuple[str, bool]:
        """``raw`` with its continuation lines, and whether one of those was empty."""
        parts: list[str] = []
        empty, line, ending = False, raw, _CONTINUES[self.escape]
        while True:
            cut = ending.search(line)
            parts.append(line[: cut.start()] if cut else line)
            if cut is None:
                return "".join(parts), empty
            while self._at < len(self._physical):
                line = self._next().rstrip("\r\n")
                if not line.strip():
                    empty = empty or self._at < len(self._physical)  # the file's last newline is no line
                elif not line.lstrip().startswith("#"):
                    break
            else:
                return "".join(parts), empty

    def _heredocs(self, text: str, span: Span, comments: tuple[str, ...], empty: bool) -> Line:
        keyword, flags, rest = split_line(text, self.escape)
        heredocs: list[Heredoc] = []
        if "<<" in text and _may_hold_heredoc(keyword, rest, self.escape):
            heredocs = [self._body(heredoc) for heredoc in heredocs_in(text)]
        return Line(keyword, tuple(flags), rest, text, Span(span.start, self._at), comments, tuple(heredocs), empty)

    def _body(self, heredoc: Heredoc) -> Heredoc:
        content: list[str] = []
        while self._at < len(self._physical):
            line = self._next()
            if heredoc.ends_at(line):
                return Heredoc(heredoc.name, heredoc.expand, heredoc.chomp, "".join(content))
            content.append(line + "\n")
        raise ParseError("unterminated heredoc")


def split_line(text: str, escape: str) -> tuple[str, list[str], str]:
    """Keyword, flags and rest of one logical line."""
    keyword, *rest = BLANKS.split(text.strip(), maxsplit=1)
    flags, arguments = split_flags(rest[0], escape) if rest else ([], "")
    return keyword, flags, arguments


def _may_hold_heredoc(keyword: str, rest: str, escape: str) -> bool:
    if keyword.lower() == "onbuild":
        inner, _, inner_rest = split_line(rest, escape)
        return inner.lower() != "onbuild" and _may_hold_heredoc(inner, inner_rest, escape)
    return keyword.lower() in TAKES_HEREDOC and json_array(rest) is None
