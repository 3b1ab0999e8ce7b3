"""A storage on the real file system."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.storage.snapshots import remove_path
from sampan.storage.store import Storage

TEMPORARY = Path("/var/tmp")
"""Where an overlay's upper directory may be: not itself an overlay or tmpfs."""


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty directory on a real file system, gone afterwards."""
    if os.geteuid() != 0:
        pytest.fail("these tests mount and make device nodes: run them as root")
    path = TEMPORARY / f"sampan-test-{os.getpid()}-{tmp_path_factory.mktemp('root').name}"
    path.mkdir()
    yield path
    remove_path(path)


@pytest.fixture
def storage(root: Path) -> Iterator[Storage]:
    with Storage.open(root / "data") as opened:
        yield opened
