"""The daemon's settings: dockerd's keys and flags, one frozen value.

Settings come from three places, later ones winning: the defaults below, the configuration file
(``daemon.json``, same keys in kebab case), the command line. A key given both in the file and as a flag
is an error, as it is for dockerd; a key nobody knows is an error that names it. The sentences are dockerd's.

Every key of dockerd is known. One that sets a part which is not here (``ABSENT``) is accepted with a warning; one that
asks for what this engine cannot give (``REFUSED``) is an error.

    {"data-root": "/var/lib/sampan", "log-opts": {"max-size": "20m"}, "runtimes": {"runc": {"path": "runc"}}}
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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


class NriOptions(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """Node Resource Interface plugins, which may only be off here."""

    enable: bool = False
    plugin_path: str = ""
    plugin_config_path: str = ""
    socket_path: str = ""


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
    default_stop_timeout: int = 10
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

    # dockerd's, for what is not here: see ABSENT and REFUSED
    containerd: str = ""
    containerd_namespace: str = "moby"
    containerd_plugins_namespace: str = "plugins.moby"
    cri_containerd: bool = False
    swarm_default_advertise_addr: str = ""
    swarm_raft_heartbeat_tick: int = 0
    swarm_raft_election_tick: int = 0
    node_generic_resources: list[str] = []
    network_control_plane_mtu: int = 1500
    network_diagnostic_port: int = 0
    userland_proxy_path: str = ""
    ip_forward_no_drop: bool = False
    allow_nondistributable_artifacts: list[str] = []
    deprecated_key_path: str = ""
    builder: dict[str, Any] = {}
    restart: bool = True
    rootless: bool = False
    cpu_rt_period: int = 0
    cpu_rt_runtime: int = 0
    allow_direct_routing: bool = False
    bridge_accept_fwmark: str = ""
    nri_opts: NriOptions = NriOptions()

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
    source = path or DEFAULT_FILE
    if path is None and not source.exists():
        return check(converted(flags))
    try:
        return merged(read_file(source), flags)
    except InvalidParameter as error:
        raise error.within(f"unable to configure the Docker daemon with file {source}") from error


def merged(from_file: dict[str, Any], flags: dict[str, Any]) -> Config:
    """The settings of a file with those of flags; raises InvalidParameter."""
    told = sorted(
        f"{key}: (from flag: {shown(flat(flags)[key])}, from file: {shown(value)})"
        for key, value in flat(from_file).items()
        if key in flat(flags) and key not in MERGED
    )
    if told:
        raise InvalidParameter(
            f"the following directives are specified both as a flag and in the configuration file: {', '.join(told)}"
        )
    settings = {**from_file, **flags}
    for key in (*MERGED, "proxies"):
        if key in from_file and key in flags:
            settings[key] = {**from_file[key], **flags[key]}
    config = converted(settings)
    try:
        return check(config)
    except InvalidParameter as error:
        raise error.within("merged configuration validation from file and command line flags failed") from error


# Maps that a flag adds to rather than replaces.
MERGED = ("runtimes",)


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with each proxy as a key of its own, as dockerd counts them."""
    proxies = settings.get("proxies")
    rest = {key: value for key, value in settings.items() if key != "proxies"}
    return {**rest, **proxies} if isinstance(proxies, dict) else rest


