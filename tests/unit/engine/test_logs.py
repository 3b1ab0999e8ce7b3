"""Reading json-file logs: tail over rotated files, half-written lines, options."""

import io

from hypothesis import given
from hypothesis import strategies as st

from sampan.api.containers import LogsOptions
from sampan.engine.log_drivers.message import chosen
from sampan.engine.logs import Line, encode, parse_lines, tail_offset, wanted

LINE = b'{"log":"%s\\n","stream":"stdout","time":"2026-01-01T00:00:00.5Z"}\n'


@given(st.lists(st.sampled_from([b"a", b"bb", b"c" * 70000]), max_size=6), st.integers(1, 8))
def test_the_tail_begins_where_as_many_lines_are_left(words: list[bytes], count: int) -> None:
    data = b"".join(word + b"\n" for word in words)
    file = io.BytesIO(data)
    offset = tail_offset(file, count)
    assert data[offset:].splitlines() == words[-count:]


def test_half_written_and_broken_lines_are_skipped() -> None:
    data = LINE % b"one" + b"\0\0\0garbage\n" + LINE % b"two" + b'{"log":"half'
    assert [line.log for line in parse_lines(data)] == ["one\n", "two\n"]


def test_streams_and_since_choose_lines() -> None:
    line = Line("x\n", "stderr", "2026-01-01T00:00:00.5Z")
    assert wanted(line, LogsOptions(stderr=True))
    assert not wanted(line, LogsOptions(stdout=True))
    assert not wanted(line, LogsOptions(stderr=True, since=1767225601 * 10**9))


def test_timestamps_and_details_come_before_the_text() -> None:
    line = Line("x\n", "stdout", "2026-01-01T00:00:00.5Z", {"a": "1", "b": "2"})
    raw = encode(line, LogsOptions(stdout=True, timestamps=True, details=True), terminal=True)
    assert raw == b"2026-01-01T00:00:00.500000000Z a=1,b=2 x\n"


def test_without_a_terminal_lines_are_framed() -> None:
    assert encode(Line("x\n", "stderr"), LogsOptions(stderr=True), terminal=False) == b"\2\0\0\0\0\0\0\2x\n"


def test_a_stream_of_json_has_a_line_a_value() -> None:
    line = Line("x\n", "stderr", "2026-01-01T00:00:00.5Z", {"a": "1"})
    plain = b'{"Line":"x\\n","Source":"stderr","Timestamp":"2026-01-01T00:00:00.5Z"}\n'
    assert encode(line, LogsOptions(json_stream="application/jsonl"), terminal=True) == plain
    detailed = encode(line, LogsOptions(json_stream="application/json-seq", details=True), terminal=False)
    assert detailed == b"\x1e" + plain[:-2] + b',"Attrs":[{"Key":"a","Value":"1"}]}\n'


def test_attributes_are_chosen_by_name_and_pattern() -> None:
    values = {"tier": "front", "build": "7", "other": "x"}
    assert chosen(values, "tier", "^bu") == {"tier": "front", "build": "7"}
