"""The database's write-ahead log is written back beside the work, and does not grow for ever."""

from pathlib import Path

import pytest

from sampan.storage import database
from sampan.storage.database import Database

PAGE = 4096


def test_the_log_stays_short_under_constant_writing_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CHECKPOINT", 50)
    monkeypatch.setattr(database, "LONGEST", 100)
    path, value = tmp_path / "engine.db", b"x" * 2 * PAGE
    opened = Database(path)
    for number in range(2000):
        opened.execute("INSERT OR REPLACE INTO records (kind, id, value) VALUES ('k', ?, ?)", str(number % 40), value)
        if opened._checkpointing:
            opened._checkpointing.join()  # however slow the thread is here: the log is that of its own pace
    written = 2000 * 3 * PAGE
    assert path.with_name("engine.db-wal").stat().st_size < written / 10
    opened.close()
    again = Database(path)
    assert {row[0] for row in again.rows("SELECT id FROM records")} == {str(number) for number in range(40)}
    again.close()
