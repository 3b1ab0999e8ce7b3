"""The json-file log: lines, splitting, encoding, rotation."""

import asyncio
import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.runtime.launch import LogFile


async def logged(box: Any, start: Any, script: str, log: LogFile | None = None) -> list[dict[str, Any]]:
    monitor = await start(box.launch("sh", "-c", script, log_file=log or LogFile(box.log)))
    await asyncio.wait_for(monitor.drained(), 20)
    return [json.loads(line) for line in box.log.read_bytes().splitlines()]


async def test_time_is_rfc3339_with_nanoseconds_in_utc(box: Any, start: Any) -> None:
    (entry,) = await logged(box, start, "echo now")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", entry["time"])
    assert list(entry) == ["log", "stream", "time"]


async def test_long_lines_are_split_at_16_kib(box: Any, start: Any) -> None:
    entries = await logged(box, start, "printf '%040000d\\n' 0; echo short")
    assert [len(entry["log"]) for entry in entries] == [16384, 16384, 40001 - 32768, 6]
    assert [entry["log"].endswith("\n") for entry in entries] == [False, False, True, True]


async def test_a_line_written_in_pieces_is_one_entry(box: Any, start: Any) -> None:
    entries = await logged(box, start, "printf one; sleep 0.1; printf ' two'; sleep 0.1; echo ' three'; printf end")
    assert [entry["log"] for entry in entries] == ["one two three\n", "end"]


async def test_what_is_not_utf8_becomes_the_replacement_character(box: Any, start: Any) -> None:
    raw = r"\377a\303\251\355\240\200\302\n\342\202\254\360\237\230\200\364\220\200\200\n"
    first, second = await logged(box, start, f"printf '{raw}'")
    assert first["log"] == "\ufffdaé\ufffd\ufffd\ufffd\ufffd\n"
    assert second["log"] == "€😀\ufffd\ufffd\ufffd\ufffd\n"


async def test_an_exact_log_has_the_bytes_of_what_is_not_utf8(box: Any, start: Any) -> None:
    script = r"printf '\377\n'; printf '\377a\n'; printf 'a\303\n'; echo fine; head -c 40000 /bin/busybox"
    entries = await logged(box, start, script, LogFile(box.log, exact=True))
    raw = [base64.b64decode(entry["bytes"]) if "bytes" in entry else entry["log"].encode() for entry in entries]
    assert raw[:4] == [b"\377\n", b"\377a\n", b"a\303\n", b"fine\n"]
    assert sum(map(len, raw[4:])) == 40000
    assert "bytes" not in entries[3]


async def test_control_characters_and_markup_are_escaped_as_go_does(box: Any, start: Any) -> None:
    (entry,) = await logged(box, start, r"""printf '\t\033[0m"\\<&>\r\n'""")
    assert entry["log"] == '\t\x1b[0m"\\<&>\r\n'
    assert r"\t\u001b[0m\"\\\u003c\u0026\u003e\r\n" in box.log.read_text()


async def test_attributes_stand_in_every_line(box: Any, start: Any) -> None:
    entries = await logged(box, start, "echo a; echo b >&2", LogFile(box.log, attributes='{"tag":"t"}'))
    assert [entry["attrs"] for entry in entries] == [{"tag": "t"}] * 2


async def test_a_full_file_is_rotated_and_the_oldest_goes(box: Any, start: Any) -> None:
    await logged(box, start, "seq 1000", LogFile(box.log, max_size=10_000, max_files=3))
    files = [box.log, Path(f"{box.log}.1"), Path(f"{box.log}.2")]
    numbers = [int(json.loads(line)["log"]) for file in reversed(files) for line in file.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 1001)) and numbers[0] > 1
    assert all(file.stat().st_size < 10_200 for file in files)
    assert not Path(f"{box.log}.3").exists()


