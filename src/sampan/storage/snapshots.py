"""Snapshots: unpacked layers, and the writable layers of containers on top of them, mounted as detached overlays.

    snapshots/<hex of chain ID>/fs    a committed layer: what one layer tar holds, as an overlay's lower directory
    snapshots/.new-<random>/fs        one being unpacked
    snapshots/.gone-<random>/fs       one being deleted
    snapshots/.empty/1, 2             stand in where overlayfs wants more layers than there are
    snapshots/.ground                 what any container finds below its image
    containers/<key>/upper, work      an active (writable) layer

A layer appears by rename and is then written into the database with its size; what a crash leaves in between is
removed by ``clean``. Layers are not synced file by file: each row remembers the boot it was written in until a sync,
and after a power cut the layers not synced are dropped, to be unpacked again from their blobs.

Every method may be called from any thread. The fds that ``mount`` and ``view`` give are O_PATH and the caller's to
close; closing the last one of a writable mount syncs the whole disk unless it is volatile, so give it to ``held``.
"""

import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sampan.archive.apply import Usage, apply_layer
from sampan.archive.changes import Change, changes_of
from sampan.archive.diff import write_diff
from sampan.archive.leftovers import leftovers
from sampan.archive.reader import Source
from sampan.archive.stream import Hashing, ReadAhead, Sink
from sampan.archive.tree import remove_tree
from sampan.errors import Conflict, DataLoss, NotFound
from sampan.linux.inode_flags import make_home_of_trees
from sampan.linux.overlay import Writable, mount_overlay
from sampan.linux.syncfs import syncfs
from sampan.linux.userns import Mapped
from sampan.oci import digest as digests
from sampan.oci.digest import ChainID, DiffID
from sampan.storage.database import Database
from sampan.storage.ground import lay_ground
from sampan.storage.held_mounts import HeldMounts
from sampan.storage.leases import Leases
from sampan.storage.quota import Quotas

_NEW = ".new-"
_GONE = ".gone-"
_EMPTY = ".empty"
_GROUND = ".ground"
BESIDE_LAYERS = frozenset({_EMPTY, _GROUND})
"""What ``snapshots`` holds that is no image's layer."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A committed layer. ``size`` in bytes of content, ``inodes`` names."""

    chain_id: ChainID
    parent: ChainID | None
    diff_id: DiffID
    size: int
    inodes: int


@dataclass(frozen=True, slots=True)
class Active:
    """A writable layer: its key, and what it stands on."""

    key: str
    parent: ChainID | None


