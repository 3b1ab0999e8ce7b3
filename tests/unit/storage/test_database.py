"""The database and its records: what stays, what is refused."""

from pathlib import Path

import msgspec
import pytest

from sampan.errors import DataLoss, EngineError
from sampan.storage.database import Database
from sampan.storage.records import NameTaken, Records


class Thing(msgspec.Struct):
    a: int
    b: str = ""


def test_records_survive_reopening(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    Records(database, "thing", Thing).put("1", Thing(1, "x"), name="one")
    database.close()
    again = Records(Database(tmp_path / "db"), "thing", Thing)
    assert again.get("1") == Thing(1, "x")
    assert again.named("one") == Thing(1, "x")
    assert list(again.all()) == [("1", Thing(1, "x"))]


def test_a_name_belongs_to_one_record_of_a_kind(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    things = Records(database, "thing", Thing)
    things.put("1", Thing(1), name="n")
    with pytest.raises(NameTaken) as raised:
        things.put("2", Thing(2), name="n")
    assert raised.value.owner == "1"
    Records(database, "other", Thing).put("2", Thing(2), name="n")
    things.put("1", Thing(3), name="m")
    things.put("2", Thing(2), name="n")
    assert things.delete("2")
    assert not things.delete("2")


def test_a_transaction_is_whole_or_not_at_all(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    things = Records(database, "thing", Thing)
    with pytest.raises(KeyError), database.transaction():
        things.put("1", Thing(1))
        with database.transaction():
            things.put("2", Thing(2))
        raise KeyError
    assert not list(things.all())


def test_a_field_added_later_takes_its_default(tmp_path: Path) -> None:
    class Older(msgspec.Struct):
        a: int

    database = Database(tmp_path / "db")
    Records(database, "thing", Older).put("1", Older(1))
    assert Records(database, "thing", Thing).get("1") == Thing(1, "")


def test_an_unreadable_record_names_itself(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    database.execute("INSERT INTO records VALUES ('thing', '1', NULL, ?)", b"{")
    with pytest.raises(DataLoss, match="thing 1"):
        Records(database, "thing", Thing).get("1")


def test_an_unreadable_record_is_set_aside_with_its_bytes_and_frees_its_name(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    things = Records(database, "thing", Thing)
    things.put("1", Thing(1), name="n")
    things.put("2", Thing(2))
    database.execute("UPDATE records SET value=? WHERE id='1'", b'{"a":"\xff')
    assert list(things.all()) == [("2", Thing(2))]
    assert things.aside() == {"1"}
    things.put("3", Thing(3), name="n")
    assert database.rows("SELECT value FROM records WHERE kind='damaged:thing'") == [(b'{"a":"\xff',)]


def test_an_empty_database_is_refused_where_there_was_one(tmp_path: Path) -> None:
    with pytest.raises(DataLoss, match="has lost its content"):
        Database(tmp_path / "db", must_exist=True)
    Database(tmp_path / "db").close()
    Database(tmp_path / "db", must_exist=True).close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"garbage" * 1000)
    with pytest.raises(DataLoss, match="is damaged"):
        Database(tmp_path / "db")


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    database.execute("PRAGMA user_version=999")
    database.close()
    with pytest.raises(EngineError, match="newer version"):
        Database(tmp_path / "db")
