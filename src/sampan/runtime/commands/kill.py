"""kill, delete: signals to a container, and the end of one."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from sampan.errors import Conflict, InvalidParameter, NotFound
from sampan.linux import mount
from sampan.oci.runtime_spec import Hooks, Linux
from sampan.runtime import hooks
from sampan.runtime.cli import one_id
from sampan.runtime.error_log import warn
from sampan.runtime.flags import Kind, Switch, parse
from sampan.runtime.state import Container, Containers, locked, mount_id

FLAGS: dict[str, tuple[dict[str, Kind], dict[str, str]]] = {
    "kill": ({"all": Switch}, {"a": "all"}),
    "delete": ({"force": Switch}, {"f": "force"}),
}

KILL_PATIENCE = 10.0
"""Seconds ``delete`` waits for a killed process to end."""


def kill(root: Path, words: list[str]) -> int:
    """``kill [--all] ID [SIGNAL]``; the default is SIGTERM."""
    arguments = parse(words, *FLAGS["kill"])
    if not 1 <= len(arguments.words) <= 2:
        raise InvalidParameter('sampan-runtime: "kill" requires a minimum of 1 and a maximum of 2 arguments')
    container_id, *name = arguments.words
    number = signal_number(name[0] if name else "SIGTERM")
    container = Containers(root).find(container_id)
    running = container.status() not in {"stopped", "creating"}
    if arguments.on("all") or (number == signal.SIGKILL and _owns_cgroup(container) and not has_own_pids(container)):
        _signal_all(container, number)
    elif not running:
        raise Conflict("container not running")
    else:
        _signal(container, number)
    return 0


def signal_number(text: str) -> int:
    """``9``, ``KILL`` or ``SIGKILL``; raises InvalidParameter."""
    if text.isdecimal():
        return int(text)
    name = text.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name.startswith(("SIGRTMIN+", "SIGRTMAX-")):
        base, offset = name[:8], name[8:]
        if offset[1:].isdecimal():
            return int(signal.Signals[base]) + int(offset)
    if name not in signal.Signals.__members__:
        raise InvalidParameter(f'unknown signal "{text}"')
    return int(signal.Signals[name])


def has_own_pids(container: Container) -> bool:
    """Whether all processes of the container end with the first: it has a pid namespace of its own."""
    namespaces = (container.spec.linux or Linux()).namespaces
    return any(one.type == "pid" and not one.path for one in namespaces)


def _owns_cgroup(container: Container) -> bool:
    """Whether all in its cgroup is the container's: it was made for it, and is still there."""
    cgroup = container.cgroup
    return cgroup is not None and cgroup.exists() and not container.record.cgroup_found


def _signal(container: Container, number: int) -> None:
    """To the first process. A signal that ends it must also wake it: a frozen one could not die."""
    try:
        os.kill(container.record.pid, number)
    except ProcessLookupError:
        raise Conflict("container not running") from None
    except OSError as error:
        raise InvalidParameter(f"unable to signal init: {os.strerror(error.errno or 0).lower()}") from error
    cgroup = container.cgroup
    if number == signal.SIGKILL and cgroup and cgroup.frozen():
        cgroup.thaw()


def _signal_all(container: Container, number: int) -> None:
    cgroup = container.cgroup
    if cgroup is None or not cgroup.exists():
        return
    if number == signal.SIGKILL:
        cgroup.kill()
    else:
        cgroup.signal(number)


def delete(root: Path, words: list[str]) -> int:
    """``delete [--force] ID``; forced, one that does not exist is no error. One only created is not stopped either."""
    arguments = parse(words, *FLAGS["delete"], anywhere=True)
    container_id = one_id(arguments.words, "delete")
    force = arguments.on("force")
    try:
        container = Containers(root).find(container_id)
    except NotFound:
        if force:
            return 0
        raise
    with locked(container.directory):
        status = Containers(root).find(container_id).status()
        if status != "stopped" and not force:
            raise Conflict(f"cannot delete container {container_id} that is not stopped: {status}")
        destroy(container)
    return 0


def destroy(container: Container) -> None:
    """End the container's processes and give everything back: cgroup, mounts, directory. Hooks poststop are last."""
    _end(container)
    cgroup = container.cgroup
    if cgroup is not None and not container.record.cgroup_found:
        cgroup.remove()
    _unmount(container)
    wanted, state = (container.spec.hooks or Hooks()).poststop, container.state("stopped")
    container.remove()
    for failure in hooks.run_all("poststop", wanted, state) if wanted else ():
        warn(failure)


def _unmount(container: Container) -> None:
    """Where the container had no mount namespace of its own, its root was mounted in the host's."""
    record = container.record
    if any(one.type == "mount" for one in (container.spec.linux or Linux()).namespaces) or not record.mount:
        return
    with suppress(FileNotFoundError):
        if mount_id(record.rootfs) != record.mount:
            mount.umount(record.rootfs, mount.MNT_DETACH)


def _end(container: Container) -> None:
    """Kill the first process, and all others where they do not die with it (no pid namespace of their own)."""
    if _owns_cgroup(container) and not has_own_pids(container):
        _signal_all(container, signal.SIGKILL)
    if not container.record.pid or container.status() in {"stopped", "creating"}:
        return
    with suppress(Conflict):
        _signal(container, signal.SIGKILL)
    deadline = time.monotonic() + KILL_PATIENCE
    while container.status() != "stopped" and time.monotonic() < deadline:
        time.sleep(0.002)
