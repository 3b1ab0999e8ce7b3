"""Where ext4 is told to put what lies in a directory."""

import subprocess
import tempfile
from pathlib import Path

from sampan.linux.inode_flags import make_home_of_trees


def said(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_children_of_a_home_of_trees_are_spread_on_ext4(root: Path) -> None:
    home = root / "above/home"
    for _ in range(2):
        make_home_of_trees(home, 0o711)
    is_ext4 = said("stat", "-f", "-c", "%T", home).strip() == "ext2/ext3"
    assert is_ext4 == ("T" in said("lsattr", "-d", home).split()[0])
    assert home.stat().st_mode & 0o777 == 0o711


def test_elsewhere_it_is_a_directory_as_any_other() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        make_home_of_trees(Path(directory) / "home", 0o700)
        assert (Path(directory) / "home").stat().st_mode & 0o777 == 0o700
