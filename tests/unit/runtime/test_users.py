"""Users and groups, resolved in the container's own files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.errors import InvalidParameter
from sampan.runtime.users import Identity, resolve

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/sh\n# comment\nbroken:line\n"
GROUP = "root:x:0:\napp:x:1001:\ndocker:x:999:app,other\nvideo:x:44:app\n"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("", Identity(0, 0, (0,), "/root")),
        ("app", Identity(1000, 1001, (1001, 999, 44), "/srv/app")),
        ("1000", Identity(1000, 1001, (1001, 999, 44), "/srv/app")),
        ("app:video", Identity(1000, 44, (44,), "/srv/app")),
        ("app:7", Identity(1000, 7, (7,), "/srv/app")),
        ("4242", Identity(4242, 0, (0,), "/")),
        ("4242:4243", Identity(4242, 4243, (4243,), "/")),
    ],
)
def test_a_user_is_found_by_name_and_number(root: int, user: str, identity: Identity) -> None:
    assert resolve(root, user) == identity


def test_groups_can_be_added(root: int) -> None:
    assert resolve(root, "4242", ["docker", "5"]).groups == (0, 999, 5)


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("app:nogroup", "unable to find group nogroup: no matching entries in group file"),
        ("99999999999", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_an_unknown_name_is_refused(root: int, user: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        resolve(root, user)


def test_without_the_files_numbers_still_work(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        assert resolve(fd, "5:6") == Identity(5, 6, (6,), "/")
    finally:
        os.close(fd)


def test_a_link_out_of_the_root_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/../../../../../../../etc/passwd")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(InvalidParameter):
            resolve(fd, "daemon")
    finally:
        os.close(fd)
