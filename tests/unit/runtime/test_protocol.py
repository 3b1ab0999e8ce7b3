"""The packets between daemons and monitors, byte by byte: monitors of older releases go on saying exactly these."""

import asyncio
import os
import socket
import struct
from pathlib import Path

import pytest

from sampan.runtime.channel import Channel
from sampan.runtime.launch import AttachedStream, Ending
from sampan.runtime.monitor import Monitor
from sampan.runtime.protocol import Message, MessageKind


def packet(kind: int, serial: int = 0, process: int = 0, flags: int = 0, *v: int, text: bytes = b"") -> bytes:
    """What version 1 put on the socket; written out here, for the product's own table may change."""
    return struct.pack("=4I4q", kind, serial, process, flags, *(*v, 0, 0, 0, 0)[:4]) + text


def said(connection: socket.socket) -> tuple[tuple[int, ...], bytes, list[int]]:
    """The daemon's next words: head, text and descriptors."""
    data, fds, _, _ = socket.recv_fds(connection, 65536, 8)
    return struct.unpack("=4I4q", data[:48]), data[48:], fds


class FirstRelease:
    """A monitor of the first release, at one end of a socket pair."""

    def __init__(self, path: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen()

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.setblocking(True)
        return connection

    def greet(self, connection: socket.socket) -> None:
        """An exec that runs, one that has ended, and the first process: without a version."""
        connection.sendall(packet(17, 0, 7, 0, 4711, text=b"e" * 64 + b"\0"))
        connection.sendall(packet(21, 0, 8, 0, 3, 0, 1_700_000_000, 500, text=b"f" * 64 + b"\0"))
        connection.sendall(packet(16, 0, 0, 0, 4710, 1_700_000_000_000_000_000, text=b"c" * 64 + b"\0"))


async def test_a_monitor_of_the_first_release_is_understood(tmp_path: Path) -> None:
    run_dir, state_dir = (tmp_path / name for name in ("run", "state"))
    run_dir.mkdir()
    state_dir.mkdir()
    old = FirstRelease(str(run_dir / "monitor.sock"))
    reconnecting = asyncio.create_task(Monitor.reconnect(run_dir, state_dir))
    connection = await asyncio.to_thread(old.accept)
    await asyncio.to_thread(old.greet, connection)
    monitor = await reconnecting
    assert monitor is not None
    assert (monitor.pid, monitor.started_at) == (4710, 1_700_000_000.0)
    assert {id[0]: handle.pid for id, handle in monitor.execs.items()} == {"e": 4711, "f": 0}
    assert (await monitor.execs["f" * 64].wait()).status == 3

    sent = asyncio.create_task(monitor.signal(15))
    head, text, _ = await asyncio.to_thread(said, connection)
    assert (head[0], head[2], head[4]) == (5, 0, 15)
    connection.sendall(packet(24, head[1]))
    assert await sent

    sized = asyncio.create_task(monitor.resize(24, 80, "e" * 64))
    head, _, _ = await asyncio.to_thread(said, connection)
    assert (head[0], head[2], *head[4:6]) == (4, 7, 24, 80)
    connection.sendall(packet(24, head[1]))
    await sized

    with socket.socket(socket.AF_UNIX) as client:
        stream = AttachedStream(fd=client.fileno(), stdin=False, framed=True, detach_keys=b"\x10\x11", early=b"ab")
        attaching = asyncio.create_task(monitor.attach(stream))
        head, text, fds = await asyncio.to_thread(said, connection)
    os.close(fds[0])
    assert (head[0], head[2], head[3], *head[5:]) == (2, 0, 2 | 4 | 8, int(stream.at_end), 2, 2)
    assert text == b"\x10\x11ab"
    connection.sendall(packet(24, head[1]))
    done = await attaching
    connection.sendall(packet(22, 0, 0, 0, head[4], 1))
    assert await done is Ending.DETACHED

    connection.sendall(packet(21, 0, 0, 1, 137, 9, 1_700_000_001, 0, text=b"c" * 64 + b"\0"))
    ended = await monitor.wait()
    assert (ended.status, ended.signal, ended.oom_killed, ended.finished_at) == (137, 9, True, 1_700_000_001.0)
    connection.close()
    await monitor.close()
    old.listener.close()


async def test_what_a_newer_monitor_says_beyond_our_knowledge_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    heard: list[Message] = []
    closed = asyncio.Event()
    channel = Channel(ours, lambda message, fds: heard.append(message), closed.set)
    theirs.sendall(packet(99, text=b"something new\0"))
    theirs.sendall(b"short")
    theirs.sendall(packet(16, 0, 0, 0, 1))
    theirs.close()
    await closed.wait()
    channel.close()
    assert [message.kind for message in heard] == [MessageKind.HELLO]
    assert "unknown message" in caplog.text
