"""Where the time of one operation goes: marks with a monotonic clock, printed when the daemon's log is at debug.

    trace = trace.begin("start 1f3a…")
    …; trace.mark("network"); …; trace.mark("monitor")
    trace.end()        →  start 1f3a…: network 0.41 ms, monitor 1.73 ms, total 2.20 ms      docs/performance.md

Off (the usual case) every call is one attribute look-up and an empty method.
"""

import logging
import time

log = logging.getLogger("sampan.trace")


class Trace:
    """A trace that is off; also the interface of the one that is on."""

    def mark(self, step: str) -> None:
        """The step called ``step`` has just ended."""

    def end(self) -> None:
        """The operation has ended: print its steps."""


class Recording(Trace):
    """A trace that is on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._marks = [("", time.perf_counter())]

    def mark(self, step: str) -> None:
        self._marks.append((step, time.perf_counter()))

    def end(self) -> None:
        pairs = zip(self._marks, self._marks[1:], strict=False)
        steps = [f"{step} {(at - before) * 1e3:.2f} ms" for (_, before), (step, at) in pairs]
        total = (self._marks[-1][1] - self._marks[0][1]) * 1e3
        log.debug("%s: %s, total %.2f ms", self._name, ", ".join(steps), total)


OFF = Trace()


def begin(name: str) -> Trace:
    """A trace of the operation ``name``, on when ``sampan.trace`` logs at debug."""
    return Recording(name) if log.isEnabledFor(logging.DEBUG) else OFF
