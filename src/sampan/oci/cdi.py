"""Container Device Interface: device specs from files, and what a chosen device changes in a runtime spec.

    /etc/cdi/vendor.json   {"cdiVersion": "0.6.0", "kind": "vendor.com/gpu",
                            "devices": [{"name": "0", "containerEdits": {…}}], "containerEdits": {…}}

A device is asked for as ``vendor.com/gpu=0``. Directories are read in order, a later one overriding an earlier;
the same device twice in one directory is a conflict and cannot be used.
Source: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import Device, DeviceCgroup, Hook, Hooks, Linux, Mount, Process, Resources, Spec

S = TypeVar("S", bound=msgspec.Struct)

MAXIMUM_BYTES = 1 << 20
KIND = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*/[A-Za-z][A-Za-z0-9_-]*")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")

# CDI's hook names → the runtime specification's, as our structure spells them.
HOOKS = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}


class DeviceNode(msgspec.Struct, frozen=True, rename="camel"):
    """A device node; what is left out is read from the host's node."""

    path: str
    host_path: str = ""
    type: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = "rwm"
    uid: int | None = None
    gid: int | None = None


class EditMount(msgspec.Struct, frozen=True, rename="camel"):
    """A bind mount of a host path."""

    host_path: str
    container_path: str
    options: list[str] = []
    type: str = "bind"


class EditHook(msgspec.Struct, frozen=True, rename="camel"):
    """A hook at one of the runtime specification's points."""

    hook_name: str
    path: str
    args: list[str] = []
    env: list[str] = []
    timeout: int | None = None


class Edits(msgspec.Struct, frozen=True, rename={"additional_gids": "additionalGids", "device_nodes": "deviceNodes"}):
    """What a device needs in the container."""

    env: list[str] = []
    device_nodes: list[DeviceNode] = []
    mounts: list[EditMount] = []
    hooks: list[EditHook] = []
    additional_gids: list[int] = []


class NamedDevice(msgspec.Struct, frozen=True, rename="camel"):
    """One device of a file."""

    name: str
    container_edits: Edits = Edits()


class File(msgspec.Struct, frozen=True, rename="camel"):
    """One CDI file; ``container_edits`` are applied once whichever of its devices is used."""

    cdi_version: str
    kind: str
    devices: list[NamedDevice] = []
    container_edits: Edits = Edits()


@dataclass
class Registry:
    """Devices by qualified name: (the file they come from, the device); and what could not be read."""

    devices: dict[str, tuple[File, NamedDevice]] = field(default_factory=dict)
    conflicts: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def edit(self, spec: Spec, names: Sequence[str]) -> Spec:
        """``spec`` with all devices ``names``; raises InvalidParameter naming those that cannot be had."""
        missing = [name for name in names if name not in self.devices]
        if missing:
            raise InvalidParameter(f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}")
        files: list[File] = []
        for name in names:
            file, device = self.devices[name]
            if file not in files:
                files.append(file)
                spec = apply(spec, file.container_edits)
            spec = apply(spec, device.container_edits)
        return spec


def scan(directories: Iterable[str]) -> Registry:
    """Read all ``*.json`` and ``*.yaml`` files; a broken file is a warning and hides nothing else."""
    registry = Registry()
    for directory in directories:
        level: dict[str, tuple[File, NamedDevice]] = {}
        twice: set[str] = set()
        for path in files_of(Path(directory)):
            try:
                twice |= add(level, read(path))
            except InvalidParameter as error:
                registry.warnings.append(str(error))
        registry.conflicts = registry.conflicts - set(level) | twice
        registry.devices.update(level)
    for name in registry.conflicts:
        registry.devices.pop(name, None)
        registry.warnings.append(f"CDI device {name} is defined more than once and cannot be used")
    return registry


