"""Statistics of a container: counters of the kernel at one moment, beside those of the moment before."""

from sampan.api.wire import LowerWire, omitted_list, present, present_map, present_struct


class CPUUsage(LowerWire):
    """Nanoseconds of processor time."""

    total_usage: int = present(0)
    percpu_usage: list[int] = omitted_list()
    usage_in_kernelmode: int = present(0)
    usage_in_usermode: int = present(0)


class ThrottlingData(LowerWire):
    """How often, and for how many nanoseconds, the quota stopped the container."""

    periods: int = present(0)
    throttled_periods: int = present(0)
    throttled_time: int = present(0)


class CPUStats(LowerWire):
    """Processor time of the container and, in ``system_cpu_usage``, of the whole host."""

    cpu_usage: CPUUsage = present_struct(CPUUsage)
    system_cpu_usage: int = 0
    online_cpus: int = 0
    throttling_data: ThrottlingData = present_struct(ThrottlingData)


class MemoryStats(LowerWire):
    """Bytes; ``stats`` is the kernel's memory.stat."""

    usage: int = 0
    max_usage: int = 0
    stats: dict[str, int] | None = None
    failcnt: int = 0
    limit: int = 0


class PidsStats(LowerWire):
    """Processes and threads."""

    current: int = 0
    limit: int = 0


class BlkioEntry(LowerWire):
    """One counter of one block device."""

    major: int = present(0)
    minor: int = present(0)
    op: str = present("")
    value: int = present(0)


class BlkioStats(LowerWire):
    """Block device counters; ``None`` where the kernel keeps none."""

    io_service_bytes_recursive: list[BlkioEntry] | None = present(None)
    io_serviced_recursive: list[BlkioEntry] | None = present(None)
    io_queue_recursive: list[BlkioEntry] | None = present(None)
    io_service_time_recursive: list[BlkioEntry] | None = present(None)
    io_wait_time_recursive: list[BlkioEntry] | None = present(None)
    io_merged_recursive: list[BlkioEntry] | None = present(None)
    io_time_recursive: list[BlkioEntry] | None = present(None)
    sectors_recursive: list[BlkioEntry] | None = present(None)


class NetworkStats(LowerWire):
    """Counters of one interface."""

    rx_bytes: int = present(0)
    rx_packets: int = present(0)
    rx_errors: int = present(0)
    rx_dropped: int = present(0)
    tx_bytes: int = present(0)
    tx_packets: int = present(0)
    tx_errors: int = present(0)
    tx_dropped: int = present(0)


class ContainerStats(LowerWire):
    """One element of ``GET /containers/{id}/stats``; times RFC 3339, ``preread`` the zero time in the first."""

    name: str = ""
    id: str = ""
    os_type: str = present("linux")
    read: str = present("0001-01-01T00:00:00Z")
    preread: str = present("0001-01-01T00:00:00Z")
    pids_stats: PidsStats = present_struct(PidsStats)
    blkio_stats: BlkioStats = present_struct(BlkioStats)
    num_procs: int = present(0)
    storage_stats: dict[str, int] = present_map()
    cpu_stats: CPUStats = present_struct(CPUStats)
    precpu_stats: CPUStats = present_struct(CPUStats)
    memory_stats: MemoryStats = present_struct(MemoryStats)
    networks: dict[str, NetworkStats] | None = None
