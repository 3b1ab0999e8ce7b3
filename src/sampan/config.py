"""The daemon's settings: dockerd's keys and flags, one frozen value.

Settings come from three places, later ones winning: the defaults below, the configuration file
(``daemon.json``, same keys in kebab case), the command line. A key given both in the file and as a flag
is an error, as it is for dockerd; a key nobody knows is an error that names it.

    {"data-root": "/var/lib/sampan", "log-opts": {"max-size": "20m"}, "runtimes": {"runc": {"path": "runc"}}}
"""

from pathlib import Path
from typing import Any

import msgspec

from sampan.errors import InvalidParameter

DEFAULT_FILE = Path("/etc/sampan/daemon.json")
MAXIMUM_FILE_BYTES = 1 << 20
OWN_RUNTIMES = ("sampan", "runc", "io.containerd.runc.v2")
"""Names of our own runtime unless the configuration gives them to another: clients ask for Docker's."""


class Runtime(msgspec.Struct, frozen=True, rename={"runtime_args": "runtimeArgs"}, forbid_unknown_fields=True):
    """An OCI runtime ``--runtime`` may name: a binary and the arguments put before its command."""

    path: str
    runtime_args: list[str] = []


class AddressPool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses that networks without ``--subnet`` are cut from: subnets of /``size`` within ``base``."""

    base: str
    size: int


class Ulimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A default resource limit of containers; keys as Docker spells them in daemon.json."""

    Name: str
    Soft: int
    Hard: int


