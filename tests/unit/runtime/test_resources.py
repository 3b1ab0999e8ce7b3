"""OCI resources as control file writes, both versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidParameter, Unsupported
from sampan.oci.runtime_spec import CPU, BlockIO, HugepageLimit, Memory, Pids, Resources, ThrottleDevice, WeightDevice
from sampan.runtime.cgroups import cgroup_path, settings
from sampan.runtime.resources2 import cpu_weight, io_weight


def written(resources: Resources, version: int) -> list[tuple[str, str]]:
    return [(setting.file, setting.value) for setting in settings(resources, version)]


def test_nothing_asked_is_nothing_written() -> None:
    assert written(Resources(), 1) == written(Resources(), 2) == []


def test_memory_and_swap_are_one_limit_on_v1_and_two_on_v2() -> None:
    both = Resources(memory=Memory(limit=1 << 20, swap=3 << 20))
    (first,) = settings(both, 1)
    assert (first.file, first.value) == ("memory.limit_in_bytes", str(1 << 20))
    assert first.alternative is not None
    assert first.alternative.value == str(3 << 20)
    assert written(both, 2) == [("memory.swap.max", str(2 << 20)), ("memory.max", str(1 << 20))]


def test_unlimited_memory_lifts_swap_too() -> None:
    assert written(Resources(memory=Memory(limit=-1)), 2) == [("memory.swap.max", "max"), ("memory.max", "max")]


def test_swap_below_memory_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=">= memory limit"):
        settings(Resources(memory=Memory(limit=2, swap=1)), 2)


def test_the_period_comes_before_the_quota() -> None:
    quota = Resources(cpu=CPU(quota=50000, period=100000))
    (first,) = settings(quota, 1)
    assert (first.file, first.value) == ("cpu.cfs_period_us", "100000")
    assert first.alternative is not None
    assert (first.alternative.file, first.alternative.value) == ("cpu.cfs_quota_us", "50000")
    assert written(Resources(cpu=CPU(quota=50000)), 1) == [("cpu.cfs_quota_us", "50000")]
    assert written(quota, 2) == [("cpu.max", "50000 100000")]


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 100), (262144, 10000)])
def test_default_shares_are_the_default_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


@given(st.integers(0, 1 << 20), st.integers(0, 1 << 20))
def test_more_shares_are_never_less_weight(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= cpu_weight(low) <= cpu_weight(high) <= 10000


def test_block_weights_span_the_scale() -> None:
    assert (io_weight(10), io_weight(1000)) == ("1", "10000")


@pytest.mark.parametrize(("limit", "value"), [(-1, "max"), (0, "1"), (1, "1"), (20, "20")])
def test_a_pids_limit_of_zero_is_not_none(limit: int, value: str) -> None:
    assert written(Resources(pids=Pids(limit)), 1) == written(Resources(pids=Pids(limit)), 2) == [("pids.max", value)]


@pytest.mark.parametrize("shares", [1, 262145])
def test_shares_that_the_kernel_would_change_are_refused(shares: int) -> None:
    with pytest.raises(InvalidParameter, match="imum allowed cpu-shares is"):
        settings(Resources(cpu=CPU(shares=shares)), 1)


def test_throttles_name_the_device() -> None:
    block = Resources(block_io=BlockIO(throttle_read_bps_device=[ThrottleDevice(8, 16, 1024)]))
    assert written(block, 1) == [("blkio.throttle.read_bps_device", "8:16 1024")]
    assert written(block, 2) == [("io.max", "8:16 rbps=1024")]


def test_huge_pages_are_limited_when_reserved_too() -> None:
    asked = Resources(hugepage_limits=[HugepageLimit("2MB", 4 << 20)])
    v1, v2 = "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"
    value = str(4 << 20)
    assert written(asked, 1) == [(v1, value), ("hugetlb.2MB.rsvd.limit_in_bytes", value)]
    assert written(asked, 2) == [(v2, value), ("hugetlb.2MB.rsvd.max", value)]
    assert [setting.fallback for setting in settings(asked, 1)] == ["", v1]


def test_a_swappiness_beyond_the_specifications_is_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"invalid memory swappiness value: 101 \(valid range is 0-100\)"):
        settings(Resources(memory=Memory(swappiness=101)), 1)


@pytest.mark.parametrize("block", [BlockIO(leaf_weight=10), BlockIO(weight_device=[WeightDevice(8, 0, 10, 20)])])
def test_leaf_weights_are_refused_on_v2(block: BlockIO) -> None:
    with pytest.raises(Unsupported, match="leaf weights"):
        settings(Resources(block_io=block), 2)


def test_a_reservation_of_zero_is_none() -> None:
    assert (
        written(Resources(memory=Memory(reservation=0)), 1) == written(Resources(memory=Memory(reservation=0)), 2) == []
    )


def test_what_v2_lacks_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="swappiness"):
        settings(Resources(memory=Memory(swappiness=10)), 2)
    with pytest.raises(InvalidParameter, match="invalid configuration: cannot use unified on cgroup v1"):
        settings(Resources(unified={"memory.high": "1"}), 1)


def test_a_parent_cannot_climb_out_of_the_hierarchy() -> None:
    assert cgroup_path("abc") == "/sampan/abc"
    assert cgroup_path("abc", "../../etc") == "/etc/abc"
