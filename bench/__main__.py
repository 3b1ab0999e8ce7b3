"""Every benchmark, one after the other: ``python -m bench [suite …] [--quick]``; see bench/README.md.

A suite is a file beside this one, run as a program of its own, so that none is measured in the shadow of another.
"""

import argparse
import subprocess
import sys
from pathlib import Path

SUITES = {
    "engine": (
        "the API: starts, containers a second, memory, 500 containers at once",
        ("--quick", "--containers", "20"),
    ),
    "containers": ("the docker command line: run --rm, exec, commit, ps, 200 MB through exec", ("--rounds", "3")),
    "logs": ("much output, a slow reader, statistics of 100 containers", ("--megabytes", "50", "--containers", "20")),
    "commands": ("the command lines of this project: how long they take to start", ("--rounds", "3")),
    "build": ("builds: cold, cached, one file changed, ten stages, 20,000 files", ("--rounds", "2")),
    "images": (
        "images through registries, and a very large layer",
        ("--rounds", "2", "--megabytes", "100", "--gigabytes", "0"),
    ),
    "registry": ("the registry beside docker-registry", ("--megabytes", "50")),
}
"""What each suite measures, and the words that make it a matter of a minute."""


def main() -> int:
    """Run the suites named; the exit status is the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suites", nargs="*", metavar="suite", help=", ".join(SUITES))
    parser.add_argument("--quick", action="store_true", help="fewer rounds and containers: a look, not a figure")
    given = parser.parse_args()
    if unknown := set(given.suites) - set(SUITES):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    failed = 0
    for name in given.suites or SUITES:
        what, quick = SUITES[name]
        print(f"\n{name}: {what}", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *(quick if given.quick else ())]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
