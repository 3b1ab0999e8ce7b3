"""A reader of a log goes on over rotation and from a place it once noted."""

import io
from contextlib import closing
from pathlib import Path

import pytest

from sampan.api.containers import ContainerConfig
from sampan.api.host_config import HostConfig
from sampan.engine.container import Container, Record
from sampan.engine.log_drivers.follow import Lines, Mark, Marker, read_mark, write_mark
from sampan.engine.log_parts import write_compressed
from sampan.engine.logs import Follower, Line, Position

LINE = '{"log":"%s\\n","stream":"stdout","time":"2026-01-01T00:00:00.5Z"}\n'


@pytest.fixture
def container(tmp_path: Path) -> Container:
    record = Record(id="c" * 64, name="web", created=0, image="", config=ContainerConfig(), host_config=HostConfig())
    return Container(record, tmp_path, tmp_path)


def write(path: Path, *words: str) -> None:
    with path.open("a") as file:
        file.writelines(LINE % word for word in words)


def words(follower: Follower) -> list[str]:
    return [line.log.rstrip() for line in follower.more()]


def rotate(path: Path) -> None:
    for number in (2, 1):
        newer = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
        if newer.exists():
            newer.rename(path.with_name(f"{path.name}.{number}"))


def test_no_line_is_missed_when_the_log_was_rotated_twice(container: Container) -> None:
    follower, path = Follower(container), container.log_path
    write(path, "one")
    follower.resume(Position())
    assert words(follower) == ["one"]
    write(path, "two")
    rotate(path)
    write(path, "three")
    rotate(path)
    write(path, "four")
    assert [word for _ in range(3) for word in words(follower)] == ["two", "three", "four"]
    follower.close()


def test_a_file_that_has_the_number_of_a_compressed_one_is_not_taken_for_it(container: Container) -> None:
    """The file system gives the number of a file that was compressed, and so removed, to the next that is made."""
    path = container.log_path
    write(path, "one")
    rotate(path)
    write(path, "two")
    older = path.with_name(path.name + ".1")
    with older.open("rb") as source, path.with_name(older.name + ".gz").open("wb") as target:
        write_compressed(source, target, path.stat().st_ino)
    older.unlink()
    follower = Follower(container)
    assert [line.log for line in follower.open(-1)] == ["one\n"]
    assert [words(follower) for _ in range(2)] == [["two"], []]
    follower.close()


def test_a_reader_of_a_file_that_was_compressed_goes_on_behind_the_newest_of_its_number(container: Container) -> None:
    path = container.log_path
    write(path, "one")
    follower = Follower(container)
    follower.resume(Position())
    assert words(follower) == ["one"]
    for number, word in ((2, "older"), (1, "one")):
        with io.BytesIO((LINE % word).encode()) as source, path.with_name(f"{path.name}.{number}.gz").open("wb") as gz:
            write_compressed(source, gz, path.stat().st_ino)
    path.unlink()
    write(path, "two")
    assert words(follower) == ["two"]
    follower.close()


def test_a_log_of_one_file_is_read_on_after_it_was_emptied(container: Container) -> None:
    follower, path = Follower(container), container.log_path
    write(path, "one", "two")
    follower.resume(Position())
    assert words(follower) == ["one", "two"]
    path.write_text(LINE % "three")
    assert words(follower) == ["three"]
    follower.close()


def test_a_noted_place_is_found_after_rotation(container: Container) -> None:
    first, path = Follower(container), container.log_path
    write(path, "one")
    first.resume(Position())
    assert words(first) == ["one"]
    place = first.position
    first.close()
    write(path, "two")
    rotate(path)
    write(path, "three")
    again = Follower(container)
    again.resume(place)
    assert [*words(again), *words(again)] == ["two", "three"]
    again.close()


def test_the_oldest_line_left_is_next_when_the_noted_file_is_gone(container: Container) -> None:
    write(container.log_path, "new")
    follower = Follower(container)
    follower.resume(Position(inode=1, offset=500))
    assert words(follower) == ["new"]
    follower.close()


def test_a_mark_is_read_back_and_none_is_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "mark"
    assert read_mark(path) == Mark()
    with path.open("wb") as file:
        write_mark(file.fileno(), Mark(Position(123456, 99999), 1000))
        write_mark(file.fileno(), Mark(Position(1, 2), 3))
    assert read_mark(path) == Mark(Position(1, 2), 3)


def test_what_was_sent_is_noted_in_the_end(tmp_path: Path) -> None:
    with closing(Marker(tmp_path / "mark")) as marker:
        for number in range(1, 4):
            place = Mark(Position(7, 100), number)
            marker.sent(Lines().entry(Line("x\n", "stdout", "1970-01-01T00:00:01Z"), place))
    assert read_mark(tmp_path / "mark") == Mark(Position(7, 100), 3)


def test_a_line_s_end_is_not_sent() -> None:
    entry = Lines().entry(Line("x\n", "stderr", "1970-01-01T00:00:01Z"))
    assert (entry.line, entry.part) == (b"x", None)


def test_parts_of_a_long_line_are_told_from_those_of_another_stream() -> None:
    lines, when = Lines(), "1970-01-01T00:00:01Z"
    given = (("a", "stdout"), ("x", "stderr"), ("b", "stdout"), ("c\n", "stdout"), ("y\n", "stderr"), ("d\n", "stdout"))
    parts = [lines.entry(Line(text, stream, when)).part for text, stream in given]
    assert [part and (part.ordinal, part.last) for part in parts] == [
        (1, False), (1, False), (2, False), (3, True), (2, True), None,
    ]  # fmt: skip
    assert [part.id for part in parts[:5] if part] == [parts[i].id for i in (0, 1, 0, 0, 1)]  # type: ignore[union-attr]
