"""Pools and leases, and the choice of subnets."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.config import AddressPool
from sampan.errors import InvalidParameter
from sampan.network.ipam import DEFAULT_POOLS, AddressInUse, NoAddresses, Pool, choose_subnet, overlaps


def pool(subnet: str, **fields: object) -> Pool:
    return Pool(ip_network(subnet), **fields)  # type: ignore[arg-type]


def test_leases_are_the_lowest_free_addresses() -> None:
    made = pool("10.0.0.0/29", gateway=ip_address("10.0.0.1"))
    assert [str(made.lease()) for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    made.release(ip_address("10.0.0.3"))
    made.release(ip_address("10.0.0.2"))
    assert str(made.lease()) == "10.0.0.2"


def test_a_full_pool_says_so() -> None:
    made = pool("10.0.0.0/30", gateway=ip_address("10.0.0.1"))
    made.lease()
    with pytest.raises(NoAddresses, match="no available IPv4 addresses on this network's address pools"):
        made.lease()


def test_only_the_range_is_given_out_unasked() -> None:
    made = pool("10.0.0.0/24", range_=ip_network("10.0.0.128/31"))
    assert [str(made.lease()) for _ in range(2)] == ["10.0.0.128", "10.0.0.129"]
    assert str(made.lease(ip_address("10.0.0.7"))) == "10.0.0.7"
    with pytest.raises(NoAddresses):
        made.lease()


def test_reserved_addresses_are_nobodys() -> None:
    made = pool("10.0.0.0/29", auxiliary={"router": ip_address("10.0.0.2")})
    for taken in ("10.0.0.2", "10.0.0.0", "10.0.0.7"):
        with pytest.raises(AddressInUse):
            made.lease(ip_address(taken))


def test_a_chosen_gateway_is_reserved() -> None:
    made = pool("10.0.0.0/29")
    assert str(made.choose_gateway()) == "10.0.0.1"
    assert str(made.lease()) == "10.0.0.2"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 13)), max_size=60))
def test_no_address_is_leased_twice(steps: list[tuple[bool, int]]) -> None:
    made = pool("10.0.0.0/28")
    leased: list[object] = []
    for is_lease, index in steps:
        if is_lease and len(leased) < 14:
            address = made.lease()
            assert address not in leased
            leased.append(address)
        elif leased and not is_lease:
            made.release(leased.pop(index % len(leased)))  # type: ignore[arg-type]
    assert made.in_use == len(leased) + 2
    assert made.available == 14 - len(leased)


def test_a_huge_pool_is_as_quick_as_a_small_one() -> None:
    made = pool("fd00::/64")
    assert str(made.lease()) == "fd00::1"
    assert made.available == (1 << 64) - 2


def test_subnets_avoid_routes_and_each_other() -> None:
    taken = [ip_network("172.17.0.0/16"), ip_network("172.18.5.0/24"), ip_network("0.0.0.0/0")]
    assert str(choose_subnet(DEFAULT_POOLS, 4, taken)) == "172.19.0.0/16"


def test_exhausted_pools_say_so() -> None:
    pools = [AddressPool("10.0.0.0/24", 25)]
    with pytest.raises(InvalidParameter, match="all predefined address pools have been fully subnetted"):
        choose_subnet(pools, 4, [ip_network("10.0.0.0/8")])


def test_families_never_overlap() -> None:
    assert not overlaps(ip_network("0.0.0.0/0"), ip_network("::/0"))


def test_a_former_address_is_leased_again_when_it_is_free() -> None:
    pool = Pool(ip_network("10.9.0.0/29"))
    first, second = pool.lease(), pool.lease()
    pool.release(second)
    pool.release(first)
    assert pool.lease_again(str(second)) == second
    assert pool.lease_again(str(second)) == first
    assert pool.lease_again("") not in (first, second)
    assert pool.lease_again("10.8.0.1") in pool.subnet


def test_a_lease_that_comes_and_goes_is_listed_once() -> None:
    pool = Pool(ip_network("10.9.0.0/29"))
    first, second = pool.lease(), pool.lease()
    for _ in range(100):
        pool.release(second)
        pool.lease_again(str(second))
    pool.release(second)
    pool.release(first)
    leased = [pool.lease() for _ in range(6)]
    assert len(set(leased)) == 6
