"""The OCI runtime specification (1.3) as values: what ``config.json`` and ``state`` say.

Nothing here decides or checks more than types; ``runtime.validate`` says whether a spec makes sense. Field
names are the specification's in snake case; ``_WIRE`` lists those whose wire name is not plain camel case.

    Spec ── process ── user, capabilities, rlimits, …
         ├─ root, mounts, hostname, domainname, hooks, annotations
         └─ linux ── namespaces, uid/gid mappings, devices, sysctl, seccomp, paths
                  └─ resources ── memory, cpu, pids, block_io, devices, hugepage_limits, unified

Source: https://github.com/opencontainers/runtime-spec (config.md, config-linux.md, runtime.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import field

from sampan.errors import InvalidParameter

VERSION = "1.3.0"

_WIRE = {
    "block_io": "blockIO",
    "class_id": "classID",
    "clos_id": "closID",
    "disable_oom_killer": "disableOOMKiller",
    "exec_cpu_affinity": "execCPUAffinity",
    "kernel_tcp": "kernelTCP",
    "value_two": "valueTwo",
}


def _wire_name(name: str) -> str:
    first, *rest = name.split("_")
    return _WIRE.get(name) or first + "".join(word.capitalize() for word in rest)


class _Value(msgspec.Struct, frozen=True, omit_defaults=True, rename=_wire_name):
    """Base of all structures of this module: immutable, default values are not written.

    Members the specification requires have a ``default_factory``: these are written whatever their value.
    """


class Box(_Value, frozen=True):
    """Terminal size in characters."""

    height: int = 0
    width: int = 0


class User(_Value, frozen=True):
    """Numeric identity of a process; ``umask`` None leaves the runtime's (0o022)."""

    uid: int = field(default_factory=int)
    gid: int = field(default_factory=int)
    umask: int | None = None
    additional_gids: Sequence[int] = ()
    username: str = ""


class Capabilities(_Value, frozen=True):
    """Capability sets by name (``CAP_CHOWN``); a set left out is empty."""

    bounding: Sequence[str] = ()
    effective: Sequence[str] = ()
    inheritable: Sequence[str] = ()
    permitted: Sequence[str] = ()
    ambient: Sequence[str] = ()


class Rlimit(_Value, frozen=True):
    """One ``setrlimit``; ``type`` as in ``RLIMIT_NOFILE``."""

    type: str
    hard: int
    soft: int


class IOPriority(_Value, frozen=True):
    """``ioprio_set``: class ``IOPRIO_CLASS_RT``, ``_BE`` or ``_IDLE``, priority 0 to 7."""

    class_: str = field(name="class")
    priority: int = 0


class Scheduler(_Value, frozen=True):
    """``sched_setattr``: policy ``SCHED_*``, flags ``SCHED_FLAG_*``; times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: Sequence[str] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class CPUAffinity(_Value, frozen=True):
    """CPU lists for an exec: before and after it joins the container's cgroup."""

    initial: str = ""
    final: str = ""


class Process(_Value, frozen=True):
    """What runs: program, identity, limits."""

    terminal: bool = False
    console_size: Box | None = None
    user: User = field(default_factory=User)
    args: Sequence[str] = ()
    env: Sequence[str] = ()
    cwd: str = ""
    capabilities: Capabilities | None = None
    rlimits: Sequence[Rlimit] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    selinux_label: str = ""
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CPUAffinity | None = None


class Root(_Value, frozen=True):
    """Root filesystem; ``path`` absolute or relative to the bundle (empty: given as a mount fd)."""

    path: str = ""
    readonly: bool = False


class IDMapping(_Value, frozen=True, omit_defaults=False):
    """One line of a uid_map or gid_map."""

    container_id: int = field(default=0, name="containerID")
    host_id: int = field(default=0, name="hostID")
    size: int = 0


class Mount(_Value, frozen=True):
    """One mount; ``options`` as in fstab plus the specification's (rbind, rro, idmap, tmpcopyup, …)."""

    destination: str
    type: str = ""
    source: str = ""
    options: Sequence[str] = ()
    uid_mappings: Sequence[IDMapping] = ()
    gid_mappings: Sequence[IDMapping] = ()


class Hook(_Value, frozen=True):
    """A program run at a point of the life cycle; ``timeout`` in seconds; ``env`` None inherits."""

    path: str
    args: Sequence[str] = ()
    env: Sequence[str] | None = None
    timeout: int | None = None


class Hooks(_Value, frozen=True):
    """The six points, in order of time (``prestart`` is deprecated and runs before ``createRuntime``)."""

    prestart: Sequence[Hook] = ()
    create_runtime: Sequence[Hook] = ()
    create_container: Sequence[Hook] = ()
    start_container: Sequence[Hook] = ()
    poststart: Sequence[Hook] = ()
    poststop: Sequence[Hook] = ()


class Namespace(_Value, frozen=True):
    """A namespace to make (no ``path``) or to join: pid, network, mount, ipc, uts, user, cgroup, time."""

    type: str
    path: str = ""


class Device(_Value, frozen=True):
    """A device node to make in the container; ``type`` c, u, b or p."""

    path: str
    type: str
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceCgroup(_Value, frozen=True):
    """A rule of the device allow-list; ``type`` a, b or c; None is every number; ``access`` out of rwm."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Memory(_Value, frozen=True):
    """Bytes; -1 is unlimited; ``swap`` is memory plus swap as in cgroup v1."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class CPU(_Value, frozen=True):
    """Times in microseconds; ``shares`` on v1's scale (1024 is one share)."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(_Value, frozen=True):
    """Number of tasks; -1 is unlimited; 0, that no task can come, is 1 in effect, as with runc."""

    limit: int | None = None


class WeightDevice(_Value, frozen=True):
    """Weight (10 to 1000) of one block device."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(_Value, frozen=True):
    """Rate, bytes or operations per second, for one block device; 0 lifts it."""

    major: int
    minor: int
    rate: int


