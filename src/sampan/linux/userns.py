"""A user namespace made only to carry maps, for idmapped mounts.

A child is forked that makes the namespace and waits; its maps are written, the namespace is opened, the child ends.
Source: user_namespaces(7), mount_setattr(2) "ID-mapped mounts".
"""

import os

from sampan.linux.syscall import libc_call

CLONE_NEWUSER = 0x10000000


def make(uid_map: str, gid_map: str) -> int:
    """An fd of a new user namespace with these maps (lines ``inside outside count``); the caller closes it.

    Raises OSError where the kernel refuses the namespace or a map.
    """
    ready, told = os.pipe2(os.O_CLOEXEC)
    wait, go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _carry(told, wait, go)
    os.close(told)
    os.close(wait)
    try:
        if not os.read(ready, 1):
            raise OSError(1, "unshare: no user namespace can be made here")
        _write(f"/proc/{pid}/uid_map", uid_map)
        _write(f"/proc/{pid}/gid_map", gid_map)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready)
        os.close(go)
        os.waitpid(pid, 0)


def _carry(told: int, wait: int, go: int) -> None:
    """The child: only system calls, as other threads' locks were forked with it."""
    try:
        os.close(go)
        libc_call("unshare", CLONE_NEWUSER)
        os.write(told, b"1")
        os.read(wait, 1)
    finally:
        os._exit(0)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
