"""Logging drivers: options, tags, the bytes of each protocol, and what happens when a receiver is away."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from sampan.engine.log_drivers import forward, gelf, options
from sampan.engine.log_drivers.fluentd import Fluentd
from sampan.engine.log_drivers.gelf import Gelf
from sampan.engine.log_drivers.journald import Journald
from sampan.engine.log_drivers.message import Entry, Part, Source
from sampan.engine.log_drivers.syslog import Syslog
from sampan.engine.log_drivers.transport import Datagrams, FirstOf
from sampan.errors import InvalidParameter

TIME = 1_700_000_000_123_456_789
OUT = Entry(TIME, "stdout", b"hello")
ERR = Entry(TIME, "stderr", b"two\nlines")
SOURCE = Source(
    "c" * 64,
    "web",
    "sha256:" + "d" * 64,
    "nginx:1",
    ("nginx", "-g"),
    TIME,
    "docker",
    {"team": "a", "x": "y"},
    ("TEAM=b",),
)


@pytest.mark.parametrize(
    ("driver", "given", "told"),
    [
        ("splunk", {}, 'error looking up logging plugin splunk: plugin "splunk" not found'),
        ("syslog", {"nope": "1"}, "unknown log opt 'nope' for syslog log driver"),
        ("local", {"nope": "1"}, "unknown log opt 'nope' for log driver local"),
        ("gelf", {"gelf-address": "udp://h:1", "nope": "1"}, 'unknown log opt "nope" for gelf log driver'),
        ("json-file", {"mode": "sometimes"}, "logger: logging mode not supported: sometimes"),
        ("json-file", {"max-buffer-size": "1m"}, "max-buffer-size option is only supported with 'mode=non-blocking'"),
        ("json-file", {"mode": "non-blocking", "max-buffer-size": "x"}, "error parsing option max-buffer-size"),
        ("json-file", {"cache-disabled": "maybe"}, "invalid value for option cache-disabled: maybe"),
        ("json-file", {"max-size": "much"}, "invalid size: 'much'"),
        ("json-file", {"max-size": "0"}, "max-size must be a positive number"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-file": "two"}, 'strconv.Atoi: parsing "two": invalid syntax'),
        ("json-file", {"compress": "yes"}, 'strconv.ParseBool: parsing "yes": invalid syntax'),
        ("json-file", {"compress": "1", "max-file": "1"}, "compress cannot be true when max-file is less than 2"),
        ("json-file", {"env-regex": "("}, "error parsing regexp"),
        ("local", {"max-size": "x"}, "invalid value for max-size: x: invalid size: 'x'"),
        ("local", {"max-file": "1"}, "compression cannot be enabled when max file count is 1"),
        ("syslog", {"cache-max-size": "x"}, "invalid size: 'x'"),
        ("syslog", {"syslog-format": "rfc1"}, "Invalid syslog format"),
        ("syslog", {"syslog-facility": "nobody"}, "invalid syslog facility"),
        ("syslog", {"syslog-address": "http://x"}, "unsupported scheme: 'http'"),
        ("syslog", {"syslog-address": "unix:///nowhere"}, "stat /nowhere: no such file or directory"),
        ("gelf", {}, "gelf-address is a required parameter"),
        ("gelf", {"gelf-address": "http://h:1"}, "gelf: endpoint needs to be TCP or UDP"),
        ("gelf", {"gelf-address": "udp://h"}, "gelf: please provide gelf-address as proto://host:port"),
        ("gelf", {"gelf-address": "udp://h:1", "gelf-compression-type": "z"}, 'unknown value "z" for log opt'),
        ("gelf", {"gelf-address": "tcp://h:1", "gelf-compression-level": "1"}, "compression is only supported on UDP"),
        ("gelf", {"gelf-address": "udp://h:1", "gelf-tcp-max-reconnect": "1"}, "is only valid for TCP"),
        ("fluentd", {"labels-regex": "("}, "error parsing regexp"),
        ("fluentd", {"fluentd-address": "ftp://h"}, "unsupported scheme: 'ftp'"),
        ("fluentd", {"fluentd-address": "h:1/path"}, "should not contain a path element"),
        ("fluentd", {"fluentd-async": "maybe"}, 'strconv.ParseBool: parsing "maybe": invalid syntax'),
        ("fluentd", {"fluentd-async-reconnect-interval": "1h"}, "must be between 100ms and 10s"),
        ("fluentd", {"fluentd-write-timeout": "-1s"}, "must be a duration that is non-negative"),
        ("fluentd", {"fluentd-buffer-limit": "x"}, "invalid size: 'x'"),
    ],
)
def test_a_wrong_option_is_named(driver: str, given: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        options.check(driver, given)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("driver", "given"),
    [
        ("json-file", {"max-size": "10k", "max-file": "3", "compress": "true", "cache-max-size": "1m"}),
        ("local", {"labels": "x", "env": "y", "tag": "z", "compress": "false", "max-file": "1"}),
        ("syslog", {"mode": "non-blocking", "max-buffer-size": "4m", "cache-disabled": "true"}),
        ("gelf", {"gelf-address": "tcp://h:1", "gelf-tcp-max-reconnect": "3", "gelf-tcp-reconnect-delay": "0"}),
        ("fluentd", {"fluentd-address": "tls://h:1", "fluentd-max-retries": "3", "fluentd-retry-wait": "1s"}),
        ("journald", {"tag": "x", "labels-regex": "^a"}),
        ("none", {"whatever": "1"}),
    ],
)
def test_right_options_are_accepted(driver: str, given: dict[str, str]) -> None:
    options.check(driver, given)


async def test_syslog_writes_priority_and_format() -> None:
    given = {"syslog-address": "udp://127.0.0.1:5140", "syslog-format": "rfc5424micro", "syslog-facility": "local1"}
    driver = Syslog(given, SOURCE)
    told = driver.encode(OUT).decode()
    assert told.startswith("<142>1 2023-11-14T22:13:20.123456Z ")
    assert told.endswith(" - hello\n")
    assert driver.encode(ERR).startswith(b"<139>1 ")
    await driver.close()


async def test_gelf_carries_the_container_and_chosen_labels() -> None:
    driver = Gelf({"gelf-address": "udp://127.0.0.1:12201", "labels": "team", "env-regex": "^TE"}, SOURCE)
    told = json.loads(driver.encode(ERR))
    assert (told["level"], told["short_message"], told["_container_name"]) == (3, "two\nlines", "web")
    assert (told["_team"], told["_TEAM"]) == ("a", "b")
    assert "_x" not in told
    await driver.close()


def test_long_gelf_messages_are_cut_into_chunks() -> None:
    parts = list(gelf.chunks(bytes(3000)))
    assert [(part[:2], part[10], part[11]) for part in parts] == [(gelf.MAGIC, n, 3) for n in range(3)]
    assert sum(len(part) - 12 for part in parts) == 3000
    with pytest.raises(OSError, match="too long"):
        list(gelf.chunks(bytes(gelf.CHUNK * 129)))


async def test_gelf_datagrams_are_compressed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        driver = Gelf({"gelf-address": f"udp://127.0.0.1:{receiver.getsockname()[1]}"}, SOURCE)
        await driver.send(OUT)
        await driver.close()
        assert json.loads(gzip.decompress(receiver.recv(65536)))["short_message"] == "hello"


async def test_fluentd_speaks_the_forward_protocol() -> None:
    driver = Fluentd({"tag": "docker.{{.Name}}", "fluentd-sub-second-precision": "true"}, SOURCE)
    tag, when, record, option = msgspec.msgpack.decode(
        driver.encode(Entry(TIME, "stdout", b"x", Part("p", 2, last=False)))
    )
    assert (tag, option) == ("docker.web", {})
    assert (when.code, int.from_bytes(when.data[:4]), int.from_bytes(when.data[4:])) == (0, 1700000000, 123456789)
    assert record == {"container_id": "c" * 64, "container_name": "/web", "source": "stdout", "log": "x",
                      "partial_message": "true", "partial_id": "p", "partial_ordinal": "2",
                      "partial_last": "false"}  # fmt: skip


async def test_bytes_that_are_no_text_are_sent_as_they_are() -> None:
    entry = Entry(TIME, "stdout", b"\xffx")
    syslog = Syslog({"syslog-address": "udp://127.0.0.1:5140"}, SOURCE)
    assert syslog.encode(entry).endswith(b": \xffx\n")
    told = Fluentd({}, SOURCE).encode(entry)
    assert b"\xa3log\xdb\x00\x00\x00\x02\xffx" in told
    assert msgspec.msgpack.decode(told.replace(b"\xff", b"y"))[2]["log"] == "yx"


async def test_journald_frames_values_with_line_feeds(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "journal"))
        receiver.settimeout(5)
        driver = Journald({"labels": "team"}, SOURCE, str(tmp_path / "journal"))
        await driver.send(ERR)
        await driver.close()
        told = receiver.recv(65536)
    assert told.startswith(b"MESSAGE\n" + (9).to_bytes(8, "little") + b"two\nlines\n")
    assert b"\nPRIORITY=3\n" in told
    assert b"\nTEAM=a\n" in told


async def test_a_journal_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="journald is not enabled on this host"):
        await Journald({}, SOURCE, str(tmp_path / "journal")).open()


async def test_the_first_place_of_several_where_somebody_listens_is_taken(tmp_path: Path) -> None:
    places = [Datagrams(str(tmp_path / "absent")), Datagrams(str(tmp_path / "log"))]
    transport = FirstOf(places, "Unix syslog delivery error")
    with pytest.raises(OSError, match="Unix syslog delivery error"):
        await transport.connect()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        receiver.settimeout(5)
        await transport.send(b"here")
        assert receiver.recv(100) == b"here"
    await transport.close()


async def test_a_name_that_cannot_be_is_told() -> None:
    with pytest.raises(OSError, match=r"dial tcp: lookup \.\.: no such host"):
        await Fluentd({"fluentd-address": "tcp://..:1"}, SOURCE).open()


class Flaky:
    """A sink that fails a number of times before each delivery."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.got: list[bytes] = []
        self.closed = False

    async def open(self) -> None:
        """It is there."""

    async def send(self, entry: Entry) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        self.got.append(entry.line)

    async def close(self) -> None:
        self.closed = True


