"""How a build fails, in both of its dialects.

classic   The command '/bin/sh -c exit 3' returned a non-zero code: 3
BuildKit  process "/bin/sh -c exit 3" did not complete successfully: exit code: 3
"""

from collections.abc import Sequence

from sampan.dockerfile.source import Span
from sampan.errors import EngineError, InvalidParameter


class StepFailed(EngineError):
    """A RUN ended with a status other than 0; ``code`` is that status."""

    def __init__(self, argv: Sequence[str], code: int) -> None:
        command = " ".join(argv)
        super().__init__(f"The command '{command}' returned a non-zero code: {code}")
        self.code = code
        self.buildkit_message = f'process "{command}" did not complete successfully: exit code: {code}'


class CopyFailed(InvalidParameter):
    """A COPY or ADD could not find or place a file."""

    def __init__(self, keyword: str, reason: str) -> None:
        super().__init__(f"{keyword} failed: {reason}")
        self.buildkit_message = self.message


class SourceMissing(CopyFailed):
    """What COPY or ADD names is not there: ``name`` in ``context`` (empty: the build context)."""

    def __init__(self, keyword: str, name: str, context: str) -> None:
        reason = f"file not found in build context or excluded by .dockerignore: stat {name}: file does not exist"
        super().__init__(keyword, f'stat {name}: file does not exist in "{context}"' if context else reason)
        missing = f'failed to calculate checksum of ref: "/{name}": not found'
        self.buildkit_message = f"failed to compute cache key: {missing}"


def told_to_buildkit(error: EngineError) -> str:
    """The error in BuildKit's words."""
    return str(getattr(error, "buildkit_message", error.message))


def place(error: EngineError, span: Span) -> None:
    """Note the lines of the Dockerfile that an error is about, unless it knows them."""
    if getattr(error, "span", None) is None:
        error.span = span  # type: ignore[attr-defined]


def place_of(error: BaseException) -> Span | None:
    """The lines of the Dockerfile that an error is about."""
    return getattr(error, "span", None)
