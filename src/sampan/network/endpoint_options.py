"""Driver options of an endpoint: the name of its interface, and kernel parameters of that interface.

com.docker.network.endpoint.ifname     eth7
com.docker.network.endpoint.sysctls    net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2

``IFNAME`` (or ``ifname``: some clients write keys small) stands for the interface, whose name nobody knows before.
"""

from pathlib import PurePosixPath

from sampan.api.networks import EndpointSettings
from sampan.errors import InvalidParameter
from sampan.network.options import LINK_NAME

IFNAME = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
FAMILIES = ("ipv4", "ipv6", "mpls")
PLACEHOLDERS = ("IFNAME", "ifname")


def interface_name(asked: EndpointSettings) -> str:
    """The name asked for, empty for any; raises InvalidParameter for what is no link's name."""
    name = (asked.driver_opts or {}).get(IFNAME, "")
    if name and (not LINK_NAME.fullmatch(name) or name in (".", "..", "lo")):
        raise InvalidParameter(f"invalid interface name {name!r}: expected up to 15 letters without '/'")
    return name


def parameters(asked: EndpointSettings, interface: str) -> dict[str, str]:
    """Kernel parameters of ``interface``: path below /proc/sys/net → value. Raises InvalidParameter."""
    text = (asked.driver_opts or {}).get(SYSCTLS, "")
    return dict(parameter(one, interface) for one in text.split(",")) if text else {}


def parameter(text: str, interface: str) -> tuple[str, str]:
    """``net.ipv4.conf.IFNAME.forwarding=0`` as path and value."""
    name, _, value = text.partition("=")
    words = name.split(".", 4)
    if len(words) != 5 or words[0] != "net" or words[1] not in FAMILIES or words[3] not in PLACEHOLDERS:
        raise unrecognised(text)
    path = PurePosixPath(words[1], words[2], interface, *words[4].split("."))
    if any("/" in word or word in ("", "..") for word in (words[2], *words[4].split("."))):
        raise unrecognised(text)
    return str(path), value


def unrecognised(text: str) -> InvalidParameter:
    """The error for what is no kernel parameter of an interface, in Docker's words."""
    return InvalidParameter(
        f"unrecognised network interface sysctl '{text}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', "
        "'X' must be 'ipv4', 'ipv6' or 'mpls'"
    )
