"""Limits: the impossible is refused in Docker's words, what the host lacks is taken back with a warning."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.host_config import Resources
from sampan.engine.host import Host, parse_list
from sampan.engine.limits import check_resources, format_list
from sampan.errors import InvalidParameter

HOST = Host(
    cgroup_version=1, memory=True, swap=True, swappiness=True, oom_control=True, cpu_quota=True, cpu_shares=True,
    cpu_realtime=False, cpuset=True, pids=True, blkio_weight=True, blkio_throttle=True,
    cpus=frozenset({0, 1}), nodes=frozenset({0}), cpu_count=2, memory_total=4 << 30,
)  # fmt: skip
MIB = 1 << 20


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"memory": 5 * MIB}, "Minimum memory limit allowed is 6MB"),
        ({"memory": 10 * MIB, "memory_swap": 9 * MIB}, "Minimum memoryswap limit should be larger than memory limit"),
        ({"memory_swap": 9 * MIB}, "You should always set the Memory limit when using Memoryswap limit"),
        ({"memory_swappiness": 101}, "Invalid value: 101, valid memory swappiness range is 0-100"),
        ({"memory": 10 * MIB, "memory_reservation": 20 * MIB}, "can not be less than memory reservation limit"),
        ({"nano_cpus": 3 * 10**9}, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        ({"nano_cpus": 10**9, "cpu_quota": 5000}, "Nano CPUs and CPU Quota cannot both be set"),
        ({"cpu_period": 10}, "CPU cfs period can not be less than 1ms"),
        ({"cpu_quota": 10}, "CPU cfs quota can not be less than 1ms"),
        ({"cpuset_cpus": "0-7"}, "Requested CPUs are not available - requested 0-7, available: 0-1"),
        ({"cpuset_cpus": "x"}, "Invalid value x for cpuset cpus"),
        ({"cpuset_mems": "3"}, "Requested memory nodes are not available - requested 3, available: 0"),
        ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
        ({"cpu_shares": -1}, "invalid CPU shares"),
        ({"cpu_realtime_runtime": 1000}, "kernel does not support CPU real-time scheduler"),
    ],
)
def test_an_impossible_limit_is_refused(asked: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence.replace("(", "\\(")):
        check_resources(Resources(**asked), HOST)  # type: ignore[arg-type]


def test_a_limit_the_host_lacks_is_taken_back_with_a_warning() -> None:
    asked = Resources(memory=64 * MIB, pids_limit=5, cpu_shares=2, blkio_weight=100)
    poor = replace(HOST, memory=False, pids=False, cpu_shares=False, blkio_weight=False)
    warnings = check_resources(asked, poor)
    assert (asked.memory, asked.pids_limit, asked.cpu_shares, asked.blkio_weight) == (0, None, 0, 0)
    assert [warning.partition(" or the cgroup")[0] for warning in warnings] == [
        "Your kernel does not support memory limit capabilities",
        "Your kernel does not support PIDs limit capabilities",
        "Your kernel does not support CPU shares",
        "Your kernel does not support Block I/O weight",
    ]


def test_an_update_may_give_swap_alone() -> None:
    assert check_resources(Resources(memory_swap=64 * MIB), HOST, update=True) == []


@given(st.frozensets(st.integers(0, 200)))
def test_a_list_of_cpus_survives_formatting_and_parsing(numbers: frozenset[int]) -> None:
    assert parse_list(format_list(numbers)) == numbers


@given(st.text(max_size=20))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    try:
        parse_list(text)
    except InvalidParameter:
        return
    assert set(text) <= set("0123456789,- \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0") or not text.strip()
