"""A container as an OCI runtime spec: pure, from the record and what the start has found out.

    record (config, host_config) ─┐
    identity in the image         ├─▶ Spec ── process, root, mounts, linux(namespaces, devices, resources, seccomp, …)
    mounts, namespaces to join    ┘

What the values mean is the runtime specification's (oci.runtime_spec); which are chosen is Docker's
(moby daemon/oci_linux.go, daemon/pkg/oci/defaults.go).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sampan.api.host_config import HostConfig
from sampan.config import Config
from sampan.engine.container import Record
from sampan.engine.devices import cgroup_rules, device_nodes
from sampan.engine.environment import environment_of
from sampan.engine.resources import resources_of
from sampan.engine.seccomp import profile_of
from sampan.engine.security import Security, capabilities_of
from sampan.linux.idmap import IdMap, Range
from sampan.oci import runtime_spec as oci
from sampan.runtime.users import MAXIMUM_ID, Identity

DEFAULT_MOUNTS = (
    oci.Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    oci.Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    oci.Mount(
        "/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
    ),
    oci.Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    oci.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "ro")),
    oci.Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
)
EARLY = frozenset({"proc", "tmpfs", "devpts", "mqueue", "cgroup"})
WRITABLE_WHEN_PRIVILEGED = frozenset({"/sys", "/sys/fs/cgroup"})
# ipc, pid, …: the mode's field → the namespace's type, in the order of the specification.
NAMESPACES = (
    ("pid_mode", "pid"),
    ("ipc_mode", "ipc"),
    ("uts_mode", "uts"),
    ("network_mode", "network"),
    ("cgroupns_mode", "cgroup"),
)


@dataclass(frozen=True)
class Findings:
    """What a start finds out before the spec can be made.

    ``joined`` are paths of namespaces of other containers by type; ``mounts`` those of the user and of the three
    files in /etc; ``shared_memory`` the source of another's /dev/shm ("": an own one); ``link_environment`` the
    variables of legacy links; ``maps`` those of its user namespace (None: the host's).
    """

    identity: Identity
    mounts: Sequence[oci.Mount] = ()
    joined: dict[str, str] = field(default_factory=dict)
    shared_memory: str = ""
    link_environment: Sequence[str] = ()
    maps: IdMap | None = None


def spec_of(record: Record, security: Security, daemon: Config, found: Findings, cgroup_path: str) -> oci.Spec:
    """The container's runtime spec."""
    config, host_config = record.config, record.host_config
    own_uts = host_config.uts_mode != "host"
    return oci.Spec(
        process=process_of(record, security, daemon, found),
        root=oci.Root(readonly=host_config.readonly_rootfs),
        hostname=config.hostname if own_uts else "",
        domainname=config.domainname if own_uts else "",
        mounts=mounts_of(host_config, found),
        annotations=host_config.annotations,
        linux=linux_of(record, security, found, cgroup_path),
    )


def process_of(record: Record, security: Security, daemon: Config, found: Findings) -> oci.Process:
    """The container's first process."""
    config, host_config = record.config, record.host_config
    height, width = (*host_config.console_size, 0, 0)[:2]
    return oci.Process(
        terminal=config.tty,
        console_size=oci.Box(height, width) if config.tty and height and width else None,
        user=user_of(found.identity),
        args=[record.path, *record.args],
        env=environment_of(config, found.identity.home, found.link_environment, terminal=config.tty),
        cwd=config.working_dir or "/",
        capabilities=capability_sets(capabilities_of(host_config), found.identity.uid),
        rlimits=rlimits_of(host_config, daemon),
        no_new_privileges=security.no_new_privileges,
        oom_score_adj=host_config.oom_score_adj or None,
    )


def user_of(identity: Identity) -> oci.User:
    """An identity as the specification has it."""
    return oci.User(uid=identity.uid, gid=identity.gid, additional_gids=identity.groups)


def capability_sets(names: Sequence[str], uid: int) -> oci.Capabilities:
    """Root has them effective; another user only in the bounding set, to gain them by a set-user-ID program."""
    held = names if uid == 0 else ()
    return oci.Capabilities(bounding=names, permitted=held, effective=held)


def rlimits_of(host_config: HostConfig, daemon: Config) -> list[oci.Rlimit]:
    """The container's ulimits over the daemon's defaults."""
    limits = {name: (limit.Soft, limit.Hard) for name, limit in daemon.default_ulimits.items()}
    limits |= {limit.name: (limit.soft, limit.hard) for limit in host_config.ulimits or ()}
    infinity = (1 << 64) - 1
    return [
        oci.Rlimit("RLIMIT_" + name.upper(), hard=infinity if hard < 0 else hard, soft=infinity if soft < 0 else soft)
        for name, (soft, hard) in sorted(limits.items())
    ]


def mounts_of(host_config: HostConfig, found: Findings) -> list[oci.Mount]:
    """The default mounts but those the user covers, then the user's, shallow before deep."""
    covered = {mount.destination for mount in found.mounts}
    if host_config.ipc_mode == "host":
        covered.add("/dev/mqueue")  # the host's own is bound where there is one (engine.starting)
    mounts = [default(mount, host_config) for mount in DEFAULT_MOUNTS if mount.destination not in covered]
    if host_config.ipc_mode != "none" and "/dev/shm" not in covered:
        mounts.append(shared_memory(host_config, found.shared_memory))
    return mounts + sorted(found.mounts, key=lambda mount: mount.destination.count("/"))


def early_mounts(host_config: HostConfig) -> tuple[oci.Mount, ...]:
    """Those of ``mounts_of`` that are the container's own file systems whatever the user mounts.

    Not sysfs, which is of a network namespace.
    """
    own = [default(mount, host_config) for mount in DEFAULT_MOUNTS if mount.type in EARLY]
    if host_config.ipc_mode == "private":
        own.append(shared_memory(host_config, ""))
    return tuple(mount for mount in own if mount.type in EARLY)


def default(mount: oci.Mount, host_config: HostConfig) -> oci.Mount:
    """A default mount as this container has it: writable for the privileged, of the host where joined."""
    if mount.destination == "/proc" and host_config.pid_mode == "host":
        return oci.Mount("/proc", "bind", "/proc", ("rbind", "nosuid", "noexec", "nodev"))
    if host_config.privileged and mount.destination in WRITABLE_WHEN_PRIVILEGED:
        options = (option for option in mount.options if option != "ro")
        return oci.Mount(mount.destination, mount.type, mount.source, (*options, "rw"))
    return mount


def shared_memory(host_config: HostConfig, shared: str) -> oci.Mount:
    """``/dev/shm``: an own tmpfs, or ``shared``, that of whom the IPC namespace is shared with."""
    flags = ("nosuid", "noexec", "nodev")
    if host_config.ipc_mode == "host":
        return oci.Mount("/dev/shm", "bind", "/dev/shm", ("rbind", *flags))
    if shared:
        return oci.Mount("/dev/shm", "bind", shared, ("rbind", *flags))
    return oci.Mount("/dev/shm", "tmpfs", "shm", (*flags, "mode=1777", f"size={host_config.shm_size}"))


def linux_of(record: Record, security: Security, found: Findings, cgroup_path: str) -> oci.Linux:
    """What is particular to Linux."""
    host_config = record.host_config
    resources = resources_of(host_config, cgroup_rules(host_config))
    return oci.Linux(
        namespaces=namespaces_of(host_config, found),
        uid_mappings=mappings_of(found.maps.uids) if found.maps else (),
        gid_mappings=mappings_of(found.maps.gids) if found.maps else (),
        devices=device_nodes(host_config),
        cgroups_path=cgroup_path,
        resources=resources,
        sysctl=sysctls_of(record, found.maps),
        seccomp=None if host_config.privileged else profile_of(security, capabilities_of(host_config)),
        rootfs_propagation=root_propagation(record),
        masked_paths=host_config.masked_paths or (),
        readonly_paths=host_config.readonly_paths or (),
    )


def mappings_of(ranges: Sequence[Range]) -> list[oci.IDMapping]:
    """Ranges of IDs as the specification has them."""
    return [oci.IDMapping(inside, outside, count) for inside, outside, count in ranges]


def namespaces_of(host_config: HostConfig, found: Findings) -> list[oci.Namespace]:
    """Namespaces to make or join; the host's are left out."""
    namespaces = [oci.Namespace("mount")]
    for mode, type_ in NAMESPACES:
        if type_ in found.joined:
            namespaces.append(oci.Namespace(type_, found.joined[type_]))
        elif getattr(host_config, mode) != "host":
            namespaces.append(oci.Namespace(type_))
    if found.maps:
        namespaces.append(oci.Namespace("user", found.joined.get("user", "")))
    return namespaces


def own_namespaces(host_config: HostConfig) -> tuple[str, ...]:
    """The kinds of namespaces that a container which joins nobody's has made for it; its network's is there before."""
    kinds = [kind for mode, kind in NAMESPACES if getattr(host_config, mode) != "host" and kind != "network"]
    return ("mount", *kinds)


def sysctls_of(record: Record, maps: IdMap | None) -> dict[str, str]:
    """The container's kernel parameters; in an own network any user may bind low ports and ping (as in Docker)."""
    host_config = record.host_config
    own_network = host_config.network_mode != "host" and not host_config.network_mode.startswith("container:")
    defaults = {"net.ipv4.ip_unprivileged_port_start": "0"} if own_network else {}
    if own_network and host_config.userns_mode != "host":
        last = max(first + count - 1 for first, _, count in maps.gids) if maps else MAXIMUM_ID
        defaults["net.ipv4.ping_group_range"] = f"0 {last}"
    return {**defaults, **host_config.sysctls}


def root_propagation(record: Record) -> str:
    """How mounts move between host and container: as far as one of its binds asks."""
    asked = {mount.point.propagation.removeprefix("r") for mount in record.mounts}
    return next((mode for mode in ("shared", "slave") if mode in asked), "private")
