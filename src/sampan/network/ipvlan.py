"""The ipvlan driver: nothing in the host; each endpoint a link that shares its parent's MAC, made inside the namespace.

l2         the links are on the parent's segment: neighbours and a gateway as on any other
l3, l3s    the host routes between them: no neighbours, the default route is the link itself
"""

import errno
from contextlib import suppress
from ipaddress import ip_network

from sampan.errors import Unsupported
from sampan.linux.rtnetlink import Link
from sampan.network.drivers import Macvlan, furnish
from sampan.network.endpoint import Endpoint
from sampan.network.network import Network
from sampan.network.pool import Prepared

IPVLAN = "ipvlan0"
"""The name of an ipvlan until it gets its real one."""
EVERYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class Ipvlan(Macvlan):
    """The ipvlan driver; parents are found and made as for macvlan."""

    kind = "ipvlan"

    def make(self, network: Network) -> Link:
        """The parent link; raises Unsupported where the kernel has no ipvlan."""
        self._require_kernel()
        return super().make(network)

    def _require_kernel(self) -> None:
        """A link without a parent is refused by every kernel, but with EOPNOTSUPP only where the kind is unknown."""
        try:
            self._rtnetlink.link_add("", self.kind)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise Unsupported("ipvlan networks need a kernel with CONFIG_IPVLAN, which this is not") from None

    async def plug(self, network: Network, endpoint: Endpoint, into: Prepared) -> None:
        """Make the interface inside the namespace."""
        parent, options = self.make(network), network.options
        self._rtnetlink.ipvlan_add(
            IPVLAN, parent.ifindex, options.ipvlan_mode, flags=options.ipvlan_flag, netns=into.netns
        )
        await furnish(self._namespaces, network, endpoint, into, IPVLAN)
        link = into.rtnetlink.link(endpoint.interface)
        for address in endpoint.addresses if link and options.is_layer3 and not endpoint.internal else ():
            with suppress(FileExistsError):  # another network provides the default route
                into.rtnetlink.route_add(EVERYWHERE[address.version], index=link.ifindex if link else 0)