async def entries() -> AsyncIterator[Entry]:
    for number in range(3):
        yield Entry(number, "stdout", str(number).encode())


async def test_a_blocking_forwarder_tries_until_everything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def no_sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", no_sleep)
    sink = Flaky(3)
    forwarder = forward.Forwarder(sink)
    await forwarder.run(entries())
    assert sink.got == [b"0", b"1", b"2"]
    assert pauses == [0.5, 1.0, 2.0]
    assert (forwarder.position, sink.closed) == (2, True)


async def test_a_non_blocking_forwarder_keeps_what_its_buffer_holds_and_counts_the_rest() -> None:
    sink = Flaky(1)
    forwarder = forward.Forwarder(sink, room=forward.Room(2), patience=forward.Patience(0.01))
    await forwarder.run(entries())
    assert (sink.got, forwarder.dropped, forwarder.sent) == ([b"0", b"1"], 1, 2)


async def test_a_non_blocking_forwarder_drops_nothing_of_what_can_be_sent_at_once() -> None:
    sink = Flaky(0)
    forwarder = forward.Forwarder(sink, room=forward.Room(1))
    await forwarder.run(entries())
    assert (sink.got, forwarder.dropped) == ([b"0", b"1", b"2"], 0)


async def test_a_forwarder_with_few_attempts_gives_an_entry_up() -> None:
    sink = Flaky(2)
    forwarder = forward.Forwarder(sink, patience=forward.Patience(0.0, attempts=2))
    await forwarder.run(entries())
    assert (sink.got, forwarder.dropped) == ([b"1", b"2"], 1)


