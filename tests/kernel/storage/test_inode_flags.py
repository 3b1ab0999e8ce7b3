"""Where ext4 is told to put what lies in a directory."""

import subprocess
import tempfile
from pathlib import Path

from sampan.linux.inode_flags import spread_children


def said(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_children_of_a_directory_on_ext4_are_spread(root: Path) -> None:
    root.mkdir(exist_ok=True)
    spread_children(root)
    spread_children(root)
    is_ext4 = said("stat", "-f", "-c", "%T", root).strip() == "ext2/ext3"
    assert is_ext4 == ("T" in said("lsattr", "-d", root).split()[0])


def test_elsewhere_nothing_happens() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        spread_children(Path(directory))
        assert not list(Path(directory).iterdir())
