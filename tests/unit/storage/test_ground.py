"""The lowest layer of every container."""

import os
from pathlib import Path

from sampan.storage.ground import lay_ground


def test_the_ground_is_for_all_to_read_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        lay_ground(tmp_path / "ground")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "ground").rglob("*") if not path.is_symlink()}
    assert modes == {0o755}
    assert (tmp_path / "ground").stat().st_mode & 0o777 == 0o755


def test_ground_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    lay_ground(tmp_path)
    hosts = tmp_path / "etc/hosts"
    os.utime(hosts, ns=(1, 1))
    (tmp_path / "proc").rmdir()
    lay_ground(tmp_path)
    assert hosts.stat().st_mtime_ns == 1
    assert (tmp_path / "proc").is_dir()
    assert (tmp_path / "etc/mtab").readlink() == Path("/proc/mounts")
