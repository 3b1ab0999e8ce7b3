"""Network devices of the host that move into a container (``linux.netDevices``), with their lasting global addresses.

The kernel renames and moves in one step and takes the addresses away, which are given again on the other side. When the
container's namespace ends, the kernel brings physical devices back.

Source: runtime-spec config-linux.md "Network Devices".
"""

import errno
import os
from collections.abc import Mapping

from sampan.errors import EngineError
from sampan.linux.netns import open_of, setns
from sampan.linux.rtnetlink import Assigned, Rtnetlink
from sampan.oci.runtime_spec import NetDevice


def move(devices: Mapping[str, NetDevice], pid: int) -> None:
    """Move all into the network namespace of ``pid``; raises EngineError that names the device which could not."""
    namespace = open_of(pid)
    try:
        for name, device in devices.items():
            try:
                _move(name, device.name or name, namespace)
            except OSError as error:
                raise EngineError(f"linux.netDevices: cannot move {name}: {error.strerror}") from error
    finally:
        os.close(namespace)


def _move(name: str, new_name: str, namespace: int) -> None:
    with Rtnetlink() as here:
        link = here.link(name)
        if link is None:
            raise OSError(errno.ENODEV, "the host has no such device")
        kept = [one for one in here.addresses() if one.ifindex == link.ifindex and one.lasting]
        here.link_set(link.ifindex, up=False)
        here.link_move(link.ifindex, new_name, namespace)
    _settle(new_name, kept, namespace)


def _settle(name: str, kept: list[Assigned], namespace: int) -> None:
    """Give the addresses back and set the link up, in the container's namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace)
        try:
            there = Rtnetlink()
        finally:
            setns(home)
    finally:
        os.close(home)
    with there:
        index = there.index(name)
        for address in kept:
            there.address_add(index, address.interface)
        there.link_set(index, up=True)
