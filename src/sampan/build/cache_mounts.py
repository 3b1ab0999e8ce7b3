"""Mounts that need directories of their own: caches that outlive the build, copies that are thrown away.

shared    (default) steps use the directory side by side
locked    one step at a time has it
private   each step has one that no other has at the same time: ``<name>.0``, ``<name>.1``, …
"""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sampan.archive.compression import decompressed
from sampan.archive.copy import unpack
from sampan.build.copy_step import tree_of
from sampan.build.copying import DIRECTORY, Copier, Placement, clean, select
from sampan.build.executor import StepMount
from sampan.build.kept import hold, label
from sampan.build.scope import Scope
from sampan.build.threads import in_thread
from sampan.dockerfile.mounts import RunMount
from sampan.errors import EngineError, InvalidParameter
from sampan.linux.openat2 import open_in_root
from sampan.oci.descriptor import Descriptor
from sampan.storage.store import Storage

PRIVATE_LIMIT = 1 << 16


def target_of(mount: RunMount) -> str:
    """Where the mount goes. Raises InvalidParameter."""
    if not mount.target:
        raise InvalidParameter(f"{mount.type} mount requires a target")
    return mount.target


def private_directory(root: Path, opened: ExitStack) -> Path:
    """A new directory below ``root``, gone when ``opened`` ends."""
    directory = root / secrets.token_hex(8)
    directory.mkdir(mode=0o755)
    opened.callback(shutil.rmtree, directory)
    return directory


def _status(root: int, path: str) -> os.stat_result:
    fd = open_in_root(root, path)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def duplicate(root: int, source: str, directory: Path) -> Path:
    """A copy of ``source`` below ``directory``. Raises SourceMissing."""
    selection, *_ = select(root, source)
    into = os.open(directory, DIRECTORY)
    try:
        with Copier(into, Placement(owner=None)) as copier:
            copier.copy(root, selection, "copy", into=False)
        if selection.is_directory:
            status = _status(root, clean(source) or ".")
            os.chown("copy", status.st_uid, status.st_gid, dir_fd=into)
            os.chmod("copy", stat.S_IMODE(status.st_mode), dir_fd=into)
    finally:
        os.close(into)
    return directory / "copy"


async def cache_mount(scope: Scope, mount: RunMount, opened: ExitStack) -> StepMount:
    """A directory that outlives the build, held until ``opened`` ends."""
    target = target_of(mount)
    id = mount.id or clean(target)
    directory = scope.build.workshop.cache_mounts / directory_name(id)
    if mount.sharing == "private":
        directory = await in_thread(_own_directory, directory, opened)
    else:
        await in_thread(lambda: hold(directory, opened, exclusive=mount.sharing == "locked"))
    is_new = not directory.with_name(f"{directory.name}.id").exists()
    await in_thread(label, directory, id)
    if is_new:
        await _begin(scope, mount, id, directory, opened)
    return StepMount(target, directory, mount.read_only)


def directory_name(id: str) -> str:
    """The name of a cache's directory."""
    return hashlib.sha256(id.encode()).hexdigest()[:32]


def note_caches(scope: Scope, mounts: Sequence[RunMount]) -> None:
    """Remember the caches that a step has, whether it is done or was done before."""
    build = scope.build
    for mount in mounts:
        if mount.type == "cache" and mount.target:
            id = mount.id or clean(mount.target)
            build.cache_mounts[id] = build.workshop.cache_mounts / directory_name(id)


async def _begin(scope: Scope, mount: RunMount, id: str, directory: Path, opened: ExitStack) -> None:
    """Fill a new cache: with what it held elsewhere, a copy of what ``from`` and ``source`` name, or nothing."""
    directory.chmod(0o755 if mount.mode is None else mount.mode)
    os.chown(directory, mount.uid or 0, mount.gid or 0)
    if await _imported(scope, id, directory):
        return
    if mount.from_:
        root = await tree_of(scope, mount.from_, opened)
        await in_thread(_fill, root, mount.source, directory)


async def _imported(scope: Scope, id: str, directory: Path) -> bool:
    """Fill the cache with what an imported one of its ID holds; False where there is none or it cannot be had."""
    build = scope.build
    known = build.request.imported.mounts.get(id)
    if known is None:
        return False
    try:
        await known.source.fetch(build.workshop.storage, build.lease, known.layer)
        await in_thread(_unpack, build.workshop.storage, known.layer, directory)
    except EngineError:
        return False
    return True


def _unpack(storage: Storage, layer: Descriptor, directory: Path) -> None:
    into = os.open(directory, DIRECTORY)
    try:
        with storage.content.open(layer.digest) as blob:
            unpack(decompressed(blob), into)
    finally:
        os.close(into)


def _fill(root: int, source: str, directory: Path) -> None:
    selection, *_ = select(root, source)
    into = os.open(directory, DIRECTORY)
    try:
        with Copier(into, Placement(owner=None)) as copier:
            copier.copy(root, selection, "", into=True)
    finally:
        os.close(into)


def _own_directory(directory: Path, opened: ExitStack) -> Path:
    """The first of the numbered directories that nobody has."""
    for number in range(PRIVATE_LIMIT):
        path = directory.with_name(f"{directory.name}.{number}")
        if hold(path, opened, exclusive=True, wait=False):
            return path
    raise InvalidParameter(f"too many private caches of {directory.name}")
