"""What a container asks of its networks, read and checked."""

from collections.abc import Callable, Collection, Sequence

from sampan.api.networks import EndpointSettings
from sampan.errors import Forbidden, InvalidParameter
from sampan.network.drivers import check_mac
from sampan.network.member import LINKLESS, Member
from sampan.network.network import Network

Wish = tuple[Network, EndpointSettings]

SHARES = "container sharing network namespace with another container or host cannot be connected to any other network"
PRIVATE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"


def wishes_of(
    member: Member, find: Callable[[str], Network], by_reference: Callable[[str], Network | None]
) -> Sequence[Wish]:
    """The networks a starting container is to be plugged into, that of its mode first.

    The endpoints it is configured with count, its mode only where it has none. ``find`` raises NoSuchNetwork;
    ``by_reference`` knows whole names and IDs only. Raises InvalidParameter for networks that do not go together.
    """
    if member.disconnected:
        return []
    asked = dict(member.endpoints) or {member.network_mode: EndpointSettings()}
    found = [(find(name if name not in ("", "default") else "bridge"), value) for name, value in asked.items()]
    check_combination({network.name for network, _ in found})
    wishes = {network.id: (network, settings) for network, settings in found if network.name not in LINKLESS}
    mode = by_reference("bridge" if member.network_mode in ("", "default") else member.network_mode)
    if mode is None or mode.id not in wishes:
        return [*wishes.values()]
    main, settings = wishes.pop(mode.id)
    settings.mac_address = settings.mac_address or member.mac_address
    if member.links and main.has_dns:
        settings.links = list(dict.fromkeys([*(settings.links or []), *member.links]))
    return [(main, settings), *wishes.values()]


def check_wish(network: Network, asked: EndpointSettings) -> None:
    """Raise Forbidden or InvalidParameter for an endpoint that the network never gives."""
    if network.summary.config_only:
        raise Forbidden("cannot create endpoint on configuration-only network")
    network.check(asked)
    if asked.mac_address:
        check_mac(asked.mac_address)


def check_container(reference: str) -> None:
    """Raise InvalidParameter for a container that was not named."""
    if not reference:
        raise InvalidParameter('invalid name or ID supplied: ""')


def check_combination(names: Collection[str]) -> None:
    """Raise InvalidParameter for ``none`` or ``host`` beside another network."""
    for name, why in (("none", PRIVATE), ("host", SHARES)):
        if name in names and len(names) > 1:
            raise InvalidParameter(why)
