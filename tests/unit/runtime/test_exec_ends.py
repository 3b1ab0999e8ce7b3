"""What a monitor leaves of execs when it goes."""

from pathlib import Path

from sampan.runtime.monitor import read_execs


def test_ends_are_read_by_exec_id_and_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "execs").write_text("one 0\ntwo 137\n\nthree\nfour 1")
    assert read_execs(tmp_path) == {"one": 0, "two": 137}


def test_a_monitor_that_left_nothing_tells_nothing(tmp_path: Path) -> None:
    assert read_execs(tmp_path) == {}
