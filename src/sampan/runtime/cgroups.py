"""The cgroup of a container: its path, making it, applying and changing limits, its device list.

A container's rules come first, then those every container has (``DEFAULT_DEVICES``): what the
specification puts into every container must be usable there.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from posixpath import normpath

from msgspec.structs import replace

from sampan.errors import EngineError, InvalidParameter
from sampan.linux import device_filter
from sampan.linux.cgroup import Cgroup, hierarchies
from sampan.linux.cgroup1 import Cgroup1
from sampan.linux.cgroup2 import Cgroup2
from sampan.linux.device_filter import DeviceRule
from sampan.oci.runtime_spec import DeviceCgroup, Linux, Resources, Spec
from sampan.runtime import device_list, resources1, resources2
from sampan.runtime.resources import Setting, write, write_each

DEFAULT_PARENT = "/sampan"

_CGROUPS: dict[int, type[Cgroup1] | type[Cgroup2]] = {1: Cgroup1, 2: Cgroup2}

DEFAULT_DEVICES = (
    DeviceCgroup(True, "c", None, None, "m"),
    DeviceCgroup(True, "b", None, None, "m"),
    DeviceCgroup(True, "c", 1, 3, "rwm"),  # null
    DeviceCgroup(True, "c", 1, 5, "rwm"),  # zero
    DeviceCgroup(True, "c", 1, 7, "rwm"),  # full
    DeviceCgroup(True, "c", 1, 8, "rwm"),  # random
    DeviceCgroup(True, "c", 1, 9, "rwm"),  # urandom
    DeviceCgroup(True, "c", 5, 0, "rwm"),  # tty
    DeviceCgroup(True, "c", 5, 1, "rwm"),  # console
    DeviceCgroup(True, "c", 5, 2, "rwm"),  # ptmx
    DeviceCgroup(True, "c", 136, None, "rwm"),  # pts
)


def cgroup_path(container_id: str, parent: str = "") -> str:
    """Path of a container's cgroup from the root of every hierarchy: ``/sampan/<id>`` or below ``parent``.

    ``..`` in ``parent`` stays below the root.
    """
    return normpath(f"/{parent or DEFAULT_PARENT}/{container_id}").replace("//", "/")


def cgroup_of(spec: Spec, container_id: str) -> str:
    """The path that a bundle's container has: the spec's, from the root of the hierarchy, or ``/<id>`` as with runc."""
    wanted = (spec.linux or Linux()).cgroups_path
    return normpath(f"/{wanted or container_id}").replace("//", "/")


def open_cgroup(path: str) -> Cgroup:
    """The cgroup at ``path``, of the host's version; nothing is made."""
    return _CGROUPS[hierarchies().version](normpath(f"/{path}").replace("//", "/"))


def prepare_cgroup(path: str, resources: Resources | None = None) -> Cgroup:
    """Make the cgroup ``path`` and apply ``resources`` and the device list; on failure nothing of it stays.

    Raises InvalidParameter for a value the kernel refuses (naming file, value and reason) and for a limit
    whose controller this host lacks; EngineError where the cgroup itself cannot be made, or is there and frozen.
    """
    cgroup = open_cgroup(path)
    if cgroup.path == "/":
        raise InvalidParameter(f'cgroup path "{path}" is the root of the hierarchy')
    _refuse_frozen(cgroup)
    with ExitStack() as undo:
        if not cgroup.exists():
            undo.callback(cgroup.remove)
        try:
            cgroup.create()
        except OSError as error:
            raise EngineError(f"cannot make cgroup {path}: {error}") from error
        _refuse_frozen(cgroup)  # it is as its parent is
        resources = resources or Resources()
        _apply_devices(cgroup, resources.devices)
        update(cgroup, resources)
        undo.pop_all()
    return cgroup


def _refuse_frozen(cgroup: Cgroup) -> None:
    """Whoever joined it would stand still, and nobody could end him."""
    if cgroup.frozen():
        raise EngineError(f"container's cgroup unexpectedly frozen: {cgroup.path}; thaw it, or name another")


def update(cgroup: Cgroup, resources: Resources) -> None:
    """Apply limits; members left out stay as they are. The device list of a running container is not changed."""
    if cgroup.version == 2:
        resources = _as_now(cgroup, resources)
    for setting in settings(resources, cgroup.version):
        write(cgroup, setting)


def _as_now(cgroup: Cgroup, resources: Resources) -> Resources:
    """v2 writes quota and period together: a period alone keeps the quota. A limit may be refused by what is in use."""
    cpu, memory = resources.cpu, resources.memory
    if cpu and cpu.period and not cpu.quota:
        quota = cgroup.read_or("cpu.max", "max").split()[0]
        cpu = replace(cpu, quota=int(quota) if quota.isdecimal() else -1)
    if memory and memory.check_before_update and (memory.limit or 0) > 0:
        used = cgroup.stats().memory.usage
        if used > (memory.limit or 0):
            raise InvalidParameter(f"rejecting memory limit {memory.limit} because of the usage {used}")
    return replace(resources, cpu=cpu)


def settings(resources: Resources, version: int) -> Sequence[Setting]:
    """The writes ``resources`` mean on this cgroup version."""
    return list((resources1 if version == 1 else resources2).settings(resources))


def device_rules(rules: Sequence[DeviceCgroup]) -> tuple[DeviceCgroup, ...]:
    """The whole list for a container: nothing, then its own rules, then the defaults."""
    return (DeviceCgroup(False), *map(_known_access, rules), *DEFAULT_DEVICES)


def _known_access(rule: DeviceCgroup) -> DeviceCgroup:
    known = "".join(letter for letter in rule.access if letter in "rwm")
    return rule if known == rule.access else replace(rule, access=known)


def _apply_devices(cgroup: Cgroup, rules: Sequence[DeviceCgroup]) -> None:
    whole = device_rules(rules)
    if cgroup.version == 1:
        if "devices" in cgroup.controllers:
            _write_devices(cgroup, whole)
        return
    try:
        device_filter.install(next(iter(cgroup.directories())), [_filter_rule(rule) for rule in whole])
    except OSError as error:
        raise EngineError(f"cannot set the device list of cgroup {cgroup.path}: {error}") from error


def _write_devices(cgroup: Cgroup, rules: Sequence[DeviceCgroup]) -> None:
    """The list as a whole; in a cgroup that others are below, what is to change of it (runc's way)."""
    wanted = device_list.compose(rules)
    directory = cgroup.file("devices.list").rpartition("/")[0]
    parent = any(entry.is_dir() for entry in os.scandir(directory))
    current = device_list.listed(cgroup.read("devices.list")) if parent else None
    if current is not None and current.allow is not wanted.allow:
        raise InvalidParameter(
            f"cgroup {cgroup.path} has others below it, and {'every device' if current.allow else 'a list of devices'} "
            "is allowed there: the kernel does not change that; name another cgroup, or remove those below it"
        )
    for file, values in device_list.writes(wanted, current):
        write_each(cgroup, file, values)


def _filter_rule(rule: DeviceCgroup) -> DeviceRule:
    return DeviceRule(rule.allow, rule.type or "a", rule.major, rule.minor, rule.access or "rwm")
