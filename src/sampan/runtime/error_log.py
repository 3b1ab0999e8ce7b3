"""Where ``sampan-runtime`` tells errors and warnings: stderr for people, the file of ``--log`` for the engine above.

Engines read the JSON form (``level``, ``msg``, ``time``) to show a reason of failure; text is logfmt as runc writes it.
"""

import json
import sys
import time
from collections.abc import Sequence

from sampan.errors import InvalidParameter


class ErrorLog:
    """One log; ``path`` "" is stderr alone. Raises InvalidParameter or OSError for one that cannot be written."""

    def __init__(self, path: str, kind: str, *, debug: bool = False) -> None:
        if kind not in {"text", "json"}:
            raise InvalidParameter(f'invalid log-format: "{kind}"')
        self._path, self._kind, self._debug = path, kind, debug
        if path:
            open(path, "a").close()

    def error(self, message: str, *, bare: bool = False) -> None:
        """Tell one error; people read it on stderr whatever the file, there without level and time if ``bare``."""
        if self._path or not bare:
            self._tell("error", message)
        if self._path or bare:
            print(message, file=sys.stderr)

    def warning(self, message: str) -> None:
        """Tell what went wrong without changing what the command does."""
        self._tell("warning", message)

    def debug(self, message: str) -> None:
        """Tell what is done, where ``--debug`` asks for it."""
        if self._debug:
            self._tell("debug", message)

    def _tell(self, level: str, message: str) -> None:
        line = self._line(level, message)
        if not self._path:
            print(line, file=sys.stderr)
            return
        with open(self._path, "a") as file:
            file.write(line + "\n")

    def _line(self, level: str, message: str) -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._kind == "json":
            return json.dumps({"level": level, "msg": message, "time": now}, separators=(",", ":"))
        return f'time="{now}" level={level} msg={json.dumps(message)}'


KERNEL_MEMORY = "Kernel memory settings are ignored and will be removed"
"""Linux has had no such limits since 5.16, and cgroup v2 never had them."""

_log = ErrorLog("", "text")


def open_log(path: str, kind: str, *, debug: bool) -> ErrorLog:
    """The log of this command, which ``warn`` writes to from here on."""
    global _log  # noqa: PLW0603  a command has one log
    _log = ErrorLog(path, kind, debug=debug)
    return _log


def warn_of_capabilities(names: Sequence[str]) -> None:
    """Capabilities that were asked for and cannot be given are told, not refused (config.md "Linux Process")."""
    if names:
        warn(f"cannot grant capabilities {', '.join(names)}: unknown or unavailable here")


def warn_of_ambient(names: Sequence[str]) -> None:
    """Ambient capabilities that could not be raised, in runc's words."""
    for name in names:
        warn(f"can't raise ambient capability {name}: it is not permitted and inheritable")


def warn(message: str) -> None:
    """A warning in this command's log."""
    _log.warning(message)
