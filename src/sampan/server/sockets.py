"""Addresses that the API is served at, and their listening sockets.

unix:///run/sampan/sampan.sock      mode 0660, the group of the configuration
tcp://127.0.0.1:2375                plain; 2376 with TLS
fd://                               sockets that systemd passed (LISTEN_FDS), all or by name
"""

import errno
import grp
import logging
import os
import socket
from pathlib import Path
from typing import NamedTuple

from sampan.errors import EngineError, InvalidParameter

log = logging.getLogger(__name__)

PLAIN_PORT, TLS_PORT = 2375, 2376
DEFAULT_GROUP = "docker"
FIRST_PASSED = 3
"""The first descriptor that systemd passes (sd_listen_fds(3))."""


class Address(NamedTuple):
    """One ``-H``: scheme unix (``path``), tcp (``host``, ``port``) or fd (``path``: the name, empty for all)."""

    scheme: str
    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"tcp://{self.host}:{self.port}" if self.scheme == "tcp" else f"{self.scheme}://{self.path}"


def parse_address(text: str, *, tls: bool = False) -> Address:
    """An address as ``-H`` takes it; raises InvalidParameter."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("unix", text) if text.startswith("/") else ("tcp", text)
    if scheme == "unix":
        if not rest.startswith("/"):
            raise InvalidParameter(f"invalid address {text}: expected unix:///path")
        return Address("unix", path=rest)
    if scheme == "fd":
        return Address("fd", path="" if rest == "*" else rest)
    if scheme != "tcp":
        raise InvalidParameter(f"invalid address {text}: expected unix://, tcp:// or fd://")
    host, _, port = rest.rstrip("/").rpartition(":") if ":" in rest.rpartition("]")[2] else (rest.rstrip("/"), "", "")
    number = port or str(TLS_PORT if tls else PLAIN_PORT)
    if not (number.isascii() and number.isdecimal() and int(number) < 1 << 16):
        raise InvalidParameter(f"invalid address {text}: the port must be a number up to 65535")
    return Address("tcp", host=host.strip("[]") or "127.0.0.1", port=int(number))


def open_sockets(address: Address, group: str = "") -> list[socket.socket]:
    """Listening sockets for ``address``; raises EngineError."""
    try:
        if address.scheme == "unix":
            return [_unix(Path(address.path), group)]
        return _passed(address.path) if address.scheme == "fd" else _tcp(address)
    except OSError as error:
        raise EngineError(f"failed to listen on {address}: {error.strerror or error}") from error


def _unix(path: Path, group: str) -> socket.socket:
    """A socket at ``path``; one that nobody listens on any more is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        if _answers(path):
            raise OSError(errno.EADDRINUSE, "another process listens there")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    old_mask = os.umask(0o177)
    try:
        listening.bind(str(path))
    finally:
        os.umask(old_mask)
    _give_to_group(path, group)
    path.chmod(0o660)
    return listening


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _give_to_group(path: Path, group: str) -> None:
    """Give the socket to ``group``, a name or number; without the default group the socket is root's alone."""
    if not group:
        return
    try:
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        if group != DEFAULT_GROUP:
            raise EngineError(f"group {group} not found") from None
        log.debug("group %s does not exist: %s belongs to root alone", group, path)
        return
    os.chown(path, -1, gid)


def _tcp(address: Address) -> list[socket.socket]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address.host, address.port))
    return [listening]


def _passed(name: str) -> list[socket.socket]:
    """Sockets that systemd passed to this process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise EngineError("no sockets found via socket activation: make sure the service was started by systemd")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    chosen = [at for at in range(count) if not name or (at < len(names) and names[at] == name)]
    if not chosen:
        raise EngineError(f"no sockets found via socket activation named {name!r}")
    return [socket.socket(fileno=FIRST_PASSED + at) for at in chosen]
