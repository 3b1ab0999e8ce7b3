"""Checks of a create request before anything is made: sense, conflicts, what this host can do.

    config        working directory, stop signal, environment, health check, host name
    host_config   restart policy, mounts, hosts, ports, capabilities, modes, security options, resources
    both          combinations that contradict each other, mostly around ``--network container:``

The sentences are Docker's (moby daemon/container.go, daemon_unix.go, runconfig): clients show and parse them.
"""

import ipaddress
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sampan.api.addresses import check_address
from sampan.api.containers import ContainerConfig, HealthConfig
from sampan.api.host_config import HostConfig
from sampan.api.ports import Port, parse_port, parse_ports, parse_range
from sampan.api.signals import parse_signal
from sampan.config import LAYER_SIZE, OWN_RUNTIMES, Config
from sampan.engine.defaults import parse_size
from sampan.engine.host import Host
from sampan.engine.limits import check_resources
from sampan.engine.mount_points import parse_mount
from sampan.engine.security import check_capabilities, parse_security
from sampan.errors import InvalidParameter, Unsupported
from sampan.storage.quota import Quotas

MINIMUM_INTERVAL = 1_000_000
MAXIMUM_HOSTNAME = 64
MAXIMUM_PORT = 65535
POLICIES = ("no", "always", "on-failure", "unless-stopped")
RETRIES = "maximum retry count can only be used with 'on-failure'"
# Mode field → words allowed beside "container:…"; and how the error calls the mode.
MODES = {
    "ipc_mode": (("", "none", "private", "shareable", "host"), True, "invalid IPC mode"),
    "pid_mode": (("", "host", "private"), True, "invalid PID mode"),
    "uts_mode": (("", "host"), False, "invalid UTS mode"),
    "cgroupns_mode": (("", "host", "private"), False, "invalid cgroup namespace mode"),
    "userns_mode": (("", "host"), False, "invalid user namespace mode"),
}
ULIMITS = frozenset(
    ("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
     "rtprio", "rttime", "sigpending", "stack")
)  # fmt: skip
SYSCTL_PREFIXES = ("net.", "fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm", "kernel.domainname")
_DEVICE_RULE = re.compile(r"[acb] (\d+|\*):(\d+|\*) [rwm]{1,3}", re.ASCII)
TMPFS_FLAGS = frozenset(
    ("async", "atime", "defaults", "dev", "diratime", "dirsync", "exec", "mand", "noatime", "nodev", "nodiratime",
     "noexec", "nomand", "norelatime", "nostrictatime", "nosuid", "noswap", "private", "relatime", "remount", "ro",
     "rprivate", "rshared", "rslave", "runbindable", "rw", "shared", "slave", "strictatime", "suid", "sync",
     "unbindable")
)  # fmt: skip
TMPFS_VALUES = frozenset(("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"))


def check_create(config: ContainerConfig, host_config: HostConfig, daemon: Config, host: Host) -> list[str]:
    """Warnings about a create request; raises InvalidParameter, Unsupported. Takes back what the host lacks."""
    check_config(config)
    warnings = check_host_config(host_config, daemon, host)
    check_conflicts(config, host_config)
    if host_config.network_mode == "host" and host_config.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    return warnings


def check_config(config: ContainerConfig) -> None:
    """The portable part; cleans the working directory."""
    if config.working_dir:
        if not config.working_dir.startswith("/"):
            raise InvalidParameter(
                f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
            )
        config.working_dir = posixpath.normpath(config.working_dir)
    if config.stop_signal:
        parse_signal(config.stop_signal)
    for variable in config.env or ():
        if not variable.partition("=")[0]:
            raise InvalidParameter(f"invalid environment variable: {variable}")
    if len(config.hostname) > MAXIMUM_HOSTNAME:
        raise InvalidParameter(f'hostname "{config.hostname}" is too long (maximum {MAXIMUM_HOSTNAME} bytes)')
    for port in config.exposed_ports:
        for number in port.partition("/")[0].split("-"):
            check_number(number)
        parse_ports(port)
    for path in config.volumes or ():
        if not path.startswith("/"):
            raise InvalidParameter(f"invalid volume: '{path}' mount path must be absolute")
    if config.healthcheck:
        check_health(config.healthcheck)


