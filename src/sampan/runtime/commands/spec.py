"""spec, features, and the commands that are refused."""

import json
from pathlib import Path
from typing import Any

import msgspec

from sampan.errors import Conflict, Unsupported
from sampan.linux import capabilities, namespaces, seccomp
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
from sampan.runtime.flags import Switch, Text, parse
from sampan.runtime.mount_options import ATTRIBUTES, MODES, PROPAGATION, SUPERBLOCK
from sampan.runtime.seccomp import ACTIONS, FLAGS, known_architectures

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
    arguments = parse(words, {"bundle": Text, "rootless": Switch}, {"b": "bundle"})
    path = Path(arguments.text("bundle", ".")) / "config.json"
    if path.exists():
        raise Conflict(f"File {path} exists. Remove it first")
    path.write_bytes(msgspec.json.format(encode(example(rootless=arguments.on("rootless"))), indent=2) + b"\n")
    return 0


def example(*, rootless: bool = False) -> Spec:
    """A spec that runs ``sh`` in ``rootfs``, confined as runc's example is."""
    kinds = [*_NAMESPACES, *(["user"] if rootless else [])]
    here = (IDMapping(0, 0, 1),) if rootless else ()
    return Spec(
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
            uid_mappings=here,
            gid_mappings=here,
            namespaces=tuple(Namespace(kind) for kind in kinds),
            resources=Resources(devices=(DeviceCgroup(False, access="rwm"),)),
            masked_paths=_MASKED,
            readonly_paths=_READONLY,
        ),
    )


def features(_root: Path, _words: list[str]) -> int:
    """``features``: what this runtime knows, for engines (runtime-spec features.md)."""
    options = {name for words in (ATTRIBUTES, PROPAGATION, SUPERBLOCK, MODES) for name in words}
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
            "knownFlags": sorted(FLAGS),
            "supportedFlags": sorted(FLAGS),
        },
        "apparmor": {"enabled": False},
        "selinux": {"enabled": False},
        "intelRdt": {"enabled": False},
        "netDevices": {"enabled": False},
        "mountExtensions": {"idmap": {"enabled": True}},
    }
    hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    told = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": hooks,
        "mountOptions": sorted(options),
        "linux": linux,
    }
    print(json.dumps(told, indent=2))
    return 0


def checkpoint(_root: Path, _words: list[str]) -> int:
    """Refused."""
    raise Unsupported("checkpoint: saving a running container's memory is not supported")


def restore(_root: Path, _words: list[str]) -> int:
    """Refused."""
    raise Unsupported("restore: saving a running container's memory is not supported")
