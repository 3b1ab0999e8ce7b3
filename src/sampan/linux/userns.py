"""User namespaces made to carry maps, for idmapped mounts, or to own a network namespace.

A child is forked that makes the namespaces and waits; its maps are written, the namespaces are opened, the child ends.
Source: user_namespaces(7), mount_setattr(2) "ID-mapped mounts".
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sampan.linux import idmap
from sampan.linux.idmap import IdMap
from sampan.linux.namespaces import CLONE_NEWNET, CLONE_NEWUSER
from sampan.linux.syscall import libc_call


@dataclass(frozen=True, slots=True)
class Mapped:
    """Maps, and an fd of a user namespace that carries them: what an idmapped mount is made with."""

    maps: IdMap
    namespace: int


def make(uid_map: str, gid_map: str) -> int:
    """An fd of a new user namespace with these maps (lines ``inside outside count``); the caller closes it.

    Raises OSError where the kernel refuses the namespace or a map.
    """
    with _child(lambda: libc_call("unshare", CLONE_NEWUSER)) as pid:
        _write(f"/proc/{pid}/uid_map", uid_map)
        _write(f"/proc/{pid}/gid_map", gid_map)
        return _namespace(pid, "user")


def make_with_network(maps: IdMap) -> tuple[int, int]:
    """Fds of a new user namespace and of a network namespace that its root may administer; the caller closes both."""
    with _child(lambda: libc_call("unshare", CLONE_NEWUSER | CLONE_NEWNET)) as pid:
        _write(f"/proc/{pid}/uid_map", idmap.text(maps.uids))
        _write(f"/proc/{pid}/gid_map", idmap.text(maps.gids))
        network = _namespace(pid, "net")
        try:
            return _namespace(pid, "user"), network
        except OSError:
            os.close(network)
            raise


def join_with_network(path: str) -> tuple[int, int]:
    """Fds of the user namespace at ``path`` and of a new network namespace that belongs to it; the caller closes both.

    Raises OSError where there is no such namespace, or it is this process's own.
    """
    user = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def enter() -> None:
        libc_call("setns", user, CLONE_NEWUSER)
        libc_call("unshare", CLONE_NEWNET)

    try:
        with _child(enter) as pid:
            return user, _namespace(pid, "net")
    except OSError:
        os.close(user)
        raise


def identity(pid: int) -> str:
    """The name of the user namespace a process is in: ``user:[4026531837]``; raises FileNotFoundError."""
    return str(Path(f"/proc/{pid}/ns/user").readlink())


@contextmanager
def _child(enter: Callable[[], object]) -> Iterator[int]:
    """The pid of a child that has done ``enter`` and waits; it ends with the context."""
    ready, told = os.pipe2(os.O_CLOEXEC)
    wait, go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _carry(enter, told, wait, go)
    os.close(told)
    os.close(wait)
    try:
        if not os.read(ready, 1):
            raise OSError(1, "unshare: no user namespace can be made here")
        yield pid
    finally:
        os.close(ready)
        os.close(go)
        os.waitpid(pid, 0)


def _carry(enter: Callable[[], object], told: int, wait: int, go: int) -> None:
    """The child: only system calls, as other threads' locks were forked with it."""
    try:
        os.close(go)
        enter()
        os.write(told, b"1")
        os.read(wait, 1)
    finally:
        os._exit(0)


def _namespace(pid: int, file: str) -> int:
    return os.open(f"/proc/{pid}/ns/{file}", os.O_RDONLY | os.O_CLOEXEC)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
