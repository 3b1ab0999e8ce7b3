"""What a start leaves in a writable layer: empty places, told from what a user made."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.archive.leftovers import leftovers

PLACES = ("etc/hosts", "proc", ".dockerenv")
Asked = Callable[[], frozenset[str]]


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    for name in ("upper/etc", "lower/etc"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "upper"


@pytest.fixture
def found(upper: Path) -> Asked:
    def ask() -> frozenset[str]:
        fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (upper, upper.parent / "lower")]
        try:
            return leftovers(fds[0], fds[1:], PLACES)
        finally:
            for fd in fds:
                os.close(fd)

    return ask


def test_empty_places_and_the_directories_of_only_them_are_leftovers(upper: Path, found: Asked) -> None:
    (upper / "etc/hosts").touch()
    (upper / ".dockerenv").touch()
    (upper / "proc").mkdir()
    assert found() == {"etc", "etc/hosts", "proc", ".dockerenv"}


def test_a_filled_place_is_none(upper: Path, found: Asked) -> None:
    (upper / "etc/hosts").write_text("127.0.0.1 me")
    (upper / "proc").mkdir()
    (upper / "proc/file").touch()
    assert found() == frozenset()


def test_a_directory_with_something_else_stays(upper: Path, found: Asked) -> None:
    (upper / "etc/hosts").touch()
    (upper / "etc/mine").touch()
    assert found() == {"etc/hosts"}


def test_a_directory_whose_mode_was_changed_stays(upper: Path, found: Asked) -> None:
    (upper / "etc/hosts").touch()
    (upper / "etc").chmod(0o700)
    assert found() == {"etc/hosts"}
