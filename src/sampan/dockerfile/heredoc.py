"""Here-documents: ``<<EOF``, ``<<-EOF``, ``<<"EOF"``, ``3<<EOF`` and the lines that follow them."""

import re
from dataclasses import dataclass

from sampan.dockerfile.expand import Expansion, ExpansionError, split_pieces

_MARK = re.compile(r"(\d*)<<(-?)\s*([^<]*)", re.ASCII)
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_QUOTES = re.compile(r"""['"]""")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """One here-document: ``expand`` is false if its word was quoted, ``chomp`` true after ``<<-``."""

    name: str
    expand: bool
    chomp: bool
    content: str = ""

    @property
    def text(self) -> str:
        """The content, without leading tabs if they are to be stripped."""
        return _LEADING_TABS.sub("", self.content) if self.chomp else self.content

    def ends_at(self, line: str) -> bool:
        """Whether ``line`` (with its newline) is the terminator."""
        bare = line.rstrip("\r\n")
        return (bare.lstrip("\t") if self.chomp else bare) == self.name


def parse_heredoc(word: str) -> Heredoc | None:
    """The here-document that ``word`` announces, if it is such a word. Raises ``ExpansionError``."""
    match = _MARK.fullmatch(word)
    if match is None or not match[3]:
        return None
    plain = split_pieces(Expansion(match[3], {}, keep_unset=True).pieces())
    quoted = split_pieces(Expansion(match[3], {}, keep_unset=True, raw_quotes=True).pieces())
    if len(plain) != 1 or len(quoted) != 1:
        return None
    unquoted = len(_QUOTES.findall(plain[0])) == len(_QUOTES.findall(quoted[0]))
    return Heredoc(name=plain[0], expand=unquoted, chomp=bool(match[2]))


def heredocs_in(line: str) -> list[Heredoc]:
    """All here-documents that an instruction's line announces, in order."""
    expansion = Expansion(line, {}, keep_unset=True, raw_quotes=True, raw_escapes=True)
    try:
        words = split_pieces(expansion.pieces(raw_escapes=True))
    except ExpansionError:
        return []  # an unbalanced quote: the shell will say so
    return [heredoc for word in words if (heredoc := parse_heredoc(word))]
