"""What a create request means: checked, completed, as the summary that is stored and shown.

Nothing here touches the kernel; the pools of a network whose user named none are chosen in ``networks``.
"""

import secrets
import time
from collections.abc import Mapping

from msgspec.structs import replace

from sampan.api.networks import IPAM, ConfigReference, IPAMConfig, NetworkCreateRequest, NetworkSummary
from sampan.api.times import format_time
from sampan.errors import Forbidden, InvalidParameter, NotFound
from sampan.linux.rtnetlink import Network
from sampan.network import options
from sampan.network.ipam import Pool, overlaps, parse_address, parse_network

PREDEFINED = ("bridge", "host", "none")
MAXIMUM_NAME = 255
DRIVERS = ("bridge", "macvlan", "ipvlan")
FAMILIES = {4: "com.docker.network.enable_ipv4", 6: "com.docker.network.enable_ipv6"}
SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
    "swarm and try again."
)


def check_name(name: str) -> None:
    """Raise InvalidParameter, or Forbidden for names that stand for something."""
    if not name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if name in PREDEFINED or name == "default" or name.startswith("container:"):
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if len(name) > MAXIMUM_NAME:
        raise InvalidParameter(f"invalid network name: {len(name)} characters, expected at most {MAXIMUM_NAME}")


def check_driver(driver: str) -> None:
    """Raise what fits unless ``driver`` is one of ours that users may use."""
    if driver in DRIVERS:
        return
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise Forbidden(SWARM)
    raise NotFound(f'could not find plugin {driver} in v1 plugin registry: plugin "{driver}" not found')


def check_request(request: NetworkCreateRequest) -> None:
    """Raise for what no combination with other networks could make right."""
    check_name(request.name)
    if request.config_only:
        check_template(request)
    else:
        check_driver(request.driver or "bridge")
        check_scope(request)
    driver = request.ipam.driver if request.ipam else ""
    if driver not in ("", "default", "null"):
        raise InvalidParameter(f'invalid ipam driver: "{driver}"')


def check_template(request: NetworkCreateRequest) -> None:
    """Raise Forbidden for a configuration network that asks for what only real networks have."""
    if request.ingress or request.internal or request.attachable or request.scope:
        raise Forbidden(
            "configuration network can only contain network specific fields. Network operator fields like "
            "[ ingress | internal | attachable | scope ] are not supported."
        )
    if request.config_from and request.config_from.network:
        raise Forbidden("a configuration network cannot depend on another configuration network")


def check_scope(request: NetworkCreateRequest) -> None:
    """Raise for networks that only a swarm has."""
    if request.ingress:
        raise Forbidden("Ingress network can only be global scope network")
    if request.scope == "swarm":
        raise Forbidden("cannot create a swarm scoped network when swarm is not active")
    if request.scope not in ("", "local"):
        raise InvalidParameter(f"invalid scope: {request.scope!r}: expected local")


def check_dependent(request: NetworkCreateRequest) -> None:
    """Raise Forbidden for settings beside those of a configuration network."""
    ipam = request.ipam or IPAM()
    if ipam.config or ipam.options or request.labels or request.enable_ipv4 is False or request.enable_ipv6:
        raise Forbidden(
            "user-specified configurations are not supported if the network depends on a configuration network"
        )
    if request.options:
        raise Forbidden("network driver options are not supported if the network depends on a configuration network")


def summary(
    request: NetworkCreateRequest,
    template: NetworkSummary | None,
    defaults: Mapping[str, Mapping[str, str]] | None = None,
) -> NetworkSummary:
    """The network that ``request`` asks for.

    ``template`` is its configuration-only network; without one, ``defaults`` are options by driver.
    """
    check_request(request)
    source = template or request
    ipam = source.ipam or IPAM()
    given = dict(source.options or {})
    if template is None:
        given = {**(defaults or {}).get(request.driver or "bridge", {}), **given}
    families = {4: source.enable_ipv4, 6: source.enable_ipv6}
    enabled = {version: family(version, asked, given) for version, asked in families.items()}
    made = NetworkSummary(
        name=request.name,
        id=secrets.token_hex(32),
        created=format_time(time.time_ns()),
        driver="null" if request.config_only else request.driver or "bridge",
        enable_ipv4=enabled[4],
        enable_ipv6=enabled[6],
        ipam=IPAM(
            driver=ipam.driver or "default", options=ipam.options, config=[replace(c) for c in ipam.config or []]
        ),
        internal=request.internal,
        attachable=request.attachable,
        config_from=request.config_from or ConfigReference(),
        config_only=request.config_only,
        options=given,
        labels=dict((template.labels if template else request.labels) or {}),
    )
    check_modes(options.parse(made.options or {}), made)
    check_pools(pools(made), made)
    return made


