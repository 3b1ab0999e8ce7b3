"""Unix sockets: packets with descriptors (unix(7), SCM_RIGHTS), peers' credentials, addresses of any length."""

import array
import errno
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

MAXIMUM_DESCRIPTORS = 253  # SCM_MAX_FD
SO_PEERGROUPS = 59  # asm-generic/socket.h; socket.SO_PEERGROUPS does not exist
MAXIMUM_OPTION = 1024


def send_packet(connection: socket.socket, parts: Sequence[bytes], fds: Sequence[int] = ()) -> None:
    """Send one packet, descriptors duplicated to the receiver. Raises BlockingIOError, BrokenPipeError."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg(list(parts), rights, socket.MSG_NOSIGNAL)


def receive_packet(connection: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """The next packet and its descriptors (close-on-exec, the caller's to close); b"" at the end."""
    room = socket.CMSG_SPACE(MAXIMUM_DESCRIPTORS * 4)
    data, rights, _flags, _address = connection.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, body in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(body[: len(body) - len(body) % 4])
    return data, list(fds)


def peer_pid(connection: socket.socket) -> int:
    """Pid of the process that listened (for a client) or connected (for a server): SO_PEERCRED."""
    pid, _uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


def peer_groups(connection: socket.socket) -> list[int]:
    """Supplementary groups of the process that connected: SO_PEERGROUPS (Linux 4.13).

    Empty for a process in more groups than Python's getsockopt has room for (256).
    """
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MAXIMUM_OPTION)
    except OSError as error:
        if error.errno in (errno.ERANGE, errno.ENODATA):
            return []
        raise
    return list(array.array("I", raw))


def connect_beneath(directory: Path, name: str, kind: socket.SocketKind = socket.SOCK_SEQPACKET) -> socket.socket:
    """Connect to the socket ``name`` in ``directory``, by way of its descriptor: sun_path holds 107 bytes only.

    Raises FileNotFoundError, ConnectionRefusedError.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection = socket.socket(socket.AF_UNIX, kind)
        try:
            connection.connect(f"/proc/self/fd/{fd}/{name}")
        except BaseException:
            connection.close()
            raise
        return connection
    finally:
        os.close(fd)


def listen_beneath(directory: Path, name: str, kind: socket.SocketKind = socket.SOCK_SEQPACKET) -> socket.socket:
    """Listen on a new socket ``name`` in ``directory``. Raises OSError (EADDRINUSE where the name exists)."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener = socket.socket(socket.AF_UNIX, kind)
        try:
            listener.bind(f"/proc/self/fd/{fd}/{name}")
            listener.listen()
        except BaseException:
            listener.close()
            raise
        return listener
    finally:
        os.close(fd)
