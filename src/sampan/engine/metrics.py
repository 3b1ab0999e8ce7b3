"""What the engine tells Prometheus, read when it is asked: between scrapes nothing runs for it.

    engine_daemon_*         Docker's names: engine, containers by state, events
    builder_builds          images built or committed
    host_pressure_*         pressure stall information of the host (/proc/pressure; Linux 4.20, CONFIG_PSI)
    container_*             cAdvisor's names, one series a container, when asked for; pressure on cgroup v2

Sources: https://docs.docker.com/engine/daemon/prometheus/, docs/storage/prometheus.md of cAdvisor,
https://docs.kernel.org/accounting/psi.html
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sampan import __version__
from sampan.api.stats import NetworkStats
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, Record
from sampan.engine.events import Events
from sampan.engine.host import architecture, host
from sampan.engine.membership import shares_network
from sampan.engine.states import Status
from sampan.engine.stats import network_stats
from sampan.linux.cgroup import Usage

PRESSURE = Path("/proc/pressure")
SECOND = 1e9
MICROSECONDS = 1e6
LABELS = ("id", "name", "image")
STATES = {Status.RUNNING: "running", Status.RESTARTING: "running", Status.PAUSED: "paused"}
"""As Docker counts them; every other state is ``stopped``."""


class EngineMetrics(Collector):
    """Reads the engine at each scrape; may be called from a worker thread."""

    def __init__(self, catalog: Catalog, events: Events, *, containers: bool) -> None:
        """``containers``: tell of each container too."""
        self._catalog = catalog
        self._events = events
        self._containers = containers

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from engine_info()
        yield states(self._catalog)
        yield from self._announced()
        yield host_pressure()
        if self._containers:
            yield from container_families(self._catalog)

    def _announced(self) -> Iterator[Metric]:
        counted = self._events.counted
        events = CounterMetricFamily("engine_daemon_events", "Events announced.", labels=("type",))
        for type in sorted({type for type, _ in counted}):
            events.add_metric((type,), sum(count for (each, _), count in counted.items() if each == type))
        yield events
        yield GaugeMetricFamily(
            "engine_daemon_events_subscribers", "Streams that follow events.", self._events.listeners
        )
        yield CounterMetricFamily("builder_builds", "Images built or committed.", counted["image", "create"])


def engine_info() -> Iterator[Metric]:
    """What the engine is and what it runs on."""
    about = {
        "version": __version__,
        "architecture": architecture(),
        "graphdriver": "overlay2",
        "kernel": platform.release(),
        "os_type": "linux",
    }
    info = GaugeMetricFamily("engine_daemon_engine_info", "The engine and its host.", labels=tuple(about))
    info.add_metric(tuple(about.values()), 1)
    yield info
    yield GaugeMetricFamily("engine_daemon_engine_cpus_cpus", "Processors of the host.", host().cpu_count)
    yield GaugeMetricFamily("engine_daemon_engine_memory_bytes", "Memory of the host.", host().memory_total)


def states(catalog: Iterable[Container]) -> Metric:
    """Containers by state."""
    counts = {"running": 0, "paused": 0, "stopped": 0}
    for container in catalog:
        counts[STATES.get(container.status, "stopped")] += 1
    family = GaugeMetricFamily("engine_daemon_container_states_containers", "Containers by state.", labels=("state",))
    for state, count in counts.items():
        family.add_metric((state,), count)
    return family


def host_pressure() -> Metric:
    """Seconds that tasks of the host stalled; no series where the kernel does not tell."""
    family = CounterMetricFamily(
        "host_pressure_seconds", "Time that some or all tasks waited for a resource.", labels=("resource", "kind")
    )
    for resource in ("cpu", "io", "memory"):
        for kind, total in stalls(PRESSURE / resource):
            family.add_metric((resource, kind), total / MICROSECONDS)
    return family


def stalls(path: Path) -> list[tuple[str, int]]:
    """(some or full, microseconds) of a pressure file; none when the kernel does not tell."""
    try:
        lines = path.read_text().splitlines()
    except OSError:  # PSI is not built in, or off (EOPNOTSUPP)
        return []
    return [(line.split()[0], int(line.rpartition("total=")[2])) for line in lines if "total=" in line]


Told = dict[str, tuple[str, Callable[[Usage], float]]]

# Family → (help, what of a reading); seconds, bytes and counts.
GAUGES: Told = {
    "container_memory_usage_bytes": ("Memory in use, page cache included.", lambda usage: usage.memory.usage),
    "container_spec_memory_limit_bytes": ("Limit of memory, 0 without.", lambda usage: usage.memory.limit or 0),
    "container_pids": ("Processes and threads.", lambda usage: usage.pids.current),
}
COUNTERS: Told = {
    "container_cpu_usage_seconds": ("Processor time.", lambda usage: usage.cpu.total / SECOND),
    "container_cpu_cfs_throttled_seconds": (
        "Time that the processor quota held the container back.",
        lambda usage: usage.cpu.throttled_time / SECOND,
    ),
    "container_memory_failcnt": ("Times that the limit of memory was met.", lambda usage: usage.memory.failures),
}
NETWORK: dict[str, Callable[[NetworkStats], float]] = {
    "container_network_receive_bytes": lambda counters: counters.rx_bytes,
    "container_network_receive_packets": lambda counters: counters.rx_packets,
    "container_network_receive_errors": lambda counters: counters.rx_errors,
    "container_network_transmit_bytes": lambda counters: counters.tx_bytes,
    "container_network_transmit_packets": lambda counters: counters.tx_packets,
    "container_network_transmit_errors": lambda counters: counters.tx_errors,
}


def container_families(catalog: Iterable[Container]) -> Iterator[Metric]:
    """Readings of every container that runs; one that ends meanwhile has none."""
    families = Families()
    for container in catalog:
        if not container.live or container.cgroup is None:
            continue
        try:
            families.add(container, container.cgroup.stats())
        except OSError:
            continue
    yield from families.all.values()


class Families:
    """The containers' families, filled one container at a time."""

    def __init__(self) -> None:
        self.all: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, (told, _) in GAUGES.items():
            self.all[name] = GaugeMetricFamily(name, told, labels=LABELS)
        for name, (told, _) in COUNTERS.items():
            self.all[name] = CounterMetricFamily(name, told, labels=LABELS)
        for name in NETWORK:
            self.all[name] = CounterMetricFamily(name, "Counter of an interface.", labels=(*LABELS, "interface"))
        self._dropped = self.all["container_log_dropped_lines"] = CounterMetricFamily(
            "container_log_dropped_lines", "Lines that a log in non-blocking mode had no room for.", labels=LABELS
        )
        self._pressure = self.all["container_pressure_seconds"] = CounterMetricFamily(
            "container_pressure_seconds",
            "Time that some or all tasks waited for a resource.",
            labels=(*LABELS, "resource", "kind"),
        )

    def add(self, container: Container, usage: Usage) -> None:
        """One container's reading, and its interfaces' counters if they are its own."""
        labels = container.id, container.name, container.record.config.image
        for name, (_, value) in {**GAUGES, **COUNTERS}.items():
            self.all[name].add_metric(labels, value(usage))
        if container.monitor is not None:
            self._dropped.add_metric(labels, container.monitor.dropped)
        if has_own_network(container.record):
            for interface, counters in network_stats(container.pid).items():
                for name, count in NETWORK.items():
                    self.all[name].add_metric((*labels, interface), count(counters))
        for resource, stalled in usage.pressure.items():
            for kind, stall in (("some", stalled.some), ("full", stalled.full)):
                self._pressure.add_metric((*labels, resource, kind), stall.total / MICROSECONDS)


def has_own_network(record: Record) -> bool:
    """Whether the network namespace is the container's own."""
    return record.host_config.network_mode != "host" and not shares_network(record)
