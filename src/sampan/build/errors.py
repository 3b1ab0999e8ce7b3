"""How a build fails, in both of its dialects.

classic   The command '/bin/sh -c exit 3' returned a non-zero code: 3
BuildKit  process "/bin/sh -c exit 3" did not complete successfully: exit code: 3
"""

from collections.abc import Sequence

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
