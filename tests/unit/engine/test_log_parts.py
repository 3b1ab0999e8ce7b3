"""The files of a log: rotated ones are compressed under the monitor's nose, and keep their identity."""

import gzip
from pathlib import Path

import pytest

from sampan.engine import log_parts
from sampan.engine.log_parts import compress, compress_rotated, inode_of, open_part, rotated, stored


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three files."""
    for name in ("x.log", "x.log.1", "x.log.2"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    return tmp_path / "x.log"


def test_compressed_files_keep_their_order_their_bytes_and_their_number(log: Path) -> None:
    before = stored(log)
    compress_rotated(log)
    assert [path.name for path in rotated(log)] == ["x.log.2.gz", "x.log.1.gz"]
    assert [part.inode for part in stored(log)] == [part.inode for part in before]
    assert gzip.decompress((log.parent / "x.log.1.gz").read_bytes()) == b"x.log.1" * 1000
    with open_part(log.parent / "x.log.2.gz") as file:
        assert (inode_of(file), file.read()) == (before[0].inode, b"x.log.2" * 1000)
    assert sorted(path.name for path in log.parent.iterdir()) == ["x.log", "x.log.1.gz", "x.log.2.gz"]


@pytest.mark.parametrize("moved", ["x.log.3", None])
def test_a_file_that_moves_while_it_is_compressed_is_found_where_it_is(
    log: Path, moved: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, write = log.parent / "x.log.2", log_parts.write_compressed

    def rotate_meanwhile(*given: object) -> None:
        write(*given)  # type: ignore[arg-type]
        if moved:
            second.rename(log.parent / moved)
        else:
            second.unlink()
        second.write_bytes(b"newer")

    monkeypatch.setattr(log_parts, "write_compressed", rotate_meanwhile)
    compress(log, second)
    assert second.read_bytes() == b"newer"
    assert [path.name for path in rotated(log)] == [*([f"{moved}.gz"] if moved else []), "x.log.2", "x.log.1"]
    assert not list(log.parent.glob("*.compressing"))


def test_of_both_forms_of_a_file_one_counts(log: Path) -> None:
    (log.parent / "x.log.1.gz").write_bytes(gzip.compress(b"x"))
    assert [path.name for path in rotated(log)] == ["x.log.2", "x.log.1"]
    compress_rotated(log)
    assert [path.name for path in rotated(log)] == ["x.log.2.gz", "x.log.1.gz"]
