"""What a daemon that is gone left on the host: its firewall table, and the bridges of its networks.

Running containers need both, so a bridge with something plugged in keeps everything as it is. The next start of the
daemon makes again whatever it needs.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from sampan.api.networks import NetworkSummary
from sampan.config import Config
from sampan.errors import Conflict
from sampan.linux.netns import Namespaces
from sampan.linux.rtnetlink import Rtnetlink
from sampan.network import predefined
from sampan.network.drivers import Bridge, bridge_mac
from sampan.network.firewall import Firewall
from sampan.network.network import Network

LINKS = Path("/sys/class/net")


def take_away(data_root: str, summaries: Iterable[NetworkSummary]) -> list[str]:
    """Remove the table and bridges of a data root's networks; what was removed. Conflict while containers use one."""
    networks = [Network(summary) for summary in summaries if summary.driver == "bridge" and not summary.config_only]
    namespaces = Namespaces()
    try:
        with Rtnetlink() as rtnetlink:
            mine = [network for network in networks if is_ours(rtnetlink, network)]
            for network in mine:
                check_unused(network)
            table = Firewall(predefined.table(Config(data_root=data_root)))
            asyncio.run(table.remove())
            bridge = Bridge(rtnetlink, namespaces)
            for network in mine:
                bridge.remove(network)
            return [f"table inet {table.table}", *(f"bridge {network.link}" for network in mine)]
    finally:
        namespaces.close()


def is_ours(rtnetlink: Rtnetlink, network: Network) -> bool:
    """Whether the network's bridge is there, and one that we made."""
    link = rtnetlink.link(network.link)
    return link is not None and link.kind == "bridge" and link.mac == bridge_mac(network)


def check_unused(network: Network) -> None:
    """Raise Conflict while an interface is plugged into the network's bridge."""
    if any((LINKS / network.link / "brif").iterdir()):
        raise Conflict(f"containers run on network {network.name} ({network.link}): stop them first")