def family(version: int, asked: bool | None, given: Mapping[str, str]) -> bool:
    """Whether a network has IP ``version``: as asked, else by its options, else IPv4 alone."""
    if asked is not None:
        return asked
    text = given.get(key := FAMILIES[version], "")
    if text and text not in options.TRUE | options.FALSE:
        raise InvalidParameter(f'driver-opt "{key}" is not a valid bool')
    return text in options.TRUE if text else version == 4


def pools(network: NetworkSummary) -> list[Pool]:
    """The pools of the families that the network has; others may be described, and mean nothing."""
    enabled = {4: network.enable_ipv4, 6: network.enable_ipv6}
    found = [pool(config) for config in network.ipam.config or []]
    return [one for one in found if enabled[one.subnet.version]]


def check_modes(given: options.Options, network: NetworkSummary) -> None:
    """Raise InvalidParameter for a network without any family, or cut off from a host that it is to reach."""
    if not (network.enable_ipv4 or network.enable_ipv6 or network.config_only):
        raise InvalidParameter("IPv4 or IPv6 must be enabled")
    if options.GatewayMode.ISOLATED in (given.gateway4, given.gateway6) and not network.internal:
        raise InvalidParameter("gateway mode 'isolated' can only be used for an internal network")


def check_pools(pools: list[Pool], network: NetworkSummary) -> None:
    """Raise for pools that overlap each other, and for a bridge with two of one family."""
    for number, one in enumerate(pools):
        if any(overlaps(one.subnet, other.subnet) for other in pools[:number]):
            raise InvalidParameter(f"invalid subnet {one.subnet}: it overlaps another subnet of the same network")
    versions = [one.subnet.version for one in pools]
    if network.driver == "bridge" and len(versions) > len(set(versions)):
        raise Forbidden("bridge driver doesn't support multiple subnets")


def pool(config: IPAMConfig) -> Pool:
    """The pool that one element of IPAM.Config describes; raises InvalidParameter naming what does not fit."""
    if not config.subnet:
        raise InvalidParameter("invalid network config:\nno subnet specified for the given range or gateway")
    subnet = parse_network(config.subnet, "subnet")
    if parse_address(config.subnet.partition("/")[0], "subnet") != subnet.network_address:
        raise InvalidParameter(f"invalid network config:\ninvalid subnet {config.subnet}: it should be {subnet}")
    given = parse_network(config.ip_range, "ip-range") if config.ip_range else None
    if given:
        check_range(config.ip_range, given, subnet)
    gateway = parse_address(config.gateway.partition("/")[0], "gateway address") if config.gateway else None
    auxiliary = {
        name: parse_address(text, f"auxiliary address {name}") for name, text in config.auxiliary_addresses.items()
    }
    for what, address in [("gateway", gateway), *((f"auxiliary address {name}", a) for name, a in auxiliary.items())]:
        if address is not None and address not in subnet:
            shown = f"{what} {address}" if what == "gateway" else what
            reason = f"parent subnet {subnet} doesn't contain this address"
            if address.version != subnet.version:
                reason = f"parent subnet is an IPv{subnet.version} block"
            raise InvalidParameter(f"invalid network config:\ninvalid {shown}: {reason}")
    return Pool(subnet, range_=given, gateway=gateway, auxiliary=auxiliary)


def check_range(text: str, given: Network, subnet: Network) -> None:
    """Raise InvalidParameter for an ip-range that is no part of its subnet."""
    reason = ""
    if given.version != subnet.version:
        reason = f"parent subnet is an IPv{subnet.version} block"
    elif given.prefixlen < subnet.prefixlen:
        reason = f"CIDR block is bigger than its parent subnet {subnet}"
    elif parse_address(text.partition("/")[0], "ip-range") != given.network_address:
        reason = f"it should be {given}"
    elif not overlaps(subnet, given):
        reason = f"parent subnet {subnet} doesn't contain ip-range"
    if reason:
        raise InvalidParameter(f"invalid network config:\ninvalid ip-range {text}: {reason}")
