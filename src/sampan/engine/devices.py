"""Devices of a container: nodes in its /dev, and the rules of what may be opened.

--device HOST[:CONTAINER[:rwm]]     a node, or a directory of nodes
--device-cgroup-rule "c 10:* rw"    a rule alone
--privileged                        every node of the host, and no rules
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sampan.api.host_config import DeviceMapping, HostConfig
from sampan.errors import InvalidParameter
from sampan.oci import runtime_spec as oci

ALL = oci.DeviceCgroup(allow=True, access="rwm")
DENY_ALL = oci.DeviceCgroup(allow=False, access="rwm")
# mknod of anything, then: null zero full random urandom tty console ptmx pts
DEFAULT_RULES = (
    oci.DeviceCgroup(True, "c", None, None, "m"),
    oci.DeviceCgroup(True, "b", None, None, "m"),
    *(
        oci.DeviceCgroup(True, "c", major, minor, "rwm")
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))
    ),
)
# Made for every container by the runtime, or of a kind that must not be shared.
SKIPPED_DIRECTORIES = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})
SKIPPED_NODES = frozenset({"/dev/console", "/dev/ptmx"})


def device_nodes(host_config: HostConfig) -> list[oci.Device]:
    """Nodes to make besides the runtime's own; raises InvalidParameter for a device that is not there."""
    mapped = [node for mapping in host_config.devices or () for node in nodes_of(mapping)]
    if not host_config.privileged:
        return mapped
    taken = {node.path for node in mapped}
    return mapped + [node for node in host_nodes("/dev", "/dev") if node.path not in taken]


def cgroup_rules(host_config: HostConfig) -> list[oci.DeviceCgroup]:
    """The allow-list, beginning with "deny all" unless privileged."""
    if host_config.privileged:
        return [ALL]
    rules = [DENY_ALL, *DEFAULT_RULES]
    for mapping in host_config.devices or ():
        access = mapping.cgroup_permissions or "rwm"
        rules += [oci.DeviceCgroup(True, node.type, node.major, node.minor, access) for node in nodes_of(mapping)]
    return rules + [rule_of(text) for text in host_config.device_cgroup_rules or ()]


def rule_of(text: str) -> oci.DeviceCgroup:
    """``c 10:* rw``, its form checked at creation."""
    type_, numbers, access = text.split()
    major, _, minor = numbers.partition(":")
    return oci.DeviceCgroup(
        True, type_, None if major == "*" else int(major), None if minor == "*" else int(minor), access
    )


def nodes_of(mapping: DeviceMapping) -> list[oci.Device]:
    """The node, or the nodes below the directory, that a mapping names; raises InvalidParameter."""
    host, inside = mapping.path_on_host, mapping.path_in_container or mapping.path_on_host
    if not set(mapping.cgroup_permissions) <= set("rwm"):
        raise InvalidParameter(f"invalid device mode: {mapping.cgroup_permissions}")
    resolved = Path(host).resolve()
    node = node_of(str(resolved), inside)
    if node is not None:
        return [node]
    found = list(host_nodes(str(resolved), inside)) if resolved.is_dir() else []
    if not found:
        raise InvalidParameter(
            f'error gathering device information while adding custom device "{host}": not a device node'
        )
    return found


def host_nodes(directory: str, inside: str) -> Iterator[oci.Device]:
    """Every device node below a directory of the host, as ``inside`` in the container."""
    with os.scandir(directory) as entries:
        for entry in entries:
            target = f"{inside}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in SKIPPED_DIRECTORIES:
                    yield from host_nodes(entry.path, target)
            elif target not in SKIPPED_NODES and (node := node_of(entry.path, target)):
                yield node


def node_of(path: str, inside: str) -> oci.Device | None:
    """The device node at ``path`` as a device of the specification; None for anything else."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise InvalidParameter(
            f'error gathering device information while adding custom device "{path}": {(error.strerror or "").lower()}'
        ) from None
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    return oci.Device(inside, kind, major, minor, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