def check_health(health: HealthConfig) -> None:
    """Durations of a health check are zero (inherit) or at least a millisecond."""
    for name, value in (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ):
        if value != 0 and value < MINIMUM_INTERVAL:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")


def check_host_config(host_config: HostConfig, daemon: Config, host: Host) -> list[str]:
    """The part that depends on this host; returns warnings."""
    check_restart(host_config)
    for request in host_config.mounts:
        parse_mount(msgspec.structs.replace(request))
    for extra in host_config.extra_hosts or ():
        check_extra_host(extra)
    check_ports(host_config)
    check_addresses(host_config)
    check_capabilities(host_config)
    if "" in host_config.annotations:
        raise InvalidParameter("invalid Annotations: the empty string is not permitted as an annotation key")
    warnings = check_resources(host_config, host)
    check_modes(host_config)
    check_scalars(host_config, daemon)
    for rule in host_config.device_cgroup_rules or ():
        if not _DEVICE_RULE.fullmatch(rule):
            raise InvalidParameter(f"invalid device cgroup rule format: '{rule}'")
    check_sysctls(host_config)
    parse_security(host_config, daemon)
    check_refused(host_config)
    return warnings


def check_restart(host_config: HostConfig) -> None:
    """Restart policy, and what goes with ``--rm``."""
    policy = host_config.restart_policy
    if host_config.auto_remove and policy.name not in ("", "no"):
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")
    if policy.name not in ("", *POLICIES):
        known = "', '".join(("no", "always", "on-failure"))
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{policy.name}'; use one of '{known}', or 'unless-stopped'"
        )
    if policy.name == "on-failure":
        if policy.maximum_retry_count < 0:
            raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    elif policy.maximum_retry_count:
        negative = " and cannot be negative" if policy.maximum_retry_count < 0 else ""
        raise InvalidParameter(f"invalid restart policy: {RETRIES}{negative}")


def check_extra_host(extra: str) -> None:
    """``name:address`` or ``name=address``; ``host-gateway`` stands for the host's address."""
    name, separator, address = extra.partition("=" if "=" in extra else ":")
    if not separator or not name:
        raise InvalidParameter(f'bad format for add-host: "{extra}"')
    if address == "host-gateway":
        return
    try:
        ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidParameter(f'invalid IP address in add-host: "{address}"') from None


def check_port(key: str) -> Port:
    """The port that a key of ``PortBindings`` names."""
    check_number(key.partition("/")[0])
    return parse_port(key)


def check_number(number: str) -> None:
    """Raise InvalidParameter for what is no port's number."""
    if not (number.isascii() and number.isdecimal()):
        raise InvalidParameter(f"invalid JSON: invalid port '{number}': invalid syntax")
    if int(number) > MAXIMUM_PORT:
        raise InvalidParameter(f"invalid JSON: invalid port '{number}': value out of range")


def check_addresses(host_config: HostConfig) -> None:
    """Addresses of name servers and published ports."""
    bindings = [binding for given in (host_config.port_bindings or {}).values() for binding in given or ()]
    for address in [*(host_config.dns or ()), *(binding.host_ip for binding in bindings if binding.host_ip)]:
        check_address(address)


def check_ports(host_config: HostConfig) -> None:
    """Published ports."""
    for key, bindings in (host_config.port_bindings or {}).items():
        if check_port(key).number == 0:
            raise InvalidParameter(f'invalid port specification: "{key}"')
        for binding in bindings or ():
            try:
                if binding.host_port:
                    parse_range(binding.host_port)
            except InvalidParameter:
                raise InvalidParameter(f'invalid port specification: "{binding.host_port}"') from None


def check_modes(host_config: HostConfig) -> None:
    """Words of the namespace modes."""
    if host_config.isolation not in ("", "default"):
        raise InvalidParameter(f"invalid isolation ({host_config.isolation}): linux only supports 'default'")
    for field, (words, shared, sentence) in MODES.items():
        mode: str = getattr(host_config, field)
        if mode not in words and not (shared and mode.startswith("container:") and len(mode) > len("container:")):
            raise InvalidParameter(f"{sentence}: {mode}")


