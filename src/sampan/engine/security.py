"""Security options of a container: ``--security-opt``, capabilities, seccomp profiles.

    no-new-privileges[=bool]   seccomp=<JSON of a profile>|unconfined|builtin   apparmor=unconfined
    label=disable              systempaths=unconfined is done by the client (empty masked and read-only paths)

AppArmor and SELinux are not applied. Where the kernel has them, a request that would change nothing (``unconfined``,
``disable``) is accepted and any other refused, so that nobody believes to be confined; where it has not, what is asked
of them means nothing and is passed over, as dockerd does.
"""

from dataclasses import dataclass
from pathlib import Path

from sampan.api.host_config import HostConfig
from sampan.config import Config
from sampan.errors import EngineError, InvalidParameter, Unsupported
from sampan.linux.capabilities import NAMES

BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
"""What Docker leaves a container (moby daemon/pkg/oci/caps)."""

APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
"""Y where the kernel has AppArmor in use."""
SELINUX = Path("/sys/fs/selinux/enforce")
"""There where the kernel has SELinux in use."""


@dataclass(frozen=True)
class Security:
    """The options, read; ``seccomp`` is "" for the default profile, "unconfined", or a profile's JSON."""

    no_new_privileges: bool = False
    seccomp: str = ""
    writable_cgroups: bool = False


def parse_security(host_config: HostConfig, daemon: Config) -> Security:
    """Read ``SecurityOpt``; raises Unsupported, and EngineError where dockerd answers 500."""
    values: dict[str, str] = {}
    for option in host_config.security_opt or ():
        if option in ("no-new-privileges", "writable-cgroups"):
            values[option] = "true"
        elif option == "disable":
            continue
        else:
            key, separator, value = option.partition("=" if "=" in option else ":")
            if not separator:
                raise EngineError(f'invalid --security-opt 1: "{option}"')
            check_option(key, value, option)
            values[key] = value
    seccomp = values.get("seccomp", daemon.seccomp_profile)
    return Security(
        no_new_privileges=BOOLEANS[values.get("no-new-privileges", str(daemon.no_new_privileges)).lower()],
        seccomp="" if seccomp in ("builtin", "default") else seccomp,
        writable_cgroups=BOOLEANS[values.get("writable-cgroups", "false").lower()],
    )


def check_option(key: str, value: str, option: str) -> None:
    """Raises EngineError for an unknown option, Unsupported for a confinement that is not applied."""
    if key in ("no-new-privileges", "writable-cgroups"):
        if value.lower() not in BOOLEANS:
            raise EngineError(f'invalid --security-opt 2: "{option}"')
    elif key == "apparmor":
        if value not in ("", "unconfined") and APPARMOR.exists() and APPARMOR.read_text().startswith("Y"):
            raise Unsupported(f"AppArmor is not enabled on this engine: cannot apply profile {value}")
    elif key == "label":
        if value != "disable" and SELINUX.exists():
            raise Unsupported("SELinux labels are not applied by this engine")
    elif key != "seccomp":
        raise EngineError(f'invalid --security-opt 2: "{option}"')


def check_capabilities(host_config: HostConfig) -> None:
    """Raises InvalidParameter for capabilities nobody knows."""
    for field, name in (("cap_add", "CapAdd"), ("cap_drop", "CapDrop")):
        try:
            normalise(getattr(host_config, field) or ())
        except InvalidParameter as error:
            raise InvalidParameter(f"invalid {name}: {error}") from None


def normalise(names: "list[str] | tuple[str, ...]") -> list[str]:
    """``net_admin`` → ``CAP_NET_ADMIN``; ``ALL`` stays; raises InvalidParameter."""
    found = []
    for name in names:
        upper = name.upper()
        full = upper if upper == "ALL" or upper.startswith("CAP_") else "CAP_" + upper
        if full != "ALL" and full not in NAMES:
            raise InvalidParameter(f'unknown capability: "CAP_{name.upper().removeprefix("CAP_")}"')
        found.append(full)
    return found


def capabilities_of(host_config: HostConfig) -> list[str]:
    """The capabilities of a container: the defaults, with those added and without those dropped.

    ``ALL`` added and some dropped is all but these; ``ALL`` dropped and some added only these.
    """
    add, drop = normalise(host_config.cap_add or []), normalise(host_config.cap_drop or [])
    if host_config.privileged:
        return list(NAMES)
    if "ALL" in add:
        return [name for name in NAMES if name not in drop]
    base = () if "ALL" in drop else DEFAULT_CAPABILITIES
    kept = [name for name in base if name not in drop]
    return kept + [name for name in add if name not in kept]