class Snapshots:
    """Layers under ``root/snapshots`` and writable ones under ``root/containers``."""

    def __init__(self, root: Path, database: Database, leases: Leases) -> None:
        self._leases = leases
        self._layers = root / "snapshots"
        self._actives = root / "containers"
        self._database = database
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._unpacking: dict[ChainID, threading.Lock] = {}
        self._known: dict[ChainID, Layer] = {}
        self._lock = threading.Lock()
        self._purging = threading.Lock()
        self.held = HeldMounts()
        self._empty = (self._layers / _EMPTY / "1", self._layers / _EMPTY / "2")
        for directory in (self._layers, self._actives):
            make_home_of_trees(directory, 0o755)
        for directory in self._empty:
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._ground = self._layers / _GROUND
        lay_ground(self._ground)
        self.quotas = Quotas(self._actives)

    # Committed layers.

    def layer(self, chain_id: ChainID) -> Layer:
        """The committed layer; raises NotFound."""
        if known := self._known.get(chain_id):
            return known
        with self._lock:
            row = self._database.row("SELECT chain, parent, diff_id, size, inodes FROM layers WHERE chain=?", chain_id)
            if row is None:
                raise NotFound(f"layer {chain_id} is not unpacked")
            self._known[chain_id] = layer = Layer(*row)
        return layer

    def __contains__(self, chain_id: ChainID) -> bool:
        return self._database.row("SELECT 1 FROM layers WHERE chain=?", chain_id) is not None

    def layers(self) -> list[Layer]:
        """All committed layers."""
        rows = self._database.rows("SELECT chain, parent, diff_id, size, inodes FROM layers")
        return [Layer(*row) for row in rows]

    def sizes(self, chain_ids: Iterable[ChainID]) -> dict[ChainID, int]:
        """Bytes of those layers that are here."""
        found = {}
        for chain_id in chain_ids:
            if row := self._database.row("SELECT size FROM layers WHERE chain=?", chain_id):
                found[chain_id] = row[0]
        return found

    def chain(self, top: ChainID | None) -> list[Layer]:
        """The layers of a stack, topmost first; raises NotFound when one is not here."""
        stack = []
        while top is not None:
            stack.append(self.layer(top))
            top = stack[-1].parent
        return stack

    def path(self, chain_id: ChainID) -> Path:
        """The directory of a committed layer's own files."""
        return self._layers / digests.encoded(chain_id) / "fs"

    def unpack(
        self, parent: ChainID | None, diff_id: DiffID, tar: Source, below: Callable[[], object] | None = None
    ) -> ChainID:
        """Unpack the uncompressed layer ``tar`` on ``parent``; returns its chain ID.

        With ``below`` the parent may still be unpacked elsewhere: it returns once that is done, or raises what went
        wrong. Concurrent callers of one layer share the work: the others wait, and read nothing of their ``tar``.
        Raises NotFound for a parent that is not here, DataLoss when the tar is not what ``diff_id`` says,
        MalformedArchive, DiskFull.
        """
        if below is None:
            self.chain(parent)
        chain_id = digests.extend(parent, diff_id)
        with self._alone(chain_id):
            if chain_id not in self:
                with self._new_directory() as directory:
                    usage = self._fill(directory, parent, diff_id, tar, below or _nothing)
                    self._commit(directory, Layer(chain_id, parent, diff_id, usage.size, usage.inodes))
        return chain_id

    def _fill(
        self, directory: Path, parent: ChainID | None, diff_id: DiffID, tar: Source, below: Callable[[], object]
    ) -> Usage:
        """Write the layer; on return its parents are complete too."""
        hashing = Hashing(tar, digests.algorithm(diff_id))
        with ExitStack() as opened:

            @cache
            def lowers() -> list[int]:
                below()
                return [_open_directory(self.path(layer.chain_id), opened) for layer in self.chain(parent)]

            root = _open_directory(directory / "fs", opened)
            ahead = opened.enter_context(ReadAhead(hashing))  # inflated and hashed beside the writing
            usage = apply_layer(ahead, root, lowers)
        if DiffID(hashing.digest) != diff_id:
            raise DataLoss(f"layer has the wrong content: diff ID {hashing.digest}, expected {diff_id}")
        below()
        return usage

    @contextmanager
    def _alone(self, chain_id: ChainID) -> Iterator[None]:
        """One caller at a time for each chain ID."""
        with self._lock:
            lock = self._unpacking.setdefault(chain_id, threading.Lock())
        with lock:
            yield
        with self._lock:
            if not lock.locked():
                self._unpacking.pop(chain_id, None)

    @contextmanager
    def _new_directory(self) -> Iterator[Path]:
        """A directory for a layer to be; removed again unless it was renamed."""
        directory = self._layers / f"{_NEW}{secrets.token_hex(8)}"
        (directory / "fs").mkdir(parents=True, mode=0o755)
        try:
            yield directory
        finally:
            remove_path(directory)

    def _commit(self, directory: Path, layer: Layer) -> None:
        """Give the directory its place, then write it down."""
        target = self._layers / digests.encoded(layer.chain_id)
        remove_path(target)
        directory.rename(target)
        self._database.execute(
            "INSERT INTO layers (chain, parent, diff_id, size, inodes, unsynced_boot) VALUES (?, ?, ?, ?, ?, ?)",
            *(layer.chain_id, layer.parent, layer.diff_id, layer.size, layer.inodes, self._boot),
        )

    def remove_layer(self, chain_id: ChainID) -> int:
        """Forget a committed layer that nothing uses; returns its bytes, which ``purge`` gives back."""
        with self._alone(chain_id):
            row = self._database.row("SELECT size FROM layers WHERE chain=?", chain_id)
            with self._lock:
                self._database.execute("DELETE FROM layers WHERE chain=?", chain_id)
                self._known.pop(chain_id, None)
            with suppress(FileNotFoundError):
                directory = self._layers / digests.encoded(chain_id)
                directory.rename(self._layers / f"{_GONE}{secrets.token_hex(8)}")
        return row[0] if row else 0

    def purge(self) -> None:
        """Delete the files of forgotten layers: seconds for large ones, so nothing else waits for it."""
        with self._purging:
            for entry in list(os.scandir(self._layers)):
                if entry.name.startswith(_GONE):
                    remove_path(Path(entry.path))

    # Active layers.

    def prepare(self, key: str, parent: ChainID | None, *, size: int = 0) -> Active:
        """Make the writable layer ``key`` (a container ID) on ``parent``; raises NotFound, Conflict.

        ``size`` is its quota in bytes, 0 for none; only where ``quotas.supported``.
        """
        with self._leases.lock:  # the collector must see the row, or not yet have swept
            self.chain(parent)
            try:
                self._database.execute("INSERT INTO actives (key, parent) VALUES (?, ?)", key, parent)
            except sqlite3.IntegrityError:
                raise Conflict(f"writable layer {key} exists already") from None
        directory = self._actives / key
        for name in ("upper", "work"):
            (directory / name).mkdir(parents=True, exist_ok=True, mode=0o755)
        if size:
            self.quotas.limit([directory / "upper", directory / "work"], size)
        return Active(key, parent)

    def active(self, key: str) -> Active:
        """The writable layer ``key``; raises NotFound."""
        row = self._database.row("SELECT key, parent FROM actives WHERE key=?", key)
        if row is None:
            raise NotFound(f"no writable layer {key}")
        return Active(*row)

    def actives(self) -> list[Active]:
        """All writable layers."""
        return [Active(*row) for row in self._database.rows("SELECT key, parent FROM actives")]

    def upper(self, key: str) -> Path:
        """The directory that holds what was written."""
        return self._actives / key / "upper"

    def mount(self, key: str, *, grounded: bool = False, volatile: bool = False, mapped: Mapped | None = None) -> int:
        """The writable layer on its parents, as the fd of a detached mount.

        ``grounded`` for containers: below the image lies what any container finds (storage/ground.py).
        ``volatile`` for what is thrown away after a crash anyway (``--rm``, build steps): fsync does nothing, and the
        mount goes without syncing the disk. ``mapped`` shows it to a user namespace. A mount of the layer that was
        held and let go of is closed first, which may take as long as the disk needs.
        """
        active = self.active(key)
        self.held.drop(key)
        directory = self._actives / key
        _forget_volatile(directory / "work")
        writable = Writable(directory, volatile)
        lowers = [*self._lowers(active.parent), *([self._ground] if grounded else [])]
        return mount_overlay(lowers or self._empty[:1], writable, mapped=mapped)

    def view(self, chain_id: ChainID | None, *, mapped: Mapped | None = None) -> int:
        """A committed stack (None: an empty tree), read-only, as the fd of a detached mount."""
        lowers = self._lowers(chain_id)
        return mount_overlay([*lowers, *self._empty[: max(0, 2 - len(lowers))]], mapped=mapped)

    def _lowers(self, top: ChainID | None) -> list[Path]:
        return [self.path(layer.chain_id) for layer in self.chain(top)]

    def usage(self, key: str) -> Usage:
        """What the writable layer holds now, by walking it."""
        return usage_of(self.upper(key))

    def changes(self, key: str, places: Iterable[str] = ()) -> list[Change]:
        """What differs from the parents, sorted by path, directories above changes included.

        Left out are ``places`` that are empty: mounting needed them (see archive.leftovers).
        """
        with ExitStack() as opened:
            upper, lowers = self._opened(key, opened)
            return changes_of(upper, lowers, leftovers(upper, lowers, places))

    def diff(self, key: str, sink: Sink, places: Iterable[str] = (), *, settled: bool = False) -> None:
        """Write what differs from the parents to ``sink`` as an uncompressed layer tar; same input, same bytes.

        ``places`` as for ``changes``; ``settled`` says that nothing writes to the layer meanwhile.
        """
        with ExitStack() as opened:
            upper, lowers = self._opened(key, opened)
            write_diff(upper, sink, leftovers(upper, lowers, places), settled=settled)

    def _opened(self, key: str, opened: ExitStack) -> tuple[int, list[int]]:
        """Fds of the writable directory and of its parents'."""
        lowers = self._lowers(self.active(key).parent)
        return _open_directory(self.upper(key), opened), [_open_directory(path, opened) for path in lowers]

    def commit(self, key: str, diff_id: DiffID) -> ChainID:
        """Make the writable layer a committed one, without copying; ``diff_id`` is that of its ``diff``.

        The key is gone afterwards. Nothing may write to it meanwhile: its mounts are closed first.
        """
        active = self.active(key)
        chain_id = digests.extend(active.parent, diff_id)
        with self._alone(chain_id):
            if chain_id not in self:
                usage = self.usage(key)
                with self._new_directory() as directory:
                    (directory / "fs").rmdir()
                    self.upper(key).rename(directory / "fs")
                    self._commit(directory, Layer(chain_id, active.parent, diff_id, usage.size, usage.inodes))
        self.remove(key)
        return chain_id

    def remove(self, key: str) -> None:
        """Remove a writable layer; nothing happens when there is none. Its directory stays if others use it."""
        directory = self._actives / key
        self.quotas.forget(directory / "upper")
        for name in ("upper", "work"):
            remove_path(directory / name)
        self._database.execute("DELETE FROM actives WHERE key=?", key)
        try:
            directory.rmdir()
        except OSError:
            return  # the engine keeps a container's other files there

    def discard(self, prefix: str) -> None:
        """Remove the writable layers whose keys begin with ``prefix``, also those that were half gone at a crash."""
        kept = {active.key for active in self.actives()}
        here = {entry.name for entry in os.scandir(self._actives)}
        for key in kept | here:
            if key.startswith(prefix):
                self.remove(key)

    # Crash safety.

    def clean(self) -> None:
        """At start: remove what a crash left half-made, and layers that a power cut may have damaged."""
        for (chain_id,) in self._database.rows(
            "SELECT chain FROM layers WHERE unsynced_boot IS NOT NULL AND unsynced_boot != ?", self._boot
        ):
            self.remove_layer(chain_id)
        known = {digests.encoded(layer.chain_id): layer for layer in self.layers()}
        present = {entry.name for entry in os.scandir(self._layers)}
        for name in present - known.keys() - BESIDE_LAYERS:
            remove_path(self._layers / name)
        for name in known.keys() - present:
            self._database.execute("DELETE FROM layers WHERE chain=?", known[name].chain_id)

    def sync(self) -> None:
        """Make all layers so far survive a power cut; takes as long as the disk needs."""
        rows = self._database.rows("SELECT chain FROM layers WHERE unsynced_boot IS NOT NULL")
        if not rows:
            return
        syncfs(self._layers)
        for (chain_id,) in rows:
            self._database.execute("UPDATE layers SET unsynced_boot=NULL WHERE chain=?", chain_id)


def _nothing() -> None:
    """What there is to wait for when the parents are complete."""


def usage_of(directory: Path) -> Usage:
    """Bytes and names below ``directory``; a file with several links counts once, what goes meanwhile does not."""
    size = inodes = 0
    seen: set[int] = set()
    stack = [str(directory)]
    while stack:
        with suppress(FileNotFoundError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                inodes += 1
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    status = _status(entry)
                    if status is not None and (status.st_nlink == 1 or status.st_ino not in seen):
                        size += status.st_size
                        seen.add(status.st_ino)
    return Usage(size, inodes)


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def remove_path(path: Path) -> None:
    """Remove a file or a tree, if it is there, following nothing."""
    try:
        above = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_tree(above, path.name)
    finally:
        os.close(above)


def _forget_volatile(work: Path) -> None:
    """overlayfs refuses to mount again what was volatile; here the caller knows it was not damaged."""
    left = f"{work}/work/incompat"
    if os.path.isdir(left):  # noqa: PTH112  at each start
        shutil.rmtree(left, ignore_errors=True)


def _open_directory(path: Path, opened: ExitStack) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened.callback(os.close, fd)
    return fd