def files_of(directory: Path) -> list[Path]:
    """CDI files of one directory in order of name; none when it does not exist."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix in (".json", ".yaml"))
    except (FileNotFoundError, NotADirectoryError):
        return []


def add(level: dict[str, tuple[File, NamedDevice]], file: File) -> set[str]:
    """Note the devices of ``file``; returns the names that were there already."""
    named = {f"{file.kind}={device.name}": (file, device) for device in file.devices}
    twice = set(named) & set(level)
    level.update(named)
    return twice


def read(path: Path) -> File:
    """Parse and check one file; raises InvalidParameter naming it."""
    import yaml  # few machines have such files

    try:
        with path.open("rb") as opened:
            raw = opened.read(MAXIMUM_BYTES)
        content = yaml.safe_load(raw) if path.suffix == ".yaml" else msgspec.json.decode(raw)
        file = msgspec.convert(content, File)
    except (OSError, yaml.YAMLError, msgspec.DecodeError) as error:
        raise InvalidParameter(f"CDI file {path}: {error}") from None
    if not KIND.fullmatch(file.kind):
        raise InvalidParameter(f"CDI file {path}: kind {file.kind!r} is not vendor/class")
    for device in file.devices:
        if not NAME.fullmatch(device.name):
            raise InvalidParameter(f"CDI file {path}: {device.name!r} is not a device name")
        for hook in device.container_edits.hooks:
            if hook.hook_name not in HOOKS:
                raise InvalidParameter(f"CDI file {path}: {hook.hook_name!r} is not a hook")
    return file


def apply(spec: Spec, edits: Edits) -> Spec:
    """``spec`` changed as ``edits`` say; raises InvalidParameter for a device node the host lacks."""
    process, linux = spec.process or Process(), spec.linux or Linux()
    resources = linux.resources or Resources()
    nodes = [resolved(node) for node in edits.device_nodes]
    paths = {node.path for node, _ in nodes}
    user = process.user
    gids = [*user.additional_gids, *(gid for gid in edits.additional_gids if gid not in user.additional_gids)]
    env = with_environment(process.env, edits.env)
    rules = [*resources.devices, *(rule for _, rule in nodes)]
    devices = [*(one for one in linux.devices if one.path not in paths), *(node for node, _ in nodes)]
    return replaced(
        spec,
        process=replaced(process, env=env, user=replaced(user, additional_gids=gids)),
        mounts=[*spec.mounts, *(mount(edit) for edit in edits.mounts)],
        hooks=with_hooks(spec.hooks or Hooks(), edits.hooks) if edits.hooks else spec.hooks,
        linux=replaced(linux, devices=devices, resources=replaced(resources, devices=rules)),
    )


def replaced(value: S, **changes: Any) -> S:
    """A copy of a frozen structure with some fields changed."""
    return msgspec.structs.replace(value, **changes)


def with_environment(env: Sequence[str], added: Sequence[str]) -> list[str]:
    """``env`` with ``added`` entries, which replace those of the same name."""
    names = {entry.partition("=")[0] for entry in added}
    return [*(entry for entry in env if entry.partition("=")[0] not in names), *added]


def mount(edit: EditMount) -> Mount:
    """The runtime specification's form of a mount."""
    options = edit.options or ["ro", "nosuid", "nodev", "bind"]
    return Mount(destination=edit.container_path, type=edit.type, source=edit.host_path, options=options)


def with_hooks(hooks: Hooks, added: Sequence[EditHook]) -> Hooks:
    """``hooks`` with ``added`` at the end of their points."""
    for edit in added:
        point = HOOKS[edit.hook_name]
        hook = Hook(path=edit.path, args=edit.args, env=edit.env, timeout=edit.timeout)
        hooks = replaced(hooks, **{point: [*getattr(hooks, point), hook]})
    return hooks


TYPES: Mapping[int, str] = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}


def resolved(node: DeviceNode) -> tuple[Device, DeviceCgroup]:
    """The node to make and the rule that lets it be used; numbers left out are the host node's."""
    kind, major, minor = node.type, node.major, node.minor
    if not kind or (kind != "p" and (major is None or minor is None)):
        kind, major, minor = numbers_of(node.host_path or node.path)
    device = Device(
        path=node.path, type=kind, major=major or 0, minor=minor or 0,
        file_mode=node.file_mode, uid=node.uid, gid=node.gid,
    )  # fmt: skip
    return device, DeviceCgroup(allow=True, type=kind, major=major, minor=minor, access=node.permissions)


def numbers_of(path: str) -> tuple[str, int, int]:
    """Type and numbers of a device node on the host; raises InvalidParameter if it is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  a device, not a file to read
    except OSError as error:
        raise InvalidParameter(f"CDI device injection failed: {path}: {error.strerror}") from None
    kind = TYPES.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise InvalidParameter(f"CDI device injection failed: {path} is not a device node")
    return kind, os.major(status.st_rdev), os.minor(status.st_rdev)
