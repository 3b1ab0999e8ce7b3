"""OCI resources, written on v1's scales, as writes to cgroup v2 control files.

Source: runtime-spec config-linux.md "Control groups"; Documentation/admin-guide/cgroup-v2.rst.
"""

import math
from collections.abc import Iterator

from sampan.errors import InvalidParameter, Unsupported
from sampan.oci.runtime_spec import CPU, BlockIO, Memory, Resources
from sampan.runtime.resources import Setting, each, rdma_limits, tasks_limit, throttles


def settings(resources: Resources) -> Iterator[Setting]:
    """Every write ``resources`` asks for except the device program; members left out ask for none."""
    if resources.memory:
        yield from _memory(resources.memory)
    if resources.cpu:
        yield from _cpu(resources.cpu)
    if resources.pids and resources.pids.limit is not None:
        yield Setting("pids.max", tasks_limit(resources.pids.limit))
    if resources.block_io:
        yield from _block_io(resources.block_io)
    for page in resources.hugepage_limits:
        used = f"hugetlb.{page.page_size}.max"
        yield Setting(used, _limit(page.limit))
        yield Setting(f"hugetlb.{page.page_size}.rsvd.max", _limit(page.limit), fallback=used)
    yield from rdma_limits(resources.rdma)
    if resources.network and (resources.network.class_id or resources.network.priorities):
        raise Unsupported("linux.resources.network cannot be used: cgroup v2 has no net_cls and net_prio")
    for file, value in resources.unified.items():
        if "/" in file:
            raise InvalidParameter(f'linux.resources.unified: "{file}" is not the name of a cgroup file')
        yield Setting(file, value)


def _memory(memory: Memory) -> Iterator[Setting]:
    if memory.swappiness is not None:
        raise Unsupported("memory swappiness cannot be set: cgroup v2 has no such control")
    if memory.disable_oom_killer:
        raise Unsupported("the OOM killer cannot be disabled: cgroup v2 has no such control")
    yield from each(
        ("memory.swap.max", swap_limit(memory)),
        ("memory.max", _limit(memory.limit) if memory.limit else None),
        ("memory.low", _limit(memory.reservation) if memory.reservation else None),
    )


def swap_limit(memory: Memory) -> str | None:
    """v1 limits memory and swap together, v2 swap alone: the difference; None leaves swap as it is."""
    limit, both = memory.limit or 0, memory.swap or 0
    if limit == -1 and not both:
        return "max"
    if not both:
        return None
    if both == -1:
        return "max"
    if limit <= 0:
        raise InvalidParameter("unable to set swap limit without memory limit")
    if both < limit:
        raise InvalidParameter("memory+swap limit should be >= memory limit")
    return str(both - limit)


def _limit(value: int) -> str:
    return "max" if value < 0 else str(value)


def _cpu(cpu: CPU) -> Iterator[Setting]:
    if cpu.realtime_period or cpu.realtime_runtime:
        raise Unsupported("real-time CPU limits cannot be set: cgroup v2 has no such control")
    yield from each(
        ("cpu.idle", cpu.idle),
        ("cpu.weight", cpu_weight(cpu.shares) if cpu.shares else None),
        ("cpu.max", cpu_max(cpu)),
        ("cpu.max.burst", cpu.burst),
        ("cpuset.cpus", cpu.cpus or None),
        ("cpuset.mems", cpu.mems or None),
    )


def cpu_weight(shares: int) -> int:
    """v1 shares (2 to 262144, default 1024) on v2's scale (1 to 10000, default 100).

    A curve through the three pairs 2→1, 1024→100, 262144→10000, so that both defaults meet.
    """
    exponent = math.log2(min(max(shares, 2), 262144))
    return math.ceil(10 ** ((exponent**2 + 125 * exponent) / 612 - 7 / 34))


def cpu_max(cpu: CPU) -> str | None:
    """``quota period``; a period alone leaves the quota "max"."""
    if not cpu.quota and not cpu.period:
        return None
    quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
    return f"{quota} {cpu.period}" if cpu.period else quota


def _block_io(block: BlockIO) -> Iterator[Setting]:
    if block.leaf_weight or any(device.leaf_weight for device in block.weight_device):
        raise Unsupported("block I/O leaf weights cannot be set: cgroup v2 has no such control")
    if block.weight:
        yield Setting("io.bfq.weight", str(block.weight), fallback="io.weight", fallback_value=io_weight(block.weight))
    for device in block.weight_device:
        if device.weight:
            number = f"{device.major}:{device.minor}"
            yield Setting(
                "io.bfq.weight",
                f"{number} {device.weight}",
                fallback="io.weight",
                fallback_value=f"{number} {io_weight(device.weight)}",
            )
    for kind, number, rate in throttles(block):
        yield Setting("io.max", f"{number} {kind}={rate or 'max'}")


def io_weight(weight: int) -> str:
    """v1 weight (10 to 1000) on io.weight's scale (1 to 10000)."""
    return str(1 + (weight - 10) * 9999 // 990)
