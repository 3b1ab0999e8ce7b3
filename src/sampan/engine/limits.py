"""Checks of ``Resources``: what is impossible is an error, what this host cannot do is taken back with a warning.

Each check is a function of the table ``CHECKS``; it may change the resources (take a limit back) and yields warnings.
The sentences are Docker's (moby daemon_unix.go), clients show them.
"""

from collections.abc import Callable, Iterator

from sampan.api.host_config import Resources
from sampan.engine.host import Host, parse_list
from sampan.errors import InvalidParameter

MINIMUM_MEMORY = 6 << 20
LACKS = "Your kernel does not support {what} or the cgroup is not mounted. {then}"


def check_resources(resources: Resources, host: Host, *, update: bool = False) -> list[str]:
    """Warnings about ``resources``, from which what the host lacks has been taken back; raises InvalidParameter."""
    if resources.memory_swappiness == -1:
        resources.memory_swappiness = None
    warnings = [warning for check in CHECKS for warning in check(resources, host)]
    if resources.memory == 0 and resources.memory_swap > 0 and not update:
        raise InvalidParameter("You should always set the Memory limit when using Memoryswap limit, see usage")
    return warnings


def memory(resources: Resources, host: Host) -> Iterator[str]:
    """Limit, and limit with swap."""
    if resources.memory and resources.memory < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if resources.memory > 0 and not host.memory:
        resources.memory, resources.memory_swap = 0, -1
        yield LACKS.format(what="memory limit capabilities", then="Limitation discarded.")
    if resources.memory > 0 and resources.memory_swap != -1 and not host.swap:
        resources.memory_swap = -1
        yield LACKS.format(what="swap limit capabilities", then="Memory limited without swap.")
    if 0 < resources.memory_swap < resources.memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")


def memory_details(resources: Resources, host: Host) -> Iterator[str]:
    """Swappiness and reservation."""
    swappiness = resources.memory_swappiness
    if swappiness is not None and not host.swappiness:
        resources.memory_swappiness = None
        yield LACKS.format(what="memory swappiness capabilities", then="Memory swappiness discarded.")
    elif swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    if resources.memory_reservation > 0 and not host.memory:
        resources.memory_reservation = 0
        yield LACKS.format(what="memory soft limit capabilities", then="Limitation discarded.")
    if 0 < resources.memory_reservation < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if 0 < resources.memory < resources.memory_reservation:
        raise InvalidParameter("Minimum memory limit can not be less than memory reservation limit, see usage")


def oom(resources: Resources, host: Host) -> Iterator[str]:
    """The out-of-memory killer."""
    if resources.oom_kill_disable is not None and not host.oom_control:
        if resources.oom_kill_disable:
            yield "Your kernel does not support OomKillDisable. OomKillDisable discarded."
        resources.oom_kill_disable = None
    if resources.oom_kill_disable and resources.memory == 0:
        yield (
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )


def pids(resources: Resources, host: Host) -> Iterator[str]:
    """Number of tasks."""
    if resources.pids_limit is not None and not host.pids:
        if resources.pids_limit > 0:
            yield LACKS.format(what="PIDs limit capabilities", then="PIDs limit discarded.")
        resources.pids_limit = None


def cpu(resources: Resources, host: Host) -> Iterator[str]:
    """Processor time: CPUs, period and quota."""
    for other, name in ((resources.cpu_period, "CPU Period"), (resources.cpu_quota, "CPU Quota")):
        if resources.nano_cpus > 0 and other > 0:
            raise InvalidParameter(f"Conflicting options: Nano CPUs and {name} cannot both be set")
    if resources.nano_cpus > 0 and not host.cpu_quota:
        raise InvalidParameter(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted"
        )
    if not 0 <= resources.nano_cpus <= host.cpu_count * 10**9:
        count = host.cpu_count
        raise InvalidParameter(f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if (resources.cpu_period or resources.cpu_quota) and not host.cpu_quota:
        resources.cpu_period = resources.cpu_quota = 0
        yield "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
    if resources.cpu_period and not 1000 <= resources.cpu_period <= 1000000:
        raise InvalidParameter("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < resources.cpu_quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def cpu_scheduling(resources: Resources, host: Host) -> Iterator[str]:
    """Shares and the real-time scheduler."""
    if resources.cpu_shares < 0:
        raise InvalidParameter(f"invalid CPU shares ({resources.cpu_shares}): value must be a positive integer")
    if resources.cpu_shares and not host.cpu_shares:
        resources.cpu_shares = 0
        yield LACKS.format(what="CPU shares", then="Shares discarded.")
    if (resources.cpu_realtime_period or resources.cpu_realtime_runtime) and not host.cpu_realtime:
        raise InvalidParameter("kernel does not support CPU real-time scheduler")
    if 0 < resources.cpu_realtime_period < resources.cpu_realtime_runtime:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")
    if resources.cpu_percent > 0:
        resources.cpu_percent = 0
        yield "linux does not support CPU percent. Percent discarded."


def cpuset(resources: Resources, host: Host) -> Iterator[str]:
    """Which processors and memory nodes."""
    if (resources.cpuset_cpus or resources.cpuset_mems) and not host.cpuset:
        resources.cpuset_cpus = resources.cpuset_mems = ""
        yield LACKS.format(what="cpuset", then="Cpuset discarded.")
    rows = (
        ("cpus", "CPUs", resources.cpuset_cpus, host.cpus),
        ("mems", "memory nodes", resources.cpuset_mems, host.nodes),
    )
    for field, what, wanted, have in rows:
        try:
            numbers = parse_list(wanted)
        except InvalidParameter as error:
            raise InvalidParameter(f"Invalid value {wanted} for cpuset {field}: {error}") from None
        if not numbers <= have:
            available = format_list(have)
            raise InvalidParameter(f"Requested {what} are not available - requested {wanted}, available: {available}")


def blkio(resources: Resources, host: Host) -> Iterator[str]:
    """Block devices."""
    for value, what in ((resources.io_maximum_bandwidth, "bandwidth"), (resources.io_maximum_iops, "IOPs")):
        if value:
            raise InvalidParameter(f"invalid option: QoS maximum {what} configuration is not supported on linux")
    if resources.blkio_weight and not host.blkio_weight:
        resources.blkio_weight = 0
        yield LACKS.format(what="Block I/O weight", then="Weight discarded.")
    if resources.blkio_weight and not 10 <= resources.blkio_weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if resources.blkio_weight_device and not host.blkio_weight:
        resources.blkio_weight_device = []
        yield LACKS.format(what="Block I/O weight_device", then="Weight-device discarded.")
    for field, what, then in THROTTLES:
        if getattr(resources, field) and not host.blkio_throttle:
            setattr(resources, field, [])
            yield LACKS.format(what=what, then=f"Block I/O {then} limit discarded.")


THROTTLES = (
    ("blkio_device_read_bps", "BPS Block I/O read limit", "BPS read"),
    ("blkio_device_write_bps", "BPS Block I/O write limit", "BPS write"),
    ("blkio_device_read_iops", "IOPS Block read limit", "IOPS read"),
    ("blkio_device_write_iops", "IOPS Block write limit", "IOPS write"),
)
CHECKS: tuple[Callable[[Resources, Host], Iterator[str]], ...] = (
    memory, memory_details, oom, pids, cpu, cpu_scheduling, cpuset, blkio,
)  # fmt: skip


def format_list(numbers: frozenset[int]) -> str:
    """Numbers as cpuset's list format, ``0-2,7``."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
