"""Where ``sampan-runtime`` tells errors: stderr for people, and the file of ``--log`` for the engine above.

Engines read the JSON form (``level``, ``msg``, ``time``) to show a reason of failure; text is logfmt as runc writes it.
"""

import json
import sys
import time

from sampan.errors import InvalidParameter


class ErrorLog:
    """One error log; ``path`` "" is stderr alone."""

    def __init__(self, path: str, kind: str) -> None:
        if kind not in {"text", "json"}:
            raise InvalidParameter(f'invalid log-format: "{kind}"')
        self._path, self._kind = path, kind

    def error(self, message: str) -> None:
        """Tell one error."""
        line = self._line(message)
        if not self._path:
            print(line, file=sys.stderr)
            return
        with open(self._path, "a") as file:
            file.write(line + "\n")
        print(message, file=sys.stderr)

    def _line(self, message: str) -> str:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._kind == "json":
            return json.dumps({"level": "error", "msg": message, "time": now})
        return f'time="{now}" level=error msg={json.dumps(message)}'
