"""What a daemon finds around it and a test may change while it runs: the time of day, and how slow the disk is."""

import mmap
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("under_daemon.c")
SECOND = 1_000_000_000
COMPILE = ("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC")


class Surroundings:
    """The cells that ``under_daemon.c`` draws, in a file under ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._library, self._path = directory / "under_daemon.so", directory / "under_daemon.cells"
        subprocess.run([*COMPILE, "-o", str(self._library), str(SOURCE)], check=True)
        with self._path.open("a+b") as file:
            file.truncate(24)
            self._cells = memoryview(mmap.mmap(file.fileno(), 24)).cast("q")

    @property
    def launcher(self) -> tuple[str, ...]:
        """What stands before the command of a daemon that is to live in them."""
        return ("env", f"LD_PRELOAD={self._library}", f"SAMPAN_TEST_CELLS={self._path}")

    @contextmanager
    def clock_set(self, seconds: int) -> Iterator[None]:
        """For the time of the block the daemon's time of day is so far from the machine's."""
        self._cells[0] = seconds * SECOND
        try:
            yield
        finally:
            self._cells[0] = 0

    @contextmanager
    def slow_disk(self) -> Iterator[None]:
        """What syncs a file waits for the end of the block."""
        self._cells[1] = 3600 * SECOND
        try:
            yield
        finally:
            self._cells[1] = 0

    @property
    def syncs(self) -> int:
        """How often a file was synced until now."""
        return self._cells[2]
