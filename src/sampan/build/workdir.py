"""WORKDIR: the directory is made if the stage does not have it."""

import os
from contextlib import ExitStack

from sampan.build.building import Build
from sampan.build.copying import DIRECTORY, Copier, Placement, clean
from sampan.build.owners import resolve_owner
from sampan.build.state import State
from sampan.build.threads import in_thread
from sampan.errors import InvalidParameter
from sampan.linux.openat2 import open_in_root


async def directory_exists(build: Build, state: State, path: str, held: ExitStack) -> bool:
    """Whether ``path`` is a directory in the stage."""
    view = await in_thread(build.workshop.storage.snapshots.view, state.chain)
    held.callback(os.close, view)
    try:
        os.close(open_in_root(view, clean(path) or ".", DIRECTORY))
    except OSError:
        return False
    return True


async def make_workdir(rootfs: int, path: str, user: str) -> None:
    """Make ``path`` and what is missing above it, owned by ``user``: root if it is empty or not known here."""
    await in_thread(_make, rootfs, clean(path), user)


def _make(rootfs: int, path: str, user: str) -> None:
    with Copier(rootfs, Placement(_owner(rootfs, user))) as copier:
        copier.make_directory(path)


def _owner(rootfs: int, user: str) -> tuple[int, int]:
    try:
        return resolve_owner(rootfs, user) if user else (0, 0)
    except InvalidParameter:
        return 0, 0
