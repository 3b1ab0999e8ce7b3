"""How long this project's command lines take to start: ``python bench/commands.py [--rounds N]``.

Beside them: the interpreter doing nothing, which is what they stand on, and Debian's own programs that do the same.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from peers import ready

PROGRAMS = Path(sys.executable).parent

COMMANDS: dict[str, Sequence[str]] = {
    "python": (sys.executable, "-I", "-c", "pass"),
    "sampan-runtime --version": (str(PROGRAMS / "sampan-runtime"), "--version"),
    "runc --version": ("runc", "--version"),
    "crun --version": ("crun", "--version"),
    "sampan version": (str(PROGRAMS / "sampan"), "-H", "SOCKET", "version"),
    "docker version": ("docker", "-H", "SOCKET", "version"),
}


def milliseconds(command: Sequence[str]) -> float:
    """How long one run takes; raises CalledProcessError when it fails."""
    before = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return (time.perf_counter() - before) * 1000


def main() -> None:
    """Run all in turn and print medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    with ready(["sampan"]) as [peer]:
        commands = {
            title: [f"unix://{peer.socket}" if word == "SOCKET" else word for word in words]
            for title, words in COMMANDS.items()
        }
        taken: dict[str, list[float]] = {title: [] for title in commands}
        for number in range(given.rounds + 1):
            for title, command in commands.items():
                spent = milliseconds(command)
                if number:
                    taken[title].append(spent)
    for title, values in taken.items():
        print(f"{title:<28} {statistics.median(values):8.1f} ms")


if __name__ == "__main__":
    main()