class Proxies(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """Proxies the daemon itself uses to reach registries."""

    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""


class AccessRule(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """What some users of the unix socket may do; the first rule that fits a request decides. docs/access.md.

    ``users`` and ``groups`` are names or numbers, neither given means everybody. ``operations`` are shell patterns.
    With ``labels`` only containers that carry them exist. ``host_access`` allows what reaches past the container.
    """

    users: list[str | int] = []
    groups: list[str | int] = []
    operations: tuple[str, ...] = ("*",)
    labels: dict[str, str] = {}
    host_access: bool = False


class Config(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set. Names, types and meanings are dockerd's; times are in seconds."""

    # places
    data_root: str = "/var/lib/sampan"
    exec_root: str = "/run/sampan"
    pidfile: str = ""
    hosts: list[str] = []
    group: str = "docker"

    # transport security
    tls: bool = False
    tlsverify: bool = False
    tlscacert: str = ""
    tlscert: str = ""
    tlskey: str = ""
    authorization_plugins: list[str] = []
    access: list[AccessRule] = []

    # the daemon itself
    debug: bool = False
    log_level: str = "info"
    log_format: str = "text"
    raw_logs: bool = False
    experimental: bool = False
    features: dict[str, bool] = {}
    labels: list[str] = []
    live_restore: bool = True
    shutdown_timeout: int = 15
    oom_score_adjust: int = 0
    min_api_version: str = "1.24"
    api_cors_header: str = ""
    metrics_addr: str = ""
    metrics_containers: bool = False

    # containers
    runtimes: dict[str, Runtime] = {}
    default_runtime: str = "sampan"
    cgroup_parent: str = ""
    exec_opts: list[str] = []
    default_cgroupns_mode: str = "private"
    default_ipc_mode: str = "private"
    default_shm_size: str | int = "64m"
    default_ulimits: dict[str, Ulimit] = {}
    init: bool = False
    init_path: str = ""
    no_new_privileges: bool = False
    seccomp_profile: str = ""
    selinux_enabled: bool = False
    userns_remap: str = ""
    log_driver: str = "json-file"
    log_opts: dict[str, str] = {}
    cdi_spec_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    host_gateway_ips: list[str] = []

    # images
    storage_driver: str = "overlay2"
    storage_opts: list[str] = []
    registry_mirrors: list[str] = []
    insecure_registries: list[str] = []
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    proxies: Proxies = Proxies()

    # networks
    bridge: str = ""
    bip: str = ""
    bip6: str = ""
    fixed_cidr: str = ""
    fixed_cidr_v6: str = ""
    default_gateway: str = ""
    default_gateway_v6: str = ""
    default_address_pools: list[AddressPool] = []
    default_network_opts: dict[str, dict[str, str]] = {}
    dns: list[str] = []
    dns_opts: list[str] = []
    dns_search: list[str] = []
    icc: bool = True
    ip: str = "0.0.0.0"
    ip_forward: bool = True
    ip_masq: bool = True
    iptables: bool = True
    ip6tables: bool = True
    ipv6: bool = False
    mtu: int = 0
    userland_proxy: bool = True
    firewall_backend: str = "nftables"

    @property
    def default_socket(self) -> str:
        """Address the daemon listens on when no host is configured."""
        return f"unix://{self.exec_root}/sampan.sock"

    @property
    def listen_hosts(self) -> list[str]:
        """Addresses to listen on, never empty."""
        return self.hosts or [self.default_socket]


KEYS = {field.encode_name: field for field in msgspec.structs.fields(Config)}


def load(path: Path | None, flags: dict[str, Any]) -> Config:
    """Merge defaults, the file at ``path`` and ``flags`` (kebab keys) into one checked value.

    ``path`` None means the default file, which may be missing; a named file must exist.
    Raises InvalidParameter naming the key and what was expected.
    """
    from_file = read_file(path)
    twice = sorted(set(from_file) & set(flags) - MERGED)
    if twice:
        told = ", ".join(f"{key}: (from flag: {flags[key]}, from file: {from_file[key]})" for key in twice)
        raise InvalidParameter(
            "unable to configure the daemon with the configuration file: the following directives are "
            f"specified both as a flag and in the configuration file: {told}"
        )
    merged = {**from_file, **flags}
    for key in MERGED & set(from_file) & set(flags):
        merged[key] = {**from_file[key], **flags[key]}
    try:
        config = msgspec.convert(merged, Config)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"invalid daemon configuration: {error}") from None
    return check(config)


# Maps that a flag adds to rather than replaces.
MERGED = {"runtimes", "default-ulimits", "log-opts"}


def read_file(path: Path | None) -> dict[str, Any]:
    """Keys of a configuration file; raises InvalidParameter for unreadable, unparsable or unknown ones."""
    source = path or DEFAULT_FILE
    if path is None and not source.exists():
        return {}
    try:
        with source.open("rb") as file:
            raw = file.read(MAXIMUM_FILE_BYTES)
        content = msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf") or b"{}")
    except OSError as error:
        raise InvalidParameter(f"cannot read the configuration file {source}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise InvalidParameter(f"the configuration file {source} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidParameter(f"the configuration file {source} must hold one JSON object")
    unknown = sorted(set(content) - set(KEYS))
    if unknown:
        raise InvalidParameter("the following directives don't match any configuration option: " + ", ".join(unknown))
    return content


CHOICES: dict[str, tuple[str, ...]] = {
    "log_level": ("debug", "info", "warn", "error", "fatal"),
    "log_format": ("text", "json"),
    "default_cgroupns_mode": ("private", "host"),
    "default_ipc_mode": ("private", "shareable"),
    "storage_driver": ("overlay2", "overlayfs", "overlay"),
    "firewall_backend": ("nftables",),
}
# What we cannot do is refused by name rather than ignored.
REFUSED: dict[str, str] = {
    "selinux_enabled": "SELinux labels are not applied by this engine",
    "api_cors_header": "cross-origin requests were removed from the Engine API",
    "init_path": "the init of --init is part of this engine",
    "storage_opts": "the overlay storage has no options",
}
CGROUP_DRIVER = "native.cgroupdriver=cgroupfs"
POSITIVE = ("max_concurrent_downloads", "max_concurrent_uploads", "max_download_attempts")


def check(config: Config) -> Config:
    """Return ``config`` unchanged, or raise InvalidParameter for the first value without effect."""
    for name, choices in CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            raise InvalidParameter(f"invalid {kebab(name)}: {value!r}, expected one of {', '.join(choices)}")
    for name, why in REFUSED.items():
        if getattr(config, name):
            raise InvalidParameter(f"{kebab(name)} is not supported: {why}")
    check_exec_opts(config.exec_opts)
    if config.iptables and not config.ip6tables:
        raise InvalidParameter("invalid ip6tables: false needs iptables=false, one table serves both families")
    for name in POSITIVE:
        if getattr(config, name) < 1:
            raise InvalidParameter(f"invalid {kebab(name)}: {getattr(config, name)}, expected at least 1")
    if config.mtu < 0:
        raise InvalidParameter(f"invalid mtu: {config.mtu}, expected 0 (automatic) or more")
    for name in ("data_root", "exec_root"):
        if not getattr(config, name).startswith("/"):
            raise InvalidParameter(f"invalid {kebab(name)}: {getattr(config, name)!r} is not an absolute path")
    check_default_runtime(config)
    check_labels(config.labels)
    return config


def check_exec_opts(options: list[str]) -> None:
    """Raise InvalidParameter for an exec option other than the one cgroup driver there is."""
    for option in options:
        if option != CGROUP_DRIVER:
            raise InvalidParameter(f"invalid exec-opts: {option!r}, expected {CGROUP_DRIVER}")


def check_default_runtime(config: Config) -> None:
    """Raise InvalidParameter unless the default runtime is ours or one that is configured."""
    if config.default_runtime not in {*OWN_RUNTIMES, *config.runtimes}:
        raise InvalidParameter(f"specified default runtime {config.default_runtime!r} does not exist")
    if "sampan" in config.runtimes:
        raise InvalidParameter("runtime name 'sampan' is reserved")


def check_labels(labels: list[str]) -> None:
    """Raise InvalidParameter for a daemon label that is not ``key=value`` or contradicts another."""
    seen: dict[str, str] = {}
    for label in labels:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise InvalidParameter(f"bad attribute format: {label}")
        if seen.setdefault(key, value) != value:
            raise InvalidParameter(f"conflict labels for {key}={value} and {key}={seen[key]}")


def kebab(name: str) -> str:
    """``data_root`` → ``data-root``."""
    return name.replace("_", "-")
