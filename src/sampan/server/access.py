"""Access rules: which client of the unix socket may do what. Pure; ``confine`` applies it to requests.

    client ──▶ trusted (root, verified certificate)?  ──▶ everything
           ──▶ first rule that names it and the operation ──▶ the rule's grant: labels, host access
           ──▶ none ──▶ Forbidden

Without any rules the socket's permissions decide, and every grant is the whole. The user's side: docs/access.md.
"""

import grp
import pwd
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from sampan.api.containers import ContainerCreateRequest, ContainerUpdateRequest
from sampan.api.host_config import HostConfig
from sampan.api.mounts import Mount
from sampan.api.networks import NetworkCreateRequest
from sampan.api.volumes import VolumeCreateRequest
from sampan.config import AccessRule
from sampan.engine.defaults import MASKED_PATHS, READONLY_PATHS
from sampan.errors import Forbidden, InvalidParameter
from sampan.server.peer import Peer

OPEN = frozenset({"system_ping", "system_ping_head", "system_options"})
"""Anybody may do these: clients ask them to learn the version before anything else."""
OPAQUE = frozenset({"image_build", "session", "grpc"})
"""What a build does is not seen before it is done (``RUN --network=host``): it takes host access."""
ABOUT_ALL = frozenset({"system_data_usage"})
"""Answers that tell of all containers at once: not for a grant with labels."""
INSIDE = frozenset({
    "container_exec", "exec_start", "container_attach", "container_attach_websocket",
    "container_archive", "container_archive_info", "put_container_archive", "container_export", "image_commit",
})  # fmt: skip
"""What puts a client inside a container: whoever may not reach the host may not enter what reaches it."""


@dataclass(frozen=True)
class Grant:
    """What a client may do with the operation it asked for."""

    labels: dict[str, str] = field(default_factory=dict)
    host_access: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing is left to check."""
        return self.host_access and not self.labels


WHOLE = Grant(host_access=True)


@dataclass(frozen=True)
class Rule:
    """A rule of the configuration with names looked up; no ids at all is everybody."""

    uids: frozenset[int]
    gids: frozenset[int]
    operations: tuple[str, ...]
    grant: Grant

    def names(self, peer: Peer) -> bool:
        """Whether the rule is about this client."""
        return not (self.uids or self.gids) or peer.uid in self.uids or bool(self.gids & peer.groups)

    def covers(self, operation: str) -> bool:
        """Whether the rule is about this operation."""
        return any(fnmatchcase(operation, pattern) for pattern in self.operations)


class Access:
    """All rules, in order."""

    def __init__(self, rules: Sequence[AccessRule] = (), operations: Iterable[str] = ()) -> None:
        """Raises InvalidParameter for a name that does not exist or a pattern that none of ``operations`` fits."""
        known = frozenset(operations)
        self._rules = [resolve(rule, known) for rule in rules]

    def grant(self, peer: Peer, operation: str) -> Grant:
        """What ``peer`` may do with ``operation``; raises Forbidden."""
        if not self._rules or peer.trusted or operation in OPEN:
            return WHOLE
        if peer.uid is None:
            raise Forbidden("access denied: clients over TCP need a verified certificate")
        rule = next((rule for rule in self._rules if rule.names(peer) and rule.covers(operation)), None)
        if rule is None:
            raise Forbidden(f"access denied: no rule allows {peer} the operation {operation}")
        if operation in OPAQUE and not rule.grant.whole:
            raise Forbidden(f"access denied: {operation} needs a rule with host-access and without labels")
        if operation in ABOUT_ALL and rule.grant.labels:
            raise Forbidden(f"access denied: {operation} tells of all containers and {peer} may see some only")
        return rule.grant


def resolve(rule: AccessRule, operations: frozenset[str]) -> Rule:
    """Look up names and check the patterns and labels; raises InvalidParameter."""
    for pattern in rule.operations:
        if not any(fnmatchcase(operation, pattern) for operation in operations):
            raise InvalidParameter(f"invalid access rule: no operation is called {pattern!r}")
    for label in rule.labels:
        if not label or "=" in label:
            raise InvalidParameter(f"invalid access rule: {label!r} cannot be the name of a label")
    return Rule(
        frozenset(identify("user", user, lambda name: pwd.getpwnam(name).pw_uid) for user in rule.users),
        frozenset(identify("group", group, lambda name: grp.getgrnam(name).gr_gid) for group in rule.groups),
        tuple(rule.operations),
        Grant(rule.labels, rule.host_access),
    )


def identify(kind: str, who: str | int, look_up: Callable[[str], int]) -> int:
    """The number of a user or group; raises InvalidParameter for a name that does not exist."""
    if isinstance(who, int) or who.isdecimal():
        return int(who)
    try:
        return look_up(who)
    except KeyError:
        raise InvalidParameter(f"invalid access rule: there is no {kind} {who!r}") from None


# What reaches the host.

HARMLESS_OPTIONS = frozenset({"no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"})
LOCAL_LOGS = frozenset({"", "json-file", "local", "none"})
OUR_RUNTIME = frozenset({"", "sampan"})
HOST = frozenset({"host"})

# Field of HostConfig → whether its value reaches past the container.
REACHES: tuple[tuple[str, Callable[[HostConfig], bool]], ...] = (
    ("Privileged", lambda host: host.privileged),
    ("NetworkMode", lambda host: host.network_mode in HOST),
    ("PidMode", lambda host: host.pid_mode in HOST),
    ("IpcMode", lambda host: host.ipc_mode in HOST),
    ("UTSMode", lambda host: host.uts_mode in HOST),
    ("UsernsMode", lambda host: bool(host.userns_mode)),
    ("CgroupnsMode", lambda host: host.cgroupns_mode in HOST),
    ("CgroupParent", lambda host: bool(host.cgroup_parent)),
    ("Cgroup", lambda host: bool(host.cgroup)),
    ("Binds", lambda host: any(bind_reaches(bind) for bind in host.binds or ())),
    ("Mounts", lambda host: any(mount_reaches(mount) for mount in host.mounts)),
    ("VolumeDriver", lambda host: host.volume_driver not in ("", "local")),
    ("Devices", lambda host: bool(host.devices)),
    ("DeviceCgroupRules", lambda host: bool(host.device_cgroup_rules)),
    ("DeviceRequests", lambda host: bool(host.device_requests)),
    ("CapAdd", lambda host: bool(host.cap_add)),
    ("SecurityOpt", lambda host: not HARMLESS_OPTIONS.issuperset(host.security_opt or ())),
    ("MaskedPaths", lambda host: uncovers(host.masked_paths, MASKED_PATHS)),
    ("ReadonlyPaths", lambda host: uncovers(host.readonly_paths, READONLY_PATHS)),
    ("Runtime", lambda host: host.runtime not in OUR_RUNTIME),
    ("LogConfig", lambda host: host.log_config.type not in LOCAL_LOGS),
    ("OomScoreAdj", lambda host: host.oom_score_adj < 0),
)


def uncovers(paths: Sequence[str] | None, usual: Sequence[str]) -> bool:
    """Whether a list of protected paths leaves out one that is usually protected; None is the usual list."""
    return paths is not None and not set(usual) <= set(paths)


VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


def bind_reaches(bind: str) -> bool:
    """Whether ``source:target`` has anything but a volume's name for a source."""
    source, colon, _ = bind.partition(":")
    return bool(colon) and not VOLUME_NAME.fullmatch(source)


