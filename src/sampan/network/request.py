"""What a create request means: checked, completed, as the summary that is stored and shown.

Nothing here touches the kernel; the pools of a network whose user named none are chosen in ``networks``.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from msgspec.structs import replace

from sampan.api.networks import IPAM, ConfigReference, IPAMConfig, NetworkCreateRequest, NetworkSummary
from sampan.api.times import format_time
from sampan.errors import EngineError, Forbidden, InvalidParameter, NotFound
from sampan.linux.rtnetlink import Address, Network
from sampan.network import options
from sampan.network.ipam import Pool, PoolOverlaps, overlaps, parse_address, parse_network

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
        raise Forbidden(f"operation is not permitted on predefined {name} network ")
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
    raise NotFound(f'plugin "{driver}" not found')


def check_request(request: NetworkCreateRequest) -> None:
    """Raise for what no combination with other networks could make right."""
    check_name(request.name)
    if request.config_only:
        check_template(request)
    else:
        check_driver(request.driver or "bridge")
        check_scope(request)
    check_ipam_driver(request.ipam or IPAM())


def check_ipam_driver(ipam: IPAM) -> None:
    """Raise NotFound for an address management that there is not, InvalidParameter for pools of none at all."""
    if ipam.driver not in ("", "default", "null"):
        raise NotFound(f'plugin "{ipam.driver}" not found')
    if ipam.driver == "null" and ipam.config:
        raise InvalidParameter("null ipam driver does not handle specific address pool requests")


def check_addresses(network: NetworkSummary) -> None:
    """Raise InvalidParameter for an IPv4 network that nobody gives addresses."""
    if network.ipam.driver == "null" and network.enable_ipv4 and not network.config_only:
        raise InvalidParameter("ipv4 pool is empty")


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
            driver=ipam.driver or "default",
            options=ipam.options,
            config=wanted_pools(ipam.config or (), enabled) or None,
        ),
        internal=request.internal,
        attachable=request.attachable,
        config_from=request.config_from or ConfigReference(),
        config_only=request.config_only,
        options=given,
        labels=dict((template.labels if template else request.labels) or {}),
    )
    check_modes(options.parse(made.options or {}, driver=made.driver), made)
    check_addresses(made)
    check_pools(pools(made), made)
    for config in made.ipam.config or ():
        check_reserved(config)
    return made


def wanted_pools(given: Iterable[IPAMConfig], enabled: Mapping[int, bool]) -> list[IPAMConfig]:
    """The pools of the families that the network has, IPv4 first; all must make sense, and what is wrong is told.

    A pool of which nothing is said is left open, as if it were not there.
    """
    given = [config for config in given if config != IPAMConfig()]
    reasons = list(chain.from_iterable(pool_errors(config) for config in given))
    if reasons:
        raise InvalidParameter(f"invalid network config:\n{listed(reasons)}")
    found = [replace(config) for config in given if enabled[6 if ":" in config.subnet else 4]]
    return sorted(found, key=lambda config: ":" in config.subnet)


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
            raise PoolOverlaps
    versions = [one.subnet.version for one in pools]
    if network.driver == "bridge" and len(versions) > len(set(versions)):
        raise Forbidden("bridge driver doesn't support multiple subnets")


def check_reserved(config: IPAMConfig) -> None:
    """Raise EngineError, as Docker does, where a gateway or auxiliary address is one that nobody can have."""
    given = pool(config)
    taken = set(given.edges())
    if given.gateway in taken:
        raise EngineError(f"failed to allocate gateway ({given.gateway}): Address already in use")
    taken |= {given.gateway} if given.gateway else set()
    for name, address in auxiliary(config).items():
        if address in taken:
            raise EngineError(f"failed to allocate secondary ip address ({name}:{address}): Address already in use")
        taken.add(address)


def pool(config: IPAMConfig) -> Pool:
    """The pool that one element of IPAM.Config describes; raises InvalidParameter for what is no address."""
    return Pool(
        parse_network(config.subnet, "subnet"),
        range_=parse_network(config.ip_range, "ip-range") if config.ip_range else None,
        gateway=parse_gateway(config),
        auxiliary=auxiliary(config),
    )


def auxiliary(config: IPAMConfig) -> dict[str, Address]:
    """The auxiliary addresses of a pool by name."""
    return {name: parse_address(text, f"auxiliary address {name}") for name, text in config.auxiliary_addresses.items()}


def parse_gateway(config: IPAMConfig) -> Address | None:
    """The gateway of a pool, None where it is left open."""
    return parse_address(config.gateway.partition("/")[0], "gateway address") if config.gateway else None


def pool_errors(config: IPAMConfig) -> Iterator[str]:
    """What does not fit in one element of IPAM.Config; raises InvalidParameter for what is no address."""
    if not config.subnet:
        yield "no subnet specified for the given range or gateway"
        return
    subnet = parse_network(config.subnet, "subnet")
    if parse_address(config.subnet.partition("/")[0], "subnet") != subnet.network_address:
        yield f"invalid subnet {config.subnet}: it should be {subnet}"
    if config.ip_range:
        reasons = range_errors(config.ip_range, parse_network(config.ip_range, "ip-range"), subnet)
        yield from (f"invalid ip-range {config.ip_range}: {reason}" for reason in reasons)
    if (gateway := parse_gateway(config)) and (reason := address_error(gateway, subnet)):
        yield f"invalid gateway {gateway}: {reason}"
    for name, text in config.auxiliary_addresses.items():
        if reason := address_error(parse_address(text, f"auxiliary address {name}"), subnet):
            yield f"invalid auxiliary address {name}: {reason}"


def range_errors(text: str, given: Network, subnet: Network) -> Iterator[str]:
    """Why an ip-range is no part of its subnet."""
    if given.version != subnet.version:
        yield f"parent subnet is an IPv{subnet.version} block"
        return
    if given.prefixlen < subnet.prefixlen:
        yield f"CIDR block is bigger than its parent subnet {subnet}"
    if parse_address(text.partition("/")[0], "ip-range") != given.network_address:
        yield f"it should be {given}"
    if not overlaps(subnet, given):
        yield f"parent subnet {subnet} doesn't contain ip-range"


def address_error(address: Address, subnet: Network) -> str:
    """Why an address is none of ``subnet``; empty if it is."""
    if address.version != subnet.version:
        return f"parent subnet is an IPv{subnet.version} block"
    return "" if address in subnet else f"parent subnet {subnet} doesn't contain this address"


def listed(reasons: Sequence[str]) -> str:
    """One reason as it is, several as a list."""
    return reasons[0] if len(reasons) == 1 else "* " + "\n* ".join(reasons)
