"""spec, features, and the commands that are refused."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from sampan.errors import Conflict, Unsupported
from sampan.linux import capabilities, namespaces, seccomp
from sampan.linux.cgroup import hierarchies
from sampan.oci.runtime_spec import (
    VERSION,
    Capabilities,
    DeviceCgroup,
    IDMapping,
    Linux,
    Mount,
    Namespace,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
    encode,
)
from sampan.runtime.cli import no_more
from sampan.runtime.compile_process import MEMORY_FLAGS, MEMORY_MODES
from sampan.runtime.flags import Kind, Switch, Text, parse
from sampan.runtime.mount_options import ATTRIBUTES, MODES, PROPAGATION, SUPERBLOCK
from sampan.runtime.seccomp import ACTIONS, known_architectures
from sampan.runtime.seccomp import FLAGS as FILTER_FLAGS

FLAGS: dict[str, tuple[dict[str, Kind], dict[str, str]]] = {
    "spec": ({"bundle": Text, "rootless": Switch}, {"b": "bundle"}),
}
_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MOUNTS = (
    Mount("/proc", "proc", "proc"),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    Mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "relatime", "ro")),
)
_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
)  # fmt: skip
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")


def spec(_root: Path, words: list[str]) -> int:
    """``spec [--bundle DIR] [--rootless]``: write a config.json to start from."""
    arguments = parse(words, *FLAGS["spec"], anywhere=True)
    no_more(arguments.words, "spec")
    path = Path(arguments.text("bundle", ".")) / "config.json"
    if path.exists():
        raise Conflict(f"File {path.name} exists. Remove it first")
    whole = _for_this_host(example(rootless=arguments.on("rootless")))
    path.write_text(json.dumps(json.loads(encode(whole)), indent="\t"))
    return 0


def example(*, rootless: bool = False) -> Spec:
    """A spec that runs ``sh`` in ``rootfs``, confined as runc's example is."""
    whole = Spec(
        process=Process(
            terminal=True,
            args=("sh",),
            env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"),
            cwd="/",
            capabilities=Capabilities(_CAPABILITIES, _CAPABILITIES, (), _CAPABILITIES, ()),
            rlimits=(Rlimit("RLIMIT_NOFILE", 1024, 1024),),
            no_new_privileges=True,
        ),
        root=Root("rootfs", True),
        hostname="sampan",
        mounts=_MOUNTS,
        linux=Linux(
            namespaces=tuple(Namespace(kind) for kind in _NAMESPACES),
            resources=Resources(devices=(DeviceCgroup(False, access="rwm"),)),
            masked_paths=_MASKED,
            readonly_paths=_READONLY,
        ),
    )
    return _for_user(whole, os.geteuid(), os.getegid()) if rootless else whole


def _for_this_host(whole: Spec) -> Spec:
    """On cgroup v1 without a cgroup namespace, as runc has it: /proc/self/cgroup shows there whose limits hold."""
    linux = whole.linux or Linux()
    if hierarchies().version == _SECOND:
        return whole
    kept = [one for one in linux.namespaces if one.type != "cgroup"]
    return msgspec.structs.replace(whole, linux=msgspec.structs.replace(linux, namespaces=kept))


_SECOND = 2


def _for_user(whole: Spec, uid: int, gid: int) -> Spec:
    """For a user without rights: in a user namespace of one id, on the host's network and its /sys, without limits."""
    linux = whole.linux or Linux()
    kept = [one for one in linux.namespaces if one.type != "network"]
    own = {
        "namespaces": (*kept, Namespace("user")),
        "uid_mappings": (IDMapping(0, uid, 1),),
        "gid_mappings": (IDMapping(0, gid, 1),),
        "resources": None,
    }
    mounts = tuple(_for_user_mount(mount) for mount in whole.mounts)
    return msgspec.structs.replace(whole, mounts=mounts, linux=msgspec.structs.replace(linux, **own))


def _for_user_mount(mount: Mount) -> Mount:
    if mount.destination == "/sys":
        return Mount("/sys", "none", "/sys", ("rbind", "nosuid", "noexec", "nodev", "ro"))
    options = tuple(option for option in mount.options if not option.startswith(("gid=", "uid=")))
    return msgspec.structs.replace(mount, options=options)


def features(_root: Path, words: list[str]) -> int:
    """``features``: what this runtime knows, for engines (runtime-spec features.md)."""
    no_more(words, "features")
    options = {name for table in (ATTRIBUTES, PROPAGATION, SUPERBLOCK, MODES) for name in table}
    options |= {f"r{name}" for name in ATTRIBUTES}
    linux: dict[str, Any] = {
        "namespaces": sorted(namespaces.FLAGS),
        "capabilities": list(capabilities.NAMES),
        "cgroup": {
            "v1": True,
            "v2": True,
            "systemd": False,
            "systemdUser": False,
            "rdma": True,
        },
        "seccomp": {
            "enabled": True,
            "actions": sorted(ACTIONS),
            "operators": sorted(seccomp.COMPARISONS),
            "archs": known_architectures(),
            "knownFlags": sorted(FILTER_FLAGS),
            "supportedFlags": sorted(FILTER_FLAGS),
        },
        "apparmor": {"enabled": False},
        "selinux": {"enabled": False},
        "intelRdt": {"enabled": False},
        "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
        "netDevices": {"enabled": True},
        "mountExtensions": {"idmap": {"enabled": True}},
    }
    hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    told = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": hooks,
        "mountOptions": sorted(options),
        "linux": linux,
        "annotations": {"org.opencontainers.runc.checkpoint.enabled": "false"},
        "potentiallyUnsafeConfigAnnotations": [],
    }
    print(json.dumps(told, indent=4))
    return 0


def checkpoint(_root: Path, _words: list[str]) -> int:
    """Refused."""
    raise Unsupported("checkpoint: saving a running container's memory is not supported")


def restore(_root: Path, _words: list[str]) -> int:
    """Refused."""
    raise Unsupported("restore: saving a running container's memory is not supported")