def shown(value: Any) -> str:
    """A value as Go prints it: ``[a b]``, ``map[a:b]``, ``true``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{shown(item)}' for key, item in sorted(value.items()))}]"
    return str(value)


def converted(settings: dict[str, Any]) -> Config:
    """Settings by kebab key as a ``Config``; raises InvalidParameter for a value of the wrong type."""
    try:
        return msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"invalid daemon configuration: {error}") from None


def read_file(source: Path) -> dict[str, Any]:
    """Keys of a configuration file; raises InvalidParameter for unreadable, unparsable or unknown ones."""
    try:
        with source.open("rb") as file:
            raw = file.read(MAXIMUM_FILE_BYTES)
        content = msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf").strip() or b"{}")
    except OSError as error:
        why = (error.strerror or "").lower()
        raise InvalidParameter(f"open {source}: {why}") from None
    except msgspec.DecodeError as error:
        raise InvalidParameter(f"invalid JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidParameter("invalid JSON: one JSON object was expected")
    renamed(content)
    unknown = sorted(set(content) - set(KEYS))
    if unknown:
        raise InvalidParameter("the following directives don't match any configuration option: " + ", ".join(unknown))
    return content


def renamed(content: dict[str, Any]) -> None:
    """Bring a key that had another name before under its name."""
    for old, new in {"host-gateway-ip": "host-gateway-ips"}.items():
        if old in content and new in content:
            raise InvalidParameter(f"{old} and {new} must not both be specified in the config file")
        if old in content:
            content[new] = [content.pop(old)]


LEVELS = ("panic", "fatal", "error", "warn", "info", "debug", "trace")
# Key → values that are understood, and how dockerd says that another one is not.
CHOICES: dict[str, tuple[tuple[str, ...], str]] = {
    "log_format": (("text", "json"), "invalid log format: {}"),
    "default_cgroupns_mode": (
        ("private", "host"),
        'default cgroup namespace mode ({}) is invalid; use "host" or "private"',
    ),
    "default_ipc_mode": (
        ("private", "shareable"),
        'IPC mode "{}" is not supported as default value; use "shareable" or "private"',
    ),
    "storage_driver": (
        ("", "overlay2", "overlayfs", "overlay"),
        "invalid storage-driver: {}, expected one of overlay2, overlayfs, overlay",
    ),
    "firewall_backend": (("", "nftables"), "invalid firewall-backend: {}, expected nftables"),
}
# What we cannot do is refused by name rather than ignored.
REFUSED: dict[str, str] = {
    "selinux_enabled": "SELinux labels are not applied by this engine",
    "api_cors_header": "cross-origin requests were removed from the Engine API",
    "init_path": "the init of --init is part of this engine",
    "rootless": "the daemon needs root",
    "cpu_rt_period": "containers' real-time budgets are not bounded together",
    "cpu_rt_runtime": "containers' real-time budgets are not bounded together",
}
# What describes a part that is not here: accepted, and told in the daemon's log.
ABSENT: dict[str, str] = {
    "containerd": "there is no containerd",
    "containerd_namespace": "there is no containerd",
    "containerd_plugins_namespace": "there is no containerd",
    "cri_containerd": "there is no containerd",
    "swarm_default_advertise_addr": "this engine is no node of a swarm",
    "swarm_raft_heartbeat_tick": "this engine is no node of a swarm",
    "swarm_raft_election_tick": "this engine is no node of a swarm",
    "node_generic_resources": "this engine is no node of a swarm",
    "network_control_plane_mtu": "there are no overlay networks",
    "network_diagnostic_port": "there are no overlay networks",
    "userland_proxy_path": "the proxy is part of this daemon",
    "ip_forward_no_drop": "this daemon never drops what it does not forward itself",
    "allow_nondistributable_artifacts": "it was removed from Docker",
    "deprecated_key_path": "it was removed from Docker",
    "restart": "restart policies decide",
}
CGROUP_DRIVER = "native.cgroupdriver=cgroupfs"
NOT_NEGATIVE: dict[str, str] = {
    "mtu": "default MTU",
    "max_concurrent_downloads": "max concurrent downloads",
    "max_concurrent_uploads": "max concurrent uploads",
    "max_download_attempts": "max download attempts",
    "default_stop_timeout": "default stop timeout",
}


def without_effect(config: Config) -> Iterator[str]:
    """A sentence about each setting that was made although its part is not here."""
    for name, why in ABSENT.items():
        if getattr(config, name) != getattr(DEFAULTS, name):
            yield f"{kebab(name)} has no effect: {why}"
    for key in config.builder:
        if key.lower() in ABSENT_OF_BUILDER:
            yield f"builder.{key} has no effect: {ABSENT_OF_BUILDER[key.lower()]}"


ABSENT_OF_BUILDER = {
    "entitlements": "what a client allows a build by --allow decides",
    "history": "the last 50 builds are kept for 48 hours",
}


DEFAULTS = Config()


def check(config: Config) -> Config:
    """Return ``config`` with limits of 0 as they are by default; raises InvalidParameter for what cannot be."""
    check_words(config)
    for name, why in REFUSED.items():
        if getattr(config, name):
            raise InvalidParameter(f"{kebab(name)} is not supported: {why}")
    if config.nri_opts.enable:
        raise InvalidParameter("nri-opts is not supported: NRI plugins are not loaded by this engine")
    check_exec_opts(config.exec_opts)
    check_bridge(config)
    for name, told in NOT_NEGATIVE.items():
        if getattr(config, name) < 0:
            raise InvalidParameter(f"invalid {told}: {getattr(config, name)}")
    for name in ("data_root", "exec_root"):
        if not getattr(config, name).startswith("/"):
            raise InvalidParameter(f"invalid {kebab(name)}: {getattr(config, name)!r} is not an absolute path")
    check_default_runtime(config)
    check_storage_opts(config.storage_opts)
    check_labels(config.labels)
    for mirror in config.registry_mirrors:
        check_mirror(mirror)
    check_addresses(config)
    check_ulimits(config.default_ulimits)
    zeros = {name: getattr(DEFAULTS, name) for name in LIMITS if not getattr(config, name)}
    return msgspec.structs.replace(config, **zeros) if zeros else config


LAYER_SIZE = "overlay2.size"
LIMITS = ("max_concurrent_downloads", "max_concurrent_uploads", "max_download_attempts", "storage_driver",
          "firewall_backend")  # fmt: skip
"""Settings whose empty value stands for the default."""


def check_storage_opts(given: Sequence[str]) -> None:
    """Raise InvalidParameter for an option that the overlay storage has not."""
    for text in given:
        key = text.partition("=")[0].strip()
        if key.lower() != LAYER_SIZE:
            raise InvalidParameter(f"invalid storage-opts: overlay2: unknown option {key}")


def check_words(config: Config) -> None:
    """Raise InvalidParameter for a word that is none of those understood."""
    if config.log_level and config.log_level.lower() not in LEVELS:
        raise InvalidParameter(f"invalid logging level: {config.log_level}")
    for name, (words, sentence) in CHOICES.items():
        value = getattr(config, name)
        if value not in words:
            raise InvalidParameter(sentence.format(value))


def check_bridge(config: Config) -> None:
    """Raise InvalidParameter for settings of networks that contradict one another."""
    for key in ("bip", "bip6"):
        if config.bridge and getattr(config, key):
            raise InvalidParameter(f"You specified -b & --{key}, mutually exclusive options. Please specify only one")
    if not config.icc and not config.iptables:
        raise InvalidParameter(
            "You specified --iptables=false with --icc=false. ICC=false uses iptables to function. "
            "Please set --icc or --iptables to true"
        )
    if config.iptables and not config.ip6tables:
        raise InvalidParameter("invalid ip6tables: false needs iptables=false, one table serves both families")


def check_exec_opts(options: list[str]) -> None:
    """Raise InvalidParameter for an exec option other than the one cgroup driver there is."""
    for option in options:
        name, equals, value = (part.strip() for part in option.partition("="))
        if not name or not equals or not value:
            raise InvalidParameter(f"invalid exec-opt ({option}): must be formatted 'opt=value'")
        if name.lower() != "native.cgroupdriver":
            raise InvalidParameter(f"invalid exec-opt ({option}): unknown option: '{name.lower()}'")
        if f"{name.lower()}={value}" != CGROUP_DRIVER:
            raise InvalidParameter(f"native.cgroupdriver option {value} not supported: expected cgroupfs")


def check_default_runtime(config: Config) -> None:
    """Raise InvalidParameter unless the default runtime is ours or one that is configured."""
    if config.default_runtime not in {*OWN_RUNTIMES, *config.runtimes}:
        raise InvalidParameter(f"specified default runtime '{config.default_runtime}' does not exist")
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


def check_mirror(text: str) -> None:
    """Raise InvalidParameter unless ``text`` is the address of a registry. Source: moby daemon/pkg/registry."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InvalidParameter(f'invalid mirror: "{text}" is not a valid URI: {error}') from None
    if parts.scheme not in ("http", "https"):
        raise InvalidParameter(f'invalid mirror: unsupported scheme "{parts.scheme}" in "{text}"')
    if parts.query or parts.fragment:
        raise InvalidParameter(f'invalid mirror: query or fragment is not allowed in "{text}"')
    if parts.username is not None:
        raise InvalidParameter(f'invalid mirror: username/password not allowed in URI "{parts.scheme}://xxxxx"')


def check_addresses(config: Config) -> None:
    """Raise InvalidParameter for a name server that is no address."""
    for text in config.dns:
        try:
            ip_address(text)
        except ValueError:
            raise InvalidParameter(f"invalid dns: {text} is not an IP address") from None


def check_ulimits(limits: dict[str, Ulimit]) -> None:
    """Raise InvalidParameter for limits with which no container could start."""
    for name, limit in limits.items():
        if limit.Name != name or name not in ULIMITS:
            raise InvalidParameter(f"invalid default-ulimits: invalid ulimit type: {limit.Name}")
        if limit.Hard != -1 and (limit.Soft == -1 or limit.Soft > limit.Hard):
            raise InvalidParameter(
                f"invalid default-ulimits: {name}: ulimit soft limit must be less than or equal to hard limit: "
                f"{limit.Soft} > {limit.Hard}"
            )


ULIMITS = frozenset({
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
})  # fmt: skip
"""Names of limits as getrlimit(2) has them, in Docker's spelling."""


def kebab(name: str) -> str:
    """``data_root`` → ``data-root``."""
    return name.replace("_", "-")