def check_scalars(host_config: HostConfig, daemon: Config) -> None:
    """Numbers and names in their ranges."""
    if host_config.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    if not -1000 <= host_config.oom_score_adj <= 1000:
        raise InvalidParameter(f"Invalid value {host_config.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host_config.runtime and host_config.runtime not in {*OWN_RUNTIMES, *daemon.runtimes}:
        raise InvalidParameter(f"unknown or invalid runtime name: {host_config.runtime}")
    for destination in host_config.tmpfs:
        if not destination.startswith("/"):
            raise InvalidParameter(f"invalid mount path: '{destination}' mount path must be absolute")
        if posixpath.normpath(destination) == "/":
            raise InvalidParameter("invalid specification: destination can't be '/'")
        check_tmpfs_options(host_config.tmpfs[destination])
    for limit in host_config.ulimits or ():
        if limit.name not in ULIMITS:
            raise InvalidParameter(f"invalid ulimit type: {limit.name}")
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidParameter(
                f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
            )


def check_sysctls(host_config: HostConfig) -> None:
    """Only kernel parameters that belong to a namespace of the container may be set (sysctl(2), namespaces(7))."""
    for name in host_config.sysctls:
        if not name.startswith(SYSCTL_PREFIXES) or ".." in name or "/" in name:
            raise InvalidParameter(f"sysctl '{name}' is not in a separate kernel namespace")
        if name.startswith("net.") and host_config.network_mode == "host":
            raise InvalidParameter(f"sysctl '{name}' not allowed in host network namespace")
        if name.startswith(("kernel.", "fs.")) and host_config.ipc_mode == "host":
            raise InvalidParameter(f"sysctl '{name}' not allowed in host ipc namespace")


def check_refused(host_config: HostConfig) -> None:
    """What this engine does not do is refused by name, never ignored."""
    for wanted, sentence in refusals(host_config):
        if wanted:
            raise Unsupported(sentence)


def layer_size(storage_opt: Mapping[str, str], quotas: Quotas) -> int:
    """The quota of the writable layer in bytes, 0 for none; raises InvalidParameter."""
    if unknown := [key for key in storage_opt if key.lower() != "size"]:
        raise InvalidParameter(f"unknown option {unknown[0]}")
    if storage_opt and not quotas.supported:
        raise InvalidParameter(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option or ext4 with 'prjquota'"
        )
    return sum(parse_size(text) for text in storage_opt.values())


def default_layer_size(storage_opts: Sequence[str], quotas: Quotas) -> int:
    """The quota of layers that ask for none, by the daemon's settings; raises InvalidParameter if it cannot be kept."""
    sizes = [parse_size(text.partition("=")[2].strip()) for text in storage_opts]
    if any(sizes) and not quotas.supported:
        raise InvalidParameter(f"Storage option {LAYER_SIZE} not supported. Filesystem does not support Project Quota")
    return sizes[-1] if sizes else 0


def refusals(host_config: HostConfig) -> Iterator[tuple[bool, str]]:
    """Wishes and the sentences that refuse them."""
    yield bool(host_config.cgroup), "HostConfig.Cgroup is not supported: use CgroupParent"


def check_tmpfs_options(text: str) -> None:
    """Options of ``--tmpfs``: those every mount takes, and tmpfs's own with a value. Raises InvalidParameter."""
    for option in filter(None, text.split(",")):
        name, equals, _ = option.partition("=")
        if (equals and name not in TMPFS_VALUES) or (not equals and name not in TMPFS_FLAGS):
            raise InvalidParameter(f'invalid tmpfs option "{name}"')


def check_conflicts(config: ContainerConfig, host_config: HostConfig) -> None:
    """Options that contradict each other."""
    network = host_config.network_mode
    if host_config.uts_mode == "host" and config.hostname:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if network == "host" and host_config.links:
        raise InvalidParameter(
            "conflicting options: host type networking can't be used with links. "
            "This would result in undefined behavior"
        )
    if network != "container" and not network.startswith("container:"):
        return
    if not network.partition(":")[2]:
        raise InvalidParameter("invalid network mode: invalid container format container:<name|id>")
    conflicts = (
        (config.hostname, "hostname and the network mode"),
        (
            host_config.links,
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (host_config.dns, "dns and the network mode"),
        (host_config.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (
            host_config.port_bindings or host_config.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (config.exposed_ports, "port exposing and the container type network mode"),
    )
    for present, sentence in conflicts:
        if present:
            raise InvalidParameter(f"conflicting options: {sentence}")
