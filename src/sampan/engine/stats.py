"""Statistics of a container: a reading of its cgroup and of its network namespace's counters, one a second.

A stopped container has zero readings, a container that is removed ends the stream.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from sampan.api import stats as s
from sampan.api.times import format_time
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, now
from sampan.engine.host import host
from sampan.engine.membership import shares_network
from sampan.linux.cgroup import BlkioEntry, CpuUsage, MemoryUsage, Usage

INTERVAL = 1.0
TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
COUNTERS = {"rx_bytes": 0, "rx_packets": 1, "rx_errors": 2, "rx_dropped": 3,
            "tx_bytes": 8, "tx_packets": 9, "tx_errors": 10, "tx_dropped": 11}  # fmt: skip


async def stream(
    container: Container, catalog: Catalog, *, follow: bool, one_shot: bool
) -> AsyncIterator[s.ContainerStats]:
    """Readings; a single one comes with that of a second before unless ``one_shot``."""
    previous = s.ContainerStats()
    if not follow and not one_shot and container.live:
        previous = reading(container, previous)
        await asyncio.sleep(INTERVAL)
    while container.id in catalog:
        previous = reading(container, previous)
        yield previous
        if not follow:
            return
        await asyncio.sleep(INTERVAL)


def reading(container: Container, previous: s.ContainerStats) -> s.ContainerStats:
    """One reading, with that before it as ``precpu_stats``."""
    value = s.ContainerStats(name="/" + container.name, id=container.id)
    value.preread, value.precpu_stats = previous.read, previous.cpu_stats
    if not container.live or container.cgroup is None:
        return value
    usage = container.cgroup.stats()
    value.read = format_time(now())
    value.cpu_stats = cpu_stats(usage.cpu)
    value.memory_stats = memory_stats(usage.memory)
    value.pids_stats = s.PidsStats(current=usage.pids.current, limit=usage.pids.limit or 0)
    value.blkio_stats = blkio_stats(usage)
    if container.record.host_config.network_mode != "host" and not shares_network(container.record):
        value.networks = network_stats(container.pid) or None
    return value


def cpu_stats(cpu: CpuUsage) -> s.CPUStats:
    """Processor time of the container and of the host."""
    return s.CPUStats(
        cpu_usage=s.CPUUsage(
            total_usage=cpu.total,
            percpu_usage=list(cpu.per_cpu),
            usage_in_kernelmode=cpu.system,
            usage_in_usermode=cpu.user,
        ),
        system_cpu_usage=system_cpu(),
        online_cpus=host().cpu_count,
        throttling_data=s.ThrottlingData(cpu.periods, cpu.throttled_periods, cpu.throttled_time),
    )


def system_cpu() -> int:
    """Nanoseconds of processor time of the whole host (proc_stat(5): user … steal)."""
    with Path("/proc/stat").open() as file:
        fields = file.readline().split()
    return sum(map(int, fields[1:8])) * TICK


def memory_stats(memory: MemoryUsage) -> s.MemoryStats:
    """Memory; without a limit the host's memory stands for it."""
    total = host().memory_total
    return s.MemoryStats(
        usage=memory.usage,
        max_usage=memory.max_usage,
        stats=dict(memory.stat),
        failcnt=memory.failures,
        limit=min(memory.limit or total, total),
    )


def blkio_stats(usage: Usage) -> s.BlkioStats:
    """Block device counters."""
    unknown: list[s.BlkioEntry] | None = [] if host().cgroup_version == 1 else None
    return s.BlkioStats(
        io_queue_recursive=unknown,
        io_service_time_recursive=unknown,
        io_wait_time_recursive=unknown,
        io_merged_recursive=unknown,
        io_time_recursive=unknown,
        sectors_recursive=unknown,
        io_service_bytes_recursive=entries(usage.blkio.service_bytes),
        io_serviced_recursive=entries(usage.blkio.serviced),
    )


def entries(found: tuple[BlkioEntry, ...]) -> list[s.BlkioEntry]:
    """Counters as on the wire."""
    return [s.BlkioEntry(each.major, each.minor, each.op, each.value) for each in found]


def network_stats(pid: int) -> dict[str, s.NetworkStats]:
    """Counters of the interfaces in the process's network namespace, loopback left out (proc_pid_net(5))."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, counters = line.partition(":")
        numbers = list(map(int, counters.split()))
        if name.strip() != "lo":
            found[name.strip()] = msgspec.convert(
                {field: numbers[column] for field, column in COUNTERS.items()}, s.NetworkStats
            )
    return found
