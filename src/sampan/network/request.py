"""What a create request means: checked, completed, as the summary that is stored and shown.

Nothing here touches the kernel; the pools of a network whose user named none are chosen in ``networks``.
"""

import secrets
import time

from msgspec.structs import replace

from sampan.api.networks import IPAM, ConfigReference, IPAMConfig, NetworkCreateRequest, NetworkSummary
from sampan.api.times import format_time
from sampan.errors import Forbidden, InvalidParameter, NotFound, Unsupported
from sampan.network import options
from sampan.network.ipam import Pool, overlaps, parse_address, parse_network

PREDEFINED = ("bridge", "host", "none")
MAXIMUM_NAME = 255
DRIVERS = ("bridge", "macvlan")
SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
    "swarm and try again."
)


def check_name(name: str) -> None:
    """Raise InvalidParameter, or Forbidden for names that stand for something."""
    if not name.strip():
        raise InvalidParameter("invalid network name: name is empty")
    if name in PREDEFINED or name == "default":
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
    if driver == "ipvlan":
        raise Unsupported("ipvlan networks are not supported: use macvlan")
    raise NotFound(f"could not find plugin {driver} in v1 plugin registry: plugin not found")


def check_request(request: NetworkCreateRequest) -> None:
    """Raise for what no combination with other networks could make right."""
    check_name(request.name)
    if not request.config_only:
        check_driver(request.driver or "bridge")
    if request.scope == "swarm" or request.ingress:
        raise Forbidden(SWARM)
    if request.scope not in ("", "local"):
        raise InvalidParameter(f"invalid scope: {request.scope!r}: expected local")
    if request.config_only and request.config_from and request.config_from.network:
        raise Forbidden("a configuration network cannot depend on another configuration network")
    if request.enable_ipv4 is False and not request.enable_ipv6:
        raise InvalidParameter("IPv4 or IPv6 must be enabled")
    driver = request.ipam.driver if request.ipam else ""
    if driver not in ("", "default", "null"):
        raise NotFound(f"could not find plugin {driver} in v1 plugin registry: plugin not found")


def summary(request: NetworkCreateRequest, template: NetworkSummary | None) -> NetworkSummary:
    """The network that ``request`` asks for; ``template`` is its configuration-only network."""
    check_request(request)
    source = template or request
    ipam = source.ipam or IPAM()
    made = NetworkSummary(
        name=request.name,
        id=secrets.token_hex(32),
        created=format_time(time.time_ns()),
        driver="null" if request.config_only else request.driver or "bridge",
        enable_ipv4=source.enable_ipv4 is not False,
        enable_ipv6=bool(source.enable_ipv6),
        ipam=IPAM(
            driver=ipam.driver or "default", options=ipam.options, config=[replace(c) for c in ipam.config or []]
        ),
        internal=request.internal,
        attachable=request.attachable,
        config_from=request.config_from or ConfigReference(),
        config_only=request.config_only,
        options=dict(source.options or {}),
        labels=dict((template.labels if template else request.labels) or {}),
    )
    options.parse(made.options or {})
    check_pools([pool(config) for config in made.ipam.config or []], made)
    return made


def check_pools(pools: list[Pool], network: NetworkSummary) -> None:
    """Raise InvalidParameter for pools of a family that is off, or that overlap each other."""
    for number, one in enumerate(pools):
        if one.subnet.version == 6 and not network.enable_ipv6:
            raise InvalidParameter(f"invalid subnet {one.subnet}: IPv6 is not enabled for the network")
        if one.subnet.version == 4 and not network.enable_ipv4:
            raise InvalidParameter(f"invalid subnet {one.subnet}: IPv4 is not enabled for the network")
        if any(overlaps(one.subnet, other.subnet) for other in pools[:number]):
            raise InvalidParameter(f"invalid subnet {one.subnet}: it overlaps another subnet of the same network")


def pool(config: IPAMConfig) -> Pool:
    """The pool that one element of IPAM.Config describes; raises InvalidParameter naming what does not fit."""
    if not config.subnet:
        raise InvalidParameter("invalid network config:\nno subnet specified for the given range or gateway")
    subnet = parse_network(config.subnet, "subnet")
    if parse_address(config.subnet.partition("/")[0], "subnet") != subnet.network_address:
        raise InvalidParameter(f"invalid network config:\ninvalid subnet {config.subnet}: it should be {subnet}")
    given = parse_network(config.ip_range, "ip-range") if config.ip_range else None
    if given and (given.version != subnet.version or not overlaps(subnet, given) or given.prefixlen < subnet.prefixlen):
        raise InvalidParameter(
            f"invalid network config:\ninvalid ip-range {config.ip_range}: parent subnet {subnet} does not contain it"
        )
    gateway = parse_address(config.gateway.partition("/")[0], "gateway address") if config.gateway else None
    auxiliary = {
        name: parse_address(text, f"auxiliary address {name}") for name, text in config.auxiliary_addresses.items()
    }
    for what, address in [("gateway", gateway), *((f"auxiliary address {name}", a) for name, a in auxiliary.items())]:
        if address is not None and address not in subnet:
            raise InvalidParameter(
                f"invalid network config:\ninvalid {what} {address}: parent subnet {subnet} does not contain it"
            )
    return Pool(subnet, range_=given, gateway=gateway, auxiliary=auxiliary)
