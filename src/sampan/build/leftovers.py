"""What builds of a killed daemon leave behind, removed at the next start.

It is all that a daemon does for builds before the first one: the rest of this package, which is large, is imported
by whoever builds.

    writable layers whose keys begin with ACTIVE_PREFIX     steps that were under way
    <exec-root>/build/                                      what must never reach a disk
    <data-root>/build/history/<name>                        progress of a build without its record
"""

import hashlib
import os
import shutil
from pathlib import Path

from sampan.storage.store import Storage

ACTIVE_PREFIX = "build-"
"""Keys of writable layers of steps under way begin so."""
HISTORY = "build-history"
"""The kind of the records of builds that were."""


def remove_leftovers(storage: Storage, data_root: Path, run: Path) -> None:
    """Remove what a crash left: before the first build only."""
    storage.snapshots.discard(ACTIVE_PREFIX)
    for path in entries(private(run)):
        shutil.rmtree(path, ignore_errors=True)
    kept = {log_name(ref) for (ref,) in storage.database.rows("SELECT id FROM records WHERE kind=?", HISTORY)}
    for path in entries(logs(data_root)):
        if path.name not in kept:
            path.unlink()


def entries(directory: Path) -> list[Path]:
    """What is in a directory, if there is one."""
    return list(directory.iterdir()) if directory.is_dir() else []


def private(run: Path) -> Path:
    """Where builds keep, in memory, what must never reach a disk."""
    return run / "build"


def logs(data_root: Path) -> Path:
    """Where the progress of builds that were is kept."""
    return data_root / "build" / "history"


def log_name(ref: str) -> str:
    """The file of a build's progress, by its reference."""
    return f"{hashlib.sha256(os.fsencode(ref)).hexdigest()}.log"
