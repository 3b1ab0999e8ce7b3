"""Where something stands in a Dockerfile, and the one error the parser raises.

The excerpt a user sees under an error marks the lines at fault:

    Dockerfile:3
    --------------------
       2 |
       3 | >>> RNU make
       4 |     CMD ["app"]
    --------------------
"""

from dataclasses import dataclass

from sampan.errors import InvalidParameter

RULE = "-" * 20
CONTEXT_LINES = 2


@dataclass(frozen=True, slots=True)
class Span:
    """First and last line, counted from 1."""

    start: int
    end: int


class ParseError(InvalidParameter):
    """The Dockerfile is wrong; ``span`` says where, when that is known."""

    def __init__(self, message: str, span: Span | None = None) -> None:
        super().__init__(message)
        self.span = span


def parse_error_on(span: Span, reason: str) -> ParseError:
    """The error for an instruction that was read but means nothing."""
    return ParseError(f"dockerfile parse error on line {span.start}: {reason}", span)


def excerpt(text: str, span: Span, name: str = "Dockerfile") -> str:
    """The lines around ``span`` with the faulty ones marked by ``>>>``."""
    lines = text.splitlines()
    first = max(1, span.start - CONTEXT_LINES)
    last = min(len(lines), span.end + CONTEXT_LINES)
    rows = [
        f"{number:4d} | {'>>>' if span.start <= number <= span.end else '   '} {lines[number - 1]}"
        for number in range(first, last + 1)
    ]
    return "\n".join([f"{name}:{span.start}", RULE, *rows, RULE, ""])
