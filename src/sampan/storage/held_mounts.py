"""Mounts of writable layers, held open until nobody waits for their end.

    hold ── a container runs on the layer ── let_go ── QUIET seconds without another ── closed, by a thread of their own

Whoever drops the last reference to a writable overlay waits until the whole disk below is in order, and makes every
young file of others be written that would have been removed before the disk ever saw it. Were the container's own
reference the last, its exit would wait. So the daemon holds one as well, and closes those it has let go of together,
a moment after the last: by then most are of layers that are gone.
"""

import os
import threading
import time
from collections import deque

QUIET = 1.0
"""Seconds without another container's end after which mounts are closed."""
MOST = 128
"""How many may wait for that."""


class HeldMounts:
    """Open mounts by the key of their layer. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[str, list[int]] = {}
        self._parted: deque[tuple[str, int]] = deque()
        self._last = 0.0
        self._closing = ""
        self._thread: threading.Thread | None = None
        self._ending = False

    def hold(self, key: str, fd: int) -> None:
        """Keep ``fd``, which is ours from now on, until ``let_go``."""
        with self._changed:
            self._held.setdefault(key, []).append(fd)

    def let_go(self, key: str) -> None:
        """Close what is held of the layer, soon; idempotent."""
        with self._changed:
            parted = self._held.pop(key, ())
            if not parted:
                return
            self._last = time.monotonic()
            self._parted.extend((key, fd) for fd in parted)
            if self._thread is None:
                self._thread = threading.Thread(target=self._close_parted, name="mounts", daemon=True)
                self._thread.start()
            if len(self._parted) in (len(parted), MOST):  # it waits without a limit of time, or longer than it should
                self._changed.notify_all()

    def lingers(self, key: str) -> bool:
        """Whether a mount of the layer was let go of and is not closed."""
        with self._changed:
            return self._closing == key or any(parted == key for parted, _ in self._parted)

    def drop(self, key: str) -> None:
        """Close, now, what was let go of."""
        with self._changed:
            found = [fd for parted, fd in self._parted if parted == key]
            self._parted = deque(pair for pair in self._parted if pair[0] != key)
        for fd in found:
            os.close(fd)
        with self._changed:
            self._changed.wait_for(lambda: self._closing != key)

    def close(self) -> None:
        """Close everything; of what runs on, the containers' own references remain."""
        with self._changed:
            self._ending = True
            self._parted.extend((key, fd) for key, fds in self._held.items() for fd in fds)
            self._held.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        for _, fd in self._parted:
            os.close(fd)
        self._parted.clear()

    def _close_parted(self) -> None:
        with self._changed:
            while not self._ending:
                self._changed.wait(self._patience())
                if self._patience() == 0:
                    self._close_all()

    def _patience(self) -> float | None:
        """How long to wait now; None where there is nothing to wait for."""
        if not self._parted:
            return None
        return 0.0 if len(self._parted) >= MOST else max(0.0, self._last + QUIET - time.monotonic())

    def _close_all(self) -> None:
        while self._parted and not self._ending:
            self._closing, fd = self._parted.popleft()
            self._changed.release()
            try:
                os.close(fd)
            finally:
                self._changed.acquire()
                self._closing = ""
                self._changed.notify_all()
