"""The engine itself: version, information, disk usage."""

from typing import Any

from sampan.api.containers import ContainerSummary
from sampan.api.images import ImageSummary
from sampan.api.volumes import Volume
from sampan.api.wire import (
    LowerWire,
    Wire,
    named,
    omitted_list,
    present,
    present_list,
    present_map,
    present_named,
    present_struct,
)


class PlatformName(Wire):
    """The product's name."""

    name: str = present("")


class ComponentVersion(Wire):
    """Version of one part of the engine."""

    name: str = present("")
    version: str = present("")
    details: dict[str, str] | None = None


class SystemVersion(Wire):
    """Answer of ``GET /version``; the fields after ``components`` repeat the engine's own component."""

    platform: PlatformName = present_struct(PlatformName)
    components: list[ComponentVersion] = omitted_list()
    version: str = present("")
    api_version: str = present_named("ApiVersion", "")
    min_api_version: str = present_named("MinAPIVersion", "")
    git_commit: str = present("")
    go_version: str = present("")
    os: str = present_named("Os", "linux")
    arch: str = present("")
    kernel_version: str = ""
    experimental: bool = False
    build_time: str = ""


class PluginsInfo(Wire):
    """Drivers that can be named in requests."""

    volume: list[str] = present_list()
    network: list[str] = present_list()
    authorization: list[str] | None = present(None)
    log: list[str] = present_list()


class IndexInfo(Wire):
    """One registry that the daemon knows."""

    name: str = present("")
    mirrors: list[str] = present_list()
    secure: bool = present(True)
    official: bool = present(False)


class RegistryServiceConfig(Wire):
    """Registries: insecure ranges, mirrors."""

    insecure_registry_cidrs: list[str] = present_list("InsecureRegistryCIDRs")
    index_configs: dict[str, IndexInfo] = present_map()
    mirrors: list[str] = present_list()


class Runtime(LowerWire):
    """An OCI runtime that containers can be run by."""

    path: str = ""
    runtime_args: list[str] = omitted_list("runtimeArgs")
    status: dict[str, str] | None = None


class SwarmInfo(Wire):
    """Always the answer of a node that is not part of a swarm."""

    node_id: str = present("")
    node_addr: str = present("")
    local_node_state: str = present("inactive")
    control_available: bool = present(False)
    error: str = present("")
    remote_managers: list[Any] | None = present(None)


class Commit(Wire):
    """The commit of an external program."""

    id: str = present_named("ID", "")


class AddressPool(Wire):
    """A range that new networks take their subnets from, and the prefix length of each."""

    base: str = present("")
    size: int = present(0)


class FirewallInfo(Wire):
    """What publishes ports and separates networks."""

    driver: str = present("")
    info: list[list[str]] = omitted_list()


class SystemInfo(Wire):
    """Answer of ``GET /info``."""

    id: str = present_named("ID", "")
    containers: int = present(0)
    containers_running: int = present(0)
    containers_paused: int = present(0)
    containers_stopped: int = present(0)
    images: int = present(0)
    driver: str = present("")
    driver_status: list[list[str]] = present_list()
    plugins: PluginsInfo = present_struct(PluginsInfo)
    memory_limit: bool = present(False)
    swap_limit: bool = present(False)
    cpu_cfs_period: bool = present_named("CpuCfsPeriod", False)
    cpu_cfs_quota: bool = present_named("CpuCfsQuota", False)
    cpu_shares: bool = present(False)
    cpu_set: bool = present(False)
    pids_limit: bool = present(False)
    ipv4_forwarding: bool = present(False)
    debug: bool = present(False)
    nfd: int = present_named("NFd", 0)
    oom_kill_disable: bool = present_named("OomKillDisable", False)
    ngoroutines: int = present_named("NGoroutines", 0)
    system_time: str = present("")
    logging_driver: str = present("")
    cgroup_driver: str = present("")
    cgroup_version: str = ""
    nevents_listener: int = present_named("NEventsListener", 0)
    kernel_version: str = present("")
    operating_system: str = present("")
    os_version: str = present_named("OSVersion", "")
    os_type: str = present_named("OSType", "linux")
    architecture: str = present("")
    index_server_address: str = present("")
    registry_config: RegistryServiceConfig | None = present_struct(RegistryServiceConfig)
    ncpu: int = present_named("NCPU", 0)
    mem_total: int = present(0)
    generic_resources: list[Any] | None = present(None)
    docker_root_dir: str = present("")
    http_proxy: str = present("")
    https_proxy: str = present("")
    no_proxy: str = present("")
    name: str = present("")
    labels: list[str] = present_list()
    experimental_build: bool = present(False)
    server_version: str = present("")
    runtimes: dict[str, Runtime] = present_map()
    default_runtime: str = present("")
    swarm: SwarmInfo = present_struct(SwarmInfo)
    live_restore_enabled: bool = present(False)
    isolation: str = present("")
    init_binary: str = present("")
    containerd_commit: Commit = present_struct(Commit)
    runc_commit: Commit = present_struct(Commit)
    init_commit: Commit = present_struct(Commit)
    security_options: list[str] = present_list()
    product_license: str = ""
    default_address_pools: list[AddressPool] = omitted_list()
    firewall_backend: FirewallInfo | None = None
    cdi_spec_dirs: list[str] = present_list("CDISpecDirs")
    discovered_devices: list[dict[str, str]] = omitted_list()
    warnings: list[str] | None = present(None)


class BuildCache(Wire):
    """One record of the build cache; sizes in bytes, times RFC 3339."""

    id: str = present_named("ID", "")
    parents: list[str] = omitted_list()
    type: str = present("")
    description: str = present("")
    in_use: bool = present(False)
    shared: bool = present(False)
    size: int = present(0)
    created_at: str = present("")
    last_used_at: str | None = present(None)
    usage_count: int = present(0)


class BuildCachePruneReport(Wire):
    """Identifiers of the removed records and the bytes that gave back."""

    caches_deleted: list[str] | None = present(None)
    space_reclaimed: int = present(0)


class ImagesUsage(Wire):
    """Disk usage of images; ``total_size`` counts shared layers once."""

    active_count: int = 0
    items: list[ImageSummary] = omitted_list()
    reclaimable: int = 0
    total_count: int = 0
    total_size: int = 0


class ContainersUsage(Wire):
    """Disk usage of writable layers."""

    active_count: int = 0
    items: list[ContainerSummary] = omitted_list()
    reclaimable: int = 0
    total_count: int = 0
    total_size: int = 0


class VolumesUsage(Wire):
    """Disk usage of local volumes."""

    active_count: int = 0
    items: list[Volume] = omitted_list()
    reclaimable: int = 0
    total_count: int = 0
    total_size: int = 0


class BuildCacheUsage(Wire):
    """Disk usage of the build cache."""

    active_count: int = 0
    items: list[BuildCache] = omitted_list()
    reclaimable: int = 0
    total_count: int = 0
    total_size: int = 0


class DiskUsage(Wire):
    """Answer of ``GET /system/df``: the engine fills in every part asked for, with its items.

    ``server.compat`` drops the items for callers that did not ask for them and gives older clients the lists
    that they know (``LayersSize``, ``Images``, ``Containers``, ``Volumes``, ``BuildCache``).
    """

    image_usage: ImagesUsage | None = None
    container_usage: ContainersUsage | None = None
    volume_usage: VolumesUsage | None = None
    build_cache_usage: BuildCacheUsage | None = None


class PingResponse(Wire):
    """What the headers of ``/_ping`` tell; never encoded."""

    experimental: bool = False
    builder_version: str = named("BuilderVersion", "2")
