"""Ports, signals, versions, identifiers, progress and frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api import identifiers, ports, progress, versions
from sampan.api.ports import Port
from sampan.api.signals import parse_signal
from sampan.api.stdcopy import Demultiplexer, Stream, frame
from sampan.api.versions import Version
from sampan.errors import InvalidParameter


def test_ports_of_a_key() -> None:
    assert ports.parse_port("80/tcp") == Port(80, "tcp")
    assert ports.parse_port("53/UDP") == Port(53, "udp")
    assert ports.parse_ports("80-82") == [Port(80, "tcp"), Port(81, "tcp"), Port(82, "tcp")]
    assert str(Port(80, "tcp")) == "80/tcp"


@pytest.mark.parametrize("text", ["", "x", "80/icmp", "65536", "2-1", "-1", "80-", "１"])
def test_no_port(text: str) -> None:
    with pytest.raises(InvalidParameter):
        ports.parse_ports(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-14", 50)],
)
def test_signal(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "NOPE", "SIG", "-9", "RTMIN+16"])
def test_no_signal(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"invalid signal|does not support signal"):
        parse_signal(text)


def test_versions_compare_by_number() -> None:
    assert versions.parse("1.9") < versions.parse("1.24") < Version(1, 41)
    assert str(versions.parse("1.40.2")) == "1.40"
    for text in ("", ".1", "1.x", "1.2.3.4", "٣.١"):
        with pytest.raises(InvalidParameter, match="invalid API version"):
            versions.parse(text)


def test_identifiers() -> None:
    identifier = identifiers.generate()
    assert len(identifier) == 64
    assert identifiers.is_prefix(identifiers.short("sha256:" + identifier))
    assert not identifiers.is_prefix("web")
    assert identifiers.check_container_name("/web-1") == "web-1"
    for name in ("", "/", "a", "-a", "a b", "ä1"):
        with pytest.raises(InvalidParameter, match="Invalid container name"):
            identifiers.check_container_name(name)


@given(st.lists(st.tuples(st.sampled_from(Stream), st.binary(max_size=40))), st.integers(1, 9))
def test_frames_come_back_whole_however_they_are_cut(frames: list[tuple[Stream, bytes]], step: int) -> None:
    data = b"".join(frame(stream, payload) for stream, payload in frames)
    demultiplexer = Demultiplexer()
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert [found for piece in pieces for found in demultiplexer.feed(piece)] == frames


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="unrecognized stream: 9"):
        list(Demultiplexer().feed(b"\x09\0\0\0\0\0\0\0"))


def test_progress_is_written_as_docker_writes_it() -> None:
    assert progress.encode(progress.stream("x\n")) == b'{"stream":"x\\n"}\r\n'
    assert progress.encode(progress.status("Pulling", "aa")) == (
        b'{"status":"Pulling","progressDetail":{},"id":"aa"}\r\n'
    )
    advanced = progress.encode(progress.advance("Downloading", "aa", 1_500, 3_000))
    assert b'"progressDetail":{"current":1500,"total":3000}' in advanced
    assert b"[=========================>                         ]    1.5kB/3kB" in advanced
    assert progress.encode(progress.failure("no", 3)) == (b'{"errorDetail":{"code":3,"message":"no"},"error":"no"}\r\n')


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.235MB"), (10**18, "1000PB")]
)
def test_size(count: int, text: str) -> None:
    assert progress.size(count) == text