async def test_with_one_file_rotation_starts_over(box: Any, start: Any) -> None:
    entries = await logged(box, start, "seq 1000", LogFile(box.log, max_size=10_000))
    assert entries[-1]["log"] == "1000\n" and entries[0]["log"] != "1\n"
    assert not Path(f"{box.log}.1").exists()


async def test_without_a_log_nothing_is_written(box: Any, start: Any) -> None:
    monitor = await start(box.launch("echo", "quiet", log=False))
    await asyncio.wait_for(monitor.drained(), 10)
    assert not box.log.exists()


PIPE = 64 << 10


@pytest.fixture
def stuck(box: Any) -> Iterator[int]:
    """A log file that takes 64 KiB and no more until somebody reads it."""
    os.mkfifo(box.log)
    fd = os.open(box.log, os.O_RDWR | os.O_NONBLOCK)
    yield fd
    os.close(fd)


async def read_until_gone(fd: int, monitor: Any) -> bytes:
    """What is written until the monitor is gone."""
    data, gone = bytearray(), asyncio.ensure_future(monitor.drained())
    while True:
        try:
            data += os.read(fd, PIPE)
        except BlockingIOError:
            if gone.done():
                return bytes(data)
            await asyncio.wait([gone], timeout=0.01)


async def test_with_a_queue_a_disk_that_stands_still_stops_no_program(box: Any, start: Any, stuck: int) -> None:
    queue = 100_000
    monitor = await start(box.launch("seq", "50000", log_file=LogFile(box.log, queue=queue)))
    assert (await asyncio.wait_for(monitor.wait(), 20)).status == 0
    data = await asyncio.wait_for(read_until_gone(stuck, monitor), 20)
    numbers = [int(json.loads(line)["log"]) for line in data.splitlines()]
    assert len(data) <= PIPE + queue + 1000
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
    assert len(numbers) + monitor.dropped == 50000


async def test_what_a_queue_drops_are_whole_lines(box: Any, start: Any, stuck: int) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do printf '%040000d\\n' $i; echo $i; done"
    monitor = await start(box.launch("sh", "-c", script, log_file=LogFile(box.log, queue=50_000)))
    assert (await asyncio.wait_for(monitor.wait(), 20)).status == 0
    data = await asyncio.wait_for(read_until_gone(stuck, monitor), 20)
    lines = "".join(json.loads(line)["log"] for line in data.splitlines()).splitlines()
    short = [line for line in lines if len(line) == 1]
    assert short == sorted(short) and short
    assert all(len(line) in (1, 16384, 32768, 40000) for line in lines)
    assert monitor.dropped > 0


async def test_a_queue_loses_nothing_where_the_disk_is_fast(box: Any, start: Any) -> None:
    log = LogFile(box.log, max_size=100_000, max_files=200, queue=64 << 20)
    monitor = await start(box.launch("seq", "100000", log_file=log))
    await asyncio.wait_for(monitor.drained(), 20)
    files = sorted(box.log.parent.glob("json.log.*"), key=lambda path: -int(path.suffix[1:]))
    lines = [line for file in [*files, box.log] for line in file.read_text().splitlines()]
    assert [int(json.loads(line)["log"]) for line in lines] == list(range(1, 100_001))
    assert all(100_000 <= file.stat().st_size < 100_200 for file in files)


async def test_a_small_queue_loses_nothing_that_it_does_not_count(box: Any, start: Any) -> None:
    script = "seq 30000; head -c 300000 /dev/zero; echo; seq 100"
    monitor = await start(box.launch("sh", "-c", script, log_file=LogFile(box.log, queue=3000)))
    await asyncio.wait_for(monitor.drained(), 20)
    logged = "".join(json.loads(line)["log"] for line in box.log.read_text().splitlines())
    assert logged.count("\n") + monitor.dropped >= 30101
    numbers = [int(line) for line in logged.split("\n") if line.isdecimal()]
    assert set(numbers) <= set(range(1, 30001))