async def test_an_entry_that_no_datagram_holds_does_not_keep_the_next_ones() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)

        async def given() -> AsyncIterator[Entry]:
            yield Entry(TIME, "stdout", b"x" * 70_000)
            yield OUT

        driver = Syslog({"syslog-address": f"udp://127.0.0.1:{receiver.getsockname()[1]}"}, SOURCE)
        forwarder = forward.Forwarder(driver)
        await forwarder.run(given())
        assert receiver.recv(4096).endswith(b": hello\n")
        assert (forwarder.sent, forwarder.dropped) == (1, 1)


async def test_fluentd_waits_for_the_receipt_it_asks_for(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = msgspec.msgpack.decode(await reader.read(65536))
        writer.write(msgspec.msgpack.encode({"ack": message[3]["chunk"]}))
        writer.write(msgspec.msgpack.encode({"ack": message[3]["chunk"]}))
        await reader.read()
        writer.close()

    given = {"fluentd-address": f"unix://{tmp_path}/in", "fluentd-request-ack": "true"}
    async with await asyncio.start_unix_server(answer, tmp_path / "in"):
        driver = Fluentd(given, SOURCE)
        await driver.send(OUT)
        with pytest.raises(OSError, match="another message"):
            await driver.send(OUT)
        await driver.close()


@pytest.mark.parametrize(
    ("options", "room"),
    [
        ({}, forward.Room()),
        ({"mode": "non-blocking"}, forward.Room(10**6)),
        ({"mode": "non-blocking", "max-buffer-size": "4m"}, forward.Room(4 << 20)),
        ({"fluentd-buffer-limit": "2m"}, forward.Room()),
        ({"fluentd-async": "true"}, forward.Room()),
        ({"fluentd-async": "true", "fluentd-buffer-limit": "2m"}, forward.Room(2 << 20, entries=True)),
    ],
)
def test_what_may_wait_for_a_receiver_is_bounded_where_options_say_so(
    options: dict[str, str], room: forward.Room
) -> None:
    assert forward.room_of(options) == room
