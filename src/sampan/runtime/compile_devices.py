"""Device nodes and links of a container's /dev.

In a new user namespace nodes cannot be made: the host's are shown instead.
Source: runtime-spec config-linux.md "Default Devices", "Dev symbolic links".
"""

import os
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from posixpath import normpath

import msgspec

from sampan.errors import InvalidParameter
from sampan.linux import mount as kernel
from sampan.oci.runtime_spec import Device, Linux, Spec
from sampan.runtime import plan
from sampan.runtime.compile_mounts import Source
from sampan.runtime.plan import Kind, Operation, Slots

DEFAULT_DEVICES = (
    Device("/dev/null", "c", 1, 3, 0o666),
    Device("/dev/zero", "c", 1, 5, 0o666),
    Device("/dev/full", "c", 1, 7, 0o666),
    Device("/dev/random", "c", 1, 8, 0o666),
    Device("/dev/urandom", "c", 1, 9, 0o666),
    Device("/dev/tty", "c", 5, 0, 0o666),
)
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


@cache
def links() -> dict[str, str]:
    """Link → target."""
    made = {
        "/dev/fd": "/proc/self/fd",
        "/dev/stdin": "/proc/self/fd/0",
        "/dev/stdout": "/proc/self/fd/1",
        "/dev/stderr": "/proc/self/fd/2",
        "/dev/ptmx": "pts/ptmx",
    }
    return made | ({"/dev/core": "/proc/kcore"} if Path("/proc/kcore").exists() else {})


def wanted(spec: Spec, found: list[Source]) -> list[Device]:
    """The devices to make: none where /dev is the host's or another tree; the spec's own replace defaults."""
    if any(source.bind and source.mount.destination.rstrip("/") == "/dev" for source in found):
        return []
    named = (msgspec.structs.replace(one, path=normpath(one.path)) for one in (spec.linux or Linux()).devices)
    devices = {device.path: device for device in (*DEFAULT_DEVICES, *named)}
    return list(devices.values())


def bound(devices: list[Device], slots: Slots) -> list[tuple[int, Device]]:
    """The devices that are shown from the host, with their slots."""
    return [(slots.take(), device) for device in devices]


def take(taken: list[tuple[int, Device]]) -> Iterator[Operation]:
    """Take the host's nodes, outside the user namespace."""
    for slot, device in taken:
        yield plan.OpenTree(slot, _host_node(device))
        yield plan.SetMount(slot, kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NOEXEC)


def _host_node(device: Device) -> str:
    """Where the host has the device: at the same path, or by its number. Raises InvalidParameter where nowhere."""
    number = os.makedev(device.major or 0, device.minor or 0)
    kind = "block" if device.type == "b" else "char"
    for path in (Path(device.path), Path(f"/dev/{kind}/{device.major}:{device.minor}")):
        if path.exists() and path.stat().st_rdev == number:
            return str(path)
    raise InvalidParameter(
        f"device {device.path}: the host has no node {kind} {device.major}:{device.minor}, and in a user namespace "
        "none can be made"
    )


def make(devices: list[Device], taken: list[tuple[int, Device]]) -> Iterator[Operation]:
    """Make nodes, show those taken, and make the links."""
    if not devices:
        return
    for slot, device in taken:
        yield plan.Attach(slot, device.path, Kind.FILE)
    shown = {device.path for _, device in taken}
    for device in devices:
        if device.path not in shown:
            mode = _TYPES[device.type] | (0o666 if device.file_mode is None else device.file_mode & 0o7777)
            number = os.makedev(device.major or 0, device.minor or 0)
            yield plan.MakeNode(device.path, mode, number, device.uid or 0, device.gid or 0)
    for link, target in links().items():
        yield plan.MakeSymlink(target, link)