class BlockIO(_Value, frozen=True):
    """Weights and throttles of block devices."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: Sequence[WeightDevice] = ()
    throttle_read_bps_device: Sequence[ThrottleDevice] = ()
    throttle_write_bps_device: Sequence[ThrottleDevice] = ()
    throttle_read_iops_device: Sequence[ThrottleDevice] = field(default=(), name="throttleReadIOPSDevice")
    throttle_write_iops_device: Sequence[ThrottleDevice] = field(default=(), name="throttleWriteIOPSDevice")


class HugepageLimit(_Value, frozen=True):
    """Bytes of huge pages of one size (``2MB``)."""

    page_size: str
    limit: int


class InterfacePriority(_Value, frozen=True):
    """net_prio of one interface."""

    name: str
    priority: int


class NetworkResources(_Value, frozen=True):
    """net_cls and net_prio (v1 only)."""

    class_id: int | None = None
    priorities: Sequence[InterfacePriority] = ()


class Rdma(_Value, frozen=True):
    """Limits of one RDMA device."""

    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(_Value, frozen=True):
    """Everything a cgroup limits."""

    devices: Sequence[DeviceCgroup] = ()
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
    hugepage_limits: Sequence[HugepageLimit] = ()
    network: NetworkResources | None = None
    rdma: Mapping[str, Rdma] = field(default_factory=dict)
    unified: Mapping[str, str] = field(default_factory=dict)


class SeccompArg(_Value, frozen=True, omit_defaults=False):
    """Condition on one argument; ``op`` ``SCMP_CMP_*``; ``value_two`` is the datum of MASKED_EQ."""

    index: int
    value: int
    value_two: int = 0
    op: str = "SCMP_CMP_EQ"


class SeccompSyscall(_Value, frozen=True):
    """Names that share an action; all conditions must hold."""

    names: Sequence[str]
    action: str
    errno_ret: int | None = None
    args: Sequence[SeccompArg] = ()


class Seccomp(_Value, frozen=True):
    """A filter: first matching rule, else ``default_action`` (``SCMP_ACT_*``)."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: Sequence[str] = ()
    flags: Sequence[str] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: Sequence[SeccompSyscall] = ()


class TimeOffset(_Value, frozen=True):
    """Offset of one clock of a time namespace."""

    secs: int = 0
    nanosecs: int = 0


class Personality(_Value, frozen=True):
    """Execution domain: ``LINUX`` or ``LINUX32``."""

    domain: str
    flags: Sequence[str] = ()


class MemoryPolicy(_Value, frozen=True):
    """NUMA policy: mode ``MPOL_*``, flags ``MPOL_F_*``, nodes as ``0-1,3``."""

    mode: str = ""
    nodes: str = ""
    flags: Sequence[str] = ()


class NetDevice(_Value, frozen=True):
    """A network device of the host that moves into the container, renamed if ``name`` is given."""

    name: str = ""


class Linux(_Value, frozen=True):
    """What is particular to Linux."""

    uid_mappings: Sequence[IDMapping] = ()
    gid_mappings: Sequence[IDMapping] = ()
    sysctl: Mapping[str, str] = field(default_factory=dict)
    resources: Resources | None = None
    cgroups_path: str = ""
    namespaces: Sequence[Namespace] = ()
    devices: Sequence[Device] = ()
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: Sequence[str] = ()
    readonly_paths: Sequence[str] = ()
    mount_label: str = ""
    intel_rdt: Mapping[str, Any] | None = None
    memory_policy: MemoryPolicy | None = None
    net_devices: Mapping[str, NetDevice] = field(default_factory=dict)
    personality: Personality | None = None
    time_offsets: Mapping[str, TimeOffset] = field(default_factory=dict)


class Spec(_Value, frozen=True):
    """A bundle's ``config.json``."""

    oci_version: str = field(default_factory=lambda: VERSION)
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: Sequence[Mount] = ()
    hooks: Hooks | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    linux: Linux | None = None


class Versioned(_Value, frozen=True):
    """What every document of the specification begins with, and must."""

    oci_version: str


class State(_Value, frozen=True, kw_only=True, omit_defaults=False):
    """What ``state`` prints and hooks read on stdin; status creating, created, running or stopped."""

    oci_version: str = VERSION
    id: str
    status: str
    pid: int = 0
    bundle: str
    annotations: Mapping[str, str] = field(default_factory=dict)


class ContainerProcessState(_Value, frozen=True, kw_only=True, omit_defaults=False):
    """What the listener of a seccomp filter is told; ``fds`` name the descriptors that come along."""

    oci_version: str = VERSION
    fds: Sequence[str] = ("seccompFd",)
    pid: int
    metadata: str = ""
    state: State


_T = TypeVar("_T")


def decode(data: bytes, kind: type[_T], name: str = "config.json") -> _T:
    """Read JSON into one of this module's structures.

    Go programs write ``null`` for an empty list or a missing structure: members that are null count as
    left out. Raises InvalidParameter naming ``name`` and the member at fault; no string may have a NUL byte,
    which would end it in the kernel's eyes.
    """
    try:
        return msgspec.convert(_without_nulls(msgspec.json.decode(data), name), kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"{name}: {error}") from error


def encode(value: msgspec.Struct) -> bytes:
    """JSON of one of this module's structures."""
    return msgspec.json.encode(value)


def _without_nulls(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(member, name) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member, name) for member in value]
    if isinstance(value, str) and "\0" in value:
        raise InvalidParameter(f"{name}: a string contains a NUL byte: {value!r}")
    return value
