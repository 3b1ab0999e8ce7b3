"""Joining the terminal to a container: raw mode, window size, and the multiplexed stream.

A container without a terminal sends frames (1 byte stream, 3 zero bytes, 4 bytes length, big endian, then data);
one with a terminal sends bytes as they are.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

HEADER = struct.Struct(">BxxxL")
CHUNK = 1 << 16


@contextlib.contextmanager
def raw_terminal(wanted: bool) -> Iterator[None]:
    """Put stdin's terminal into raw mode for the block, if ``wanted`` and it is one."""
    if not wanted or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def window_changes(tell: Callable[[int, int], None]) -> Iterator[None]:
    """Call ``tell(rows, columns)`` now and whenever the window changes, during the block."""

    def changed(*_: object) -> None:
        size = shutil.get_terminal_size()
        tell(size.lines, size.columns)

    before = signal.signal(signal.SIGWINCH, changed)
    changed()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def send_stdin(sock: socket.socket) -> None:
    """Copy stdin to the socket in a thread, then half-close it."""

    def copy() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(0, CHUNK):
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

    threading.Thread(target=copy, daemon=True).start()


def show_raw(file: BinaryIO) -> None:
    """Copy a terminal's bytes to stdout until the connection ends."""
    while data := file.read1(CHUNK):  # type: ignore[attr-defined]
        write(1, data)


def show_frames(file: BinaryIO) -> None:
    """Copy frames to stdout and stderr until the connection ends."""
    while len(header := file.read(HEADER.size)) == HEADER.size:
        stream, length = HEADER.unpack(header)
        write(2 if stream == 2 else 1, file.read(length))


def show_chunks(chunks: Iterable[bytes], multiplexed: bool) -> None:
    """Copy an answer's body to stdout and stderr, demultiplexing frames split anywhere."""
    pending = b""
    for chunk in chunks:
        if not multiplexed:
            write(1, chunk)
            continue
        pending += chunk
        while len(pending) >= HEADER.size:
            stream, length = HEADER.unpack_from(pending)
            if len(pending) < HEADER.size + length:
                break
            write(2 if stream == 2 else 1, pending[HEADER.size : HEADER.size + length])
            pending = pending[HEADER.size + length :]


def write(fd: int, data: bytes) -> None:
    """Write all of ``data``."""
    while data:
        data = data[os.write(fd, data) :]
