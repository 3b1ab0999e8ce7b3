"""Address management: pools of a network, leases in them, and the choice of pools for those who name none.

    subnet   10.0.0.0/24     what the link has
    range    10.0.0.128/25   what is given out unasked (the whole subnet if not set)
    gateway  10.0.0.1        the bridge's own
    aux      {"router": …}   never given out

A lease is the lowest free address, as Docker gives it; a container that starts again gets the one it had, if free.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from sampan.config import AddressPool
from sampan.errors import Conflict, Forbidden, InvalidParameter
from sampan.linux.rtnetlink import Address, Network

DEFAULT_POOLS = (
    AddressPool("172.17.0.0/16", 16),
    AddressPool("172.18.0.0/15", 16),
    AddressPool("172.20.0.0/14", 16),
    AddressPool("172.24.0.0/13", 16),
    AddressPool("192.168.0.0/16", 20),
)
SATURATED = (1 << 64) - 1


class NoAddresses(Conflict):
    """Every address of the pool is leased."""

    def __init__(self, subnet: Network) -> None:
        super().__init__(f"no available IPv{subnet.version} addresses on this network's address pools")


class AddressInUse(Forbidden):
    def __init__(self, address: Address) -> None:
        super().__init__(f"Address already in use: {address}")


class PoolOverlaps(Forbidden):
    def __init__(self) -> None:
        super().__init__("invalid pool request: Pool overlaps with other one on this address space")


class Pool:
    """One subnet with its leases."""

    def __init__(
        self,
        subnet: Network,
        *,
        range_: Network | None = None,
        gateway: Address | None = None,
        auxiliary: Mapping[str, Address] | None = None,
    ) -> None:
        self.subnet = subnet
        self.range = range_ or subnet
        self.gateway = gateway
        self._reserved = set(self.edges()) | set((auxiliary or {}).values()) | ({gateway} if gateway else set())
        self._leased: set[Address] = set()
        self._returned: list[int] = []
        self._waiting: set[int] = set()  # what is in that heap
        self._next = int(self.range.network_address)

    def edges(self) -> Iterator[Address]:
        """Network and broadcast address, where the prefix leaves room for both."""
        if self.subnet.num_addresses > 2:
            yield self.subnet.network_address
            if self.subnet.version == 4:
                yield self.subnet.broadcast_address

    def lease(self, wanted: Address | None = None) -> Address:
        """Take ``wanted``, or the lowest free address of the range; raises AddressInUse or NoAddresses."""
        if wanted is not None:
            if wanted in self._leased or wanted in self._reserved:
                raise AddressInUse(wanted)
            self._leased.add(wanted)
            return wanted
        for number in self._candidates():
            address = self._address(number)
            if address not in self._leased and address not in self._reserved:
                self._leased.add(address)
                return address
        raise NoAddresses(self.subnet)

    def lease_again(self, former: str) -> Address:
        """Take the address that was had before if it is free, else any; raises NoAddresses."""
        try:
            address = ip_address(former)
        except ValueError:
            return self.lease()
        taken = address in self._leased or address in self._reserved
        return self.lease(address if address in self.range and not taken else None)

    def _candidates(self) -> Iterator[int]:
        while self._returned:
            number = heapq.heappop(self._returned)
            self._waiting.discard(number)
            yield number
        last = int(self.range.broadcast_address)
        while self._next <= last:
            self._next += 1
            yield self._next - 1

    def _address(self, number: int) -> Address:
        return type(self.subnet.network_address)(number)

    def release(self, address: Address) -> None:
        """Give ``address`` back; one that is not leased is ignored."""
        if address in self._leased:
            self._leased.discard(address)
            number = int(address)
            if address in self.range and number < self._next and number not in self._waiting:
                heapq.heappush(self._returned, number)
                self._waiting.add(number)

    def choose_gateway(self) -> Address:
        """The gateway of a pool whose user named none: the lowest free address, from now on reserved."""
        self.gateway = self.lease()
        self._leased.discard(self.gateway)
        self._reserved.add(self.gateway)
        return self.gateway

    @property
    def in_use(self) -> int:
        """Leased and reserved addresses of the subnet."""
        return min(len(self._leased | self._reserved), SATURATED)

    @property
    def available(self) -> int:
        """Addresses that can still be given out unasked."""
        taken = sum(1 for address in self._leased | self._reserved if address in self.range)
        return min(self.range.num_addresses - taken, SATURATED)


def choose_subnet(pools: Sequence[AddressPool], version: int, taken: Iterable[Network], size: int = 0) -> Network:
    """The first subnet of ``pools`` that overlaps nothing in ``taken``; raises InvalidParameter when there is none.

    ``size`` is its prefix length, 0 for that of the pool.
    """
    avoid = [network for network in taken if network.version == version and network.prefixlen]
    for pool in pools:
        base = parse_network(pool.base, "default address pool")
        if base.version != version or 0 < size < base.prefixlen:
            continue
        for subnet in subnets(base, size or pool.size):
            if not any(overlaps(subnet, other) for other in avoid):
                return subnet
    raise InvalidParameter("all predefined address pools have been fully subnetted")


def subnets(base: Network, size: int) -> Iterator[Network]:
    """The subnets of ``base`` with ``size`` prefix bits, at most 65536 of them."""
    if not base.prefixlen <= size <= base.max_prefixlen:
        raise InvalidParameter(f"invalid default address pool: size {size} does not fit in {base}")
    step = 1 << (base.max_prefixlen - size)
    for number in range(min(1 << (size - base.prefixlen), 1 << 16)):
        yield type(base)((int(base.network_address) + number * step, size))


def overlaps(one: Network, other: Network) -> bool:
    """Whether the two share an address."""
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.overlaps(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.overlaps(other)


def parse_network(text: str, what: str) -> Network:
    """``10.0.0.0/24``; raises InvalidParameter naming ``what`` was expected."""
    try:
        network = ip_network(text, strict=False)
        if "/" not in text:
            raise ValueError(text)
    except ValueError:
        raise InvalidParameter(f"invalid {what}: {text!r}: expected an address with prefix length") from None
    return network


def parse_address(text: str, what: str) -> Address:
    """``10.0.0.1``; raises InvalidParameter naming ``what`` was expected."""
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidParameter(f"invalid {what}: {text!r}: expected an IP address") from None
