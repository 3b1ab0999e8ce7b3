"""``HostConfig``: what a container gets from the host, and ``Resources``, the part that ``update`` may change."""

from sampan.api.mounts import Mount
from sampan.api.ports import PortMap
from sampan.api.wire import (
    Wire,
    named,
    omitted_list,
    omitted_map,
    present,
    present_map,
    present_named,
    present_struct,
)


class RestartPolicy(Wire):
    """``name``: "" or no, always, unless-stopped, on-failure (at most ``maximum_retry_count`` times, 0 for ever)."""

    name: str = present("")
    maximum_retry_count: int = present(0)


class LogConfig(Wire):
    """Logging driver and its options."""

    type: str = present("")
    config: dict[str, str] = present_map()


class ThrottleDevice(Wire):
    """Rate limit of a block device, in bytes or operations a second."""

    path: str = present("")
    rate: int = present(0)


class WeightDevice(Wire):
    """Relative weight of a block device, 10 to 1000."""

    path: str = present("")
    weight: int = present(0)


class DeviceMapping(Wire):
    """A host's device node in a container; permissions are some of ``rwm``."""

    path_on_host: str = present("")
    path_in_container: str = present("")
    cgroup_permissions: str = present("")


class DeviceRequest(Wire):
    """Devices asked of a device driver (``--gpus``, CDI); ``count`` -1 is all."""

    driver: str = present("")
    count: int = present(0)
    device_ids: list[str] | None = present(None)
    capabilities: list[list[str]] | None = present(None)
    options: dict[str, str] | None = present(None)


class Ulimit(Wire):
    """One resource limit; -1 is unlimited."""

    name: str = present("")
    hard: int = present(0)
    soft: int = present(0)


class Resources(Wire):
    """Limits of a container; 0, ``None`` or empty is "not limited". Memory in bytes, CPU periods in microseconds."""

    cpu_shares: int = present_named("CpuShares", 0)
    memory: int = present(0)
    nano_cpus: int = present_named("NanoCpus", 0)
    cgroup_parent: str = present("")
    blkio_weight: int = present(0)
    blkio_weight_device: list[WeightDevice] | None = present(None)
    blkio_device_read_bps: list[ThrottleDevice] | None = present(None)
    blkio_device_write_bps: list[ThrottleDevice] | None = present(None)
    blkio_device_read_iops: list[ThrottleDevice] | None = present_named("BlkioDeviceReadIOps", None)
    blkio_device_write_iops: list[ThrottleDevice] | None = present_named("BlkioDeviceWriteIOps", None)
    cpu_period: int = present_named("CpuPeriod", 0)
    cpu_quota: int = present_named("CpuQuota", 0)
    cpu_realtime_period: int = present_named("CpuRealtimePeriod", 0)
    cpu_realtime_runtime: int = present_named("CpuRealtimeRuntime", 0)
    cpuset_cpus: str = present_named("CpusetCpus", "")
    cpuset_mems: str = present("")
    devices: list[DeviceMapping] | None = present(None)
    device_cgroup_rules: list[str] | None = present(None)
    device_requests: list[DeviceRequest] | None = present(None)
    kernel_memory: int = 0
    kernel_memory_tcp: int = named("KernelMemoryTCP", 0)
    memory_reservation: int = present(0)
    memory_swap: int = present(0)
    memory_swappiness: int | None = present(None)
    oom_kill_disable: bool | None = present_named("OomKillDisable", None)
    pids_limit: int | None = present(None)
    ulimits: list[Ulimit] | None = present(None)
    cpu_count: int = present_named("CpuCount", 0)
    cpu_percent: int = present_named("CpuPercent", 0)
    io_maximum_iops: int = present_named("IOMaximumIOps", 0)
    io_maximum_bandwidth: int = present(0)


class HostConfig(Resources):
    """Everything about a container that depends on the host it runs on.

    Modes (``network_mode``, ``pid_mode``, …) keep the text of the API: "", "host", "private",
    "container:<id>"… ``console_size`` is (height, width). ``masked_paths`` and ``readonly_paths``
    are ``None`` for the defaults and ``[]`` for none.
    """

    binds: list[str] | None = present(None)
    container_id_file: str = present_named("ContainerIDFile", "")
    log_config: LogConfig = present_struct(LogConfig)
    network_mode: str = present("")
    port_bindings: PortMap | None = present_map()
    restart_policy: RestartPolicy = present_struct(RestartPolicy)
    auto_remove: bool = present(False)
    volume_driver: str = present("")
    volumes_from: list[str] | None = present(None)
    console_size: list[int] = present_struct(lambda: [0, 0])
    annotations: dict[str, str] = omitted_map()
    capabilities: list[str] | None = None
    cap_add: list[str] | None = present(None)
    cap_drop: list[str] | None = present(None)
    cgroupns_mode: str = present("")
    dns: list[str] | None = present_named("Dns", None)
    dns_options: list[str] | None = present_named("DnsOptions", None)
    dns_search: list[str] | None = present_named("DnsSearch", None)
    extra_hosts: list[str] | None = present(None)
    group_add: list[str] | None = present(None)
    ipc_mode: str = present("")
    cgroup: str = present("")
    links: list[str] | None = present(None)
    oom_score_adj: int = present_named("OomScoreAdj", 0)
    pid_mode: str = present("")
    privileged: bool = present(False)
    publish_all_ports: bool = present(False)
    readonly_rootfs: bool = present(False)
    security_opt: list[str] | None = present(None)
    storage_opt: dict[str, str] = omitted_map()
    tmpfs: dict[str, str] = omitted_map()
    uts_mode: str = present("")
    userns_mode: str = present("")
    shm_size: int = present(0)
    sysctls: dict[str, str] = omitted_map()
    runtime: str = ""
    isolation: str = present("")
    mounts: list[Mount] = omitted_list()
    masked_paths: list[str] | None = present(None)
    readonly_paths: list[str] | None = present(None)
    init: bool | None = None