def mount_reaches(mount: Mount) -> bool:
    """Whether a mount shows something of the host: its paths, or a volume made by a driver's options."""
    driver = mount.volume_options.driver_config if mount.volume_options else None
    made = driver is not None and (driver.name not in ("", "local") or bool(driver.options))
    return mount.type not in ("volume", "tmpfs", "image") or made


ONLY_WHEN_MADE = frozenset({"CgroupParent", "Runtime", "LogConfig", "OomScoreAdj"})
"""Fields that make nobody inside the container stronger, and that the daemon's own settings fill in."""


def container_reaches(request: ContainerCreateRequest) -> str:
    """The field by which a new container would reach the host; empty if it would not."""
    return next((f"HostConfig.{name}" for name, reaches in REACHES if reaches(request.host_config)), "")


def entering_reaches(host: HostConfig) -> str:
    """The field by which somebody inside an existing container reaches the host; empty if there is none."""
    strong = ((name, reaches) for name, reaches in REACHES if name not in ONLY_WHEN_MADE)
    return next((f"HostConfig.{name}" for name, reaches in strong if reaches(host)), "")


def update_reaches(request: ContainerUpdateRequest) -> str:
    """The field by which a container would come to reach the host; empty if none does."""
    given = {
        "CgroupParent": request.cgroup_parent,
        "Devices": request.devices,
        "DeviceCgroupRules": request.device_cgroup_rules,
        "DeviceRequests": request.device_requests,
    }
    return next((name for name, value in given.items() if value), "")


def volume_reaches(request: VolumeCreateRequest) -> str:
    """The field by which a new volume would reach the host: any driver's option may (``o=bind``)."""
    if request.driver not in ("", "local"):
        return "Driver"
    return "DriverOpts" if request.driver_opts else ""


def network_reaches(request: NetworkCreateRequest) -> str:
    """The field by which a new network would take hold of the host's interfaces."""
    if request.driver not in ("", "bridge"):
        return "Driver"
    return "Options" if "com.docker.network.bridge.name" in (request.options or {}) else ""


def others_named(host: HostConfig) -> list[str]:
    """Containers whose namespaces or volumes a new one would share."""
    modes = (host.network_mode, host.pid_mode, host.ipc_mode)
    shared = [mode.removeprefix("container:") for mode in modes if mode.startswith("container:")]
    return shared + [given.partition(":")[0] for given in host.volumes_from or ()]


def volumes_named(host: HostConfig) -> list[str]:
    """Named volumes that a new container would mount."""
    bound = [bind.partition(":")[0] for bind in host.binds or () if ":" in bind and not bind_reaches(bind)]
    return bound + [mount.source for mount in host.mounts if mount.type == "volume" and mount.source]
