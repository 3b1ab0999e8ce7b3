"""The storage of one data root, opened and wired: what the engine holds.

    <root>/version         format of the tree, ``1``
    <root>/engine.db       storage.database
    <root>/engine.db.copy  storage.backup
    <root>/content/        storage.content
    <root>/snapshots/      storage.snapshots
    <root>/containers/     writable layers (storage.snapshots) and the engine's files of containers
    <root>/tmp/            emptied at each start

``Storage.open`` leaves nothing of a crash behind; ``close`` lets everything reach the disk.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sampan.errors import EngineError
from sampan.storage.backup import Backup
from sampan.storage.collect import Collected, collect
from sampan.storage.content import ContentStore
from sampan.storage.database import Database
from sampan.storage.images import Images
from sampan.storage.leases import Lease, Leases
from sampan.storage.pins import Pins
from sampan.storage.snapshots import Snapshots, remove_path

log = logging.getLogger("sampan.storage")

FORMAT = "1"
_KEEP_PARTIAL = 24 * 3600.0
"""Seconds that unfinished downloads, and blobs without an image, wait to be taken up again after a restart."""


class Storage:
    """Everything on disk. Methods of its parts may be called from any thread."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.database = database
        self.backup = Backup(root, database)
        self.leases = Leases()
        self.pins = Pins(database, self.leases)
        self.content = ContentStore(root / "content")
        self.snapshots = Snapshots(root, database, self.leases)
        self.images = Images(database, self.content, self.snapshots)

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open (or make) the tree at ``root`` and clean it; raises EngineError for one of a newer version."""
        root.mkdir(parents=True, exist_ok=True, mode=0o711)
        _check_format(root)
        storage = cls(root, Database(root / "engine.db", must_exist=_is_used(root)))
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

    @contextmanager
    def work(self) -> Iterator[Lease]:
        """A lease for work that leaves nothing when it fails: what only it needed goes at once."""
        with ExitStack() as failed:
            with self.leases.take() as lease:
                failed.callback(lambda: self.discard(lease))
                yield lease
            failed.pop_all()

    def discard(self, lease: Lease) -> None:
        """Remove what a lease kept that is over, and nothing else needs."""
        collect(self.content, self.snapshots, self.images, self.leases, 0.0, lease.digests)

    def close(self) -> None:
        """Sync and close; a disk that takes nothing any more ends neither the process nor what is on it."""
        self.snapshots.held.close()
        try:
            self.snapshots.sync()
            self.backup.save()
        except (EngineError, OSError) as error:
            log.warning("the last changes may not survive a power cut: %s", error)
        finally:
            self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_used(root: Path) -> bool:
    """Whether containers, volumes or blobs are there: then so was a database."""
    places = (root / "containers", root / "volumes", root / "content" / "blobs" / "sha256")
    return any(place.is_dir() and any(place.iterdir()) for place in places)


def format_of(root: Path) -> str:
    """The format of the tree; empty for what is no data root.

    A crash or a full disk may have cut the file short: beside a database that is format 1, before there were others.
    """
    try:
        found = (root / "version").read_text().strip()
    except FileNotFoundError:
        found = ""
    return found or ("1" if (root / "engine.db").exists() else "")


def _check_format(root: Path) -> None:
    found = format_of(root) or FORMAT
    if found != FORMAT:
        raise EngineError(f"{root} has format {found!r}; this version knows {FORMAT!r}")
    path = root / "version"
    if not path.exists() or path.stat().st_size == 0:
        fresh = root / "version.new"
        fresh.write_text(FORMAT + "\n")
        fresh.rename(path)
