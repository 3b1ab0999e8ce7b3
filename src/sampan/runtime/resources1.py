"""OCI resources as writes to cgroup v1 control files, in the order the kernel accepts them.

Source: runtime-spec config-linux.md "Control groups"; Documentation/admin-guide/cgroup-v1/.
"""

from collections.abc import Iterator

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import CPU, BlockIO, Memory, NetworkResources, Resources
from sampan.runtime.resources import Setting, each, rdma_limits, tasks_limit, throttles


def settings(resources: Resources) -> Iterator[Setting]:
    """Every write ``resources`` asks for except the device list; members left out ask for none."""
    if resources.unified:
        raise InvalidParameter("invalid configuration: cannot use unified on cgroup v1 (linux.resources.unified)")
    if resources.memory:
        yield from _memory(resources.memory)
    if resources.cpu:
        yield from _cpu(resources.cpu)
    if resources.pids and resources.pids.limit is not None:
        yield Setting("pids.max", tasks_limit(resources.pids.limit))
    if resources.block_io:
        yield from _block_io(resources.block_io)
    for page in resources.hugepage_limits:
        used = f"hugetlb.{page.page_size}.limit_in_bytes"
        yield Setting(used, str(page.limit))
        yield Setting(f"hugetlb.{page.page_size}.rsvd.limit_in_bytes", str(page.limit), fallback=used)
    yield from rdma_limits(resources.rdma)
    if resources.network:
        yield from _network(resources.network)


def _memory(memory: Memory) -> Iterator[Setting]:
    """``limit`` and ``swap`` bound each other; ``Setting.alternative`` lets the writer try them the other way."""
    swap = -1 if memory.limit == -1 and not memory.swap else memory.swap
    limit = Setting("memory.limit_in_bytes", str(memory.limit)) if memory.limit else None
    both = Setting("memory.memsw.limit_in_bytes", str(swap)) if swap else None
    if limit and both:
        yield Setting(limit.file, limit.value, alternative=both)
    elif limit or both:
        yield limit or both  # type: ignore[misc]
    yield from each(
        ("memory.soft_limit_in_bytes", memory.reservation or None),
        ("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp or None),
        ("memory.swappiness", _swappiness(memory)),
        ("memory.oom_control", 1 if memory.disable_oom_killer else None),
    )


def _swappiness(memory: Memory) -> int | None:
    if memory.swappiness is not None and not 0 <= memory.swappiness <= _MOST_SWAPPY:
        raise InvalidParameter(
            f"invalid memory swappiness value: {memory.swappiness} (valid range is 0-{_MOST_SWAPPY})"
        )
    return memory.swappiness


_MOST_SWAPPY = 100
"""The specification's; kernels take more for the whole host."""


def _cpu(cpu: CPU) -> Iterator[Setting]:
    """The period first: a quota is checked against it."""
    yield from each(
        ("cpu.idle", cpu.idle),
        ("cpu.shares", _shares(cpu)),
    )
    yield from _either_order(("cpu.cfs_period_us", cpu.period), ("cpu.cfs_quota_us", cpu.quota))
    yield from each(("cpu.cfs_burst_us", cpu.burst))
    yield from _either_order(("cpu.rt_period_us", cpu.realtime_period), ("cpu.rt_runtime_us", cpu.realtime_runtime))
    yield from each(
        ("cpuset.cpus", cpu.cpus or None),
        ("cpuset.mems", cpu.mems or None),
    )


def _shares(cpu: CPU) -> int | None:
    """The kernel would take what is out of its range for the nearest that is in it."""
    if not cpu.shares:
        return None
    if cpu.shares > _MOST_SHARES:
        raise InvalidParameter(f"the maximum allowed cpu-shares is {_MOST_SHARES}")
    if cpu.shares < _FEWEST_SHARES:
        raise InvalidParameter(f"the minimum allowed cpu-shares is {_FEWEST_SHARES}")
    return cpu.shares


_FEWEST_SHARES, _MOST_SHARES = 2, 262144


def _either_order(first: tuple[str, int | None], second: tuple[str, int | None]) -> Iterator[Setting]:
    """Two limits that bound each other: the second goes first where the kernel refuses the first."""
    if first[1] and second[1]:
        yield Setting(first[0], str(first[1]), alternative=Setting(second[0], str(second[1])))
        return
    yield from each(*((file, value or None) for file, value in (first, second)))


def _block_io(block: BlockIO) -> Iterator[Setting]:
    """Weights are bfq's on current kernels; ``fallback`` names the file of those before 5.0 (cfq)."""
    if block.weight:
        yield Setting("blkio.bfq.weight", str(block.weight), fallback="blkio.weight")
    if block.leaf_weight:
        yield Setting("blkio.leaf_weight", str(block.leaf_weight))
    for device in block.weight_device:
        node = f"{device.major}:{device.minor}"
        if device.weight:
            value = f"{node} {device.weight}"
            yield Setting("blkio.bfq.weight_device", value, fallback="blkio.weight_device")
        if device.leaf_weight:
            yield Setting("blkio.leaf_weight_device", f"{node} {device.leaf_weight}")
    for kind, number, rate in throttles(block):
        yield Setting(f"blkio.throttle.{_THROTTLE[kind]}_device", f"{number} {rate}")


_THROTTLE = {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}


def _network(network: NetworkResources) -> Iterator[Setting]:
    yield from each(("net_cls.classid", network.class_id))
    for interface in network.priorities:
        yield Setting("net_prio.ifpriomap", f"{interface.name} {interface.priority}")
