"""The storage of one data root, opened and wired: what the engine holds.

    <root>/version         format of the tree, ``1``
    <root>/engine.db       storage.database
    <root>/content/        storage.content
    <root>/snapshots/      storage.snapshots
    <root>/containers/     writable layers (storage.snapshots) and the engine's files of containers
    <root>/tmp/            emptied at each start

``Storage.open`` leaves nothing of a crash behind; ``close`` lets everything reach the disk.
"""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from sampan.errors import EngineError
from sampan.storage.collect import Collected, collect
from sampan.storage.content import ContentStore
from sampan.storage.database import Database
from sampan.storage.images import Images
from sampan.storage.leases import Leases
from sampan.storage.pins import Pins
from sampan.storage.snapshots import Snapshots, remove_path

FORMAT = "1"
_KEEP_PARTIAL = 24 * 3600.0
"""Seconds that unfinished downloads, and blobs without an image, wait to be taken up again after a restart."""


class Storage:
    """Everything on disk. Methods of its parts may be called from any thread."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.database = database
        self.leases = Leases()
        self.pins = Pins(database, self.leases)
        self.content = ContentStore(root / "content")
        self.snapshots = Snapshots(root, database, self.leases)
        self.images = Images(database, self.content, self.snapshots)

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open (or make) the tree at ``root`` and clean it; raises EngineError for one of a newer version."""
        root.mkdir(parents=True, exist_ok=True, mode=0o711)
        _check_format(root / "version")
        storage = cls(root, Database(root / "engine.db"))
        storage._clean()
        return storage

    def _clean(self) -> None:
        remove_path(self.temporary)
        self.temporary.mkdir(mode=0o700)
        self.snapshots.clean()
        self.content.drop_ingests(older_than=time.time() - _KEEP_PARTIAL)
        self.collect(keep_younger=_KEEP_PARTIAL)

    def collect(self, keep_younger: float = 0.0) -> Collected:
        """Remove blobs and layers that no image, writable layer or lease needs.

        Blobs younger than ``keep_younger`` seconds stay: they may belong to a pull that is taken up again.
        """
        return collect(self.content, self.snapshots, self.images, self.leases, keep_younger)

    def close(self) -> None:
        """Sync and close."""
        self.snapshots.sync()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_format(path: Path) -> None:
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        path.write_text(FORMAT + "\n")
        return
    if found != FORMAT:
        raise EngineError(f"{path.parent} has format {found!r}; this version knows {FORMAT!r}")
