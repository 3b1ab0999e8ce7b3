"""The engine itself: version, information, disk usage."""

import asyncio
import os
import platform
from pathlib import Path

from sampan import __version__
from sampan.api import system as s
from sampan.api.containers import ListOptions
from sampan.api.images import AuthConfig, AuthResponse
from sampan.api.times import format_time
from sampan.api.versions import NEWEST
from sampan.build.usage import usage as build_usage
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, now
from sampan.engine.containers import Containers
from sampan.engine.context import Context
from sampan.engine.host import architecture, host
from sampan.engine.images import Images
from sampan.engine.info import (
    backing_filesystem,
    engine_id,
    limits,
    operating_system,
    registry_config,
    runtimes,
    security_options,
    warnings,
)
from sampan.engine.inspect import DRIVER
from sampan.engine.log_drivers.options import OPTIONS
from sampan.engine.registry import Registries
from sampan.engine.states import LIVE, Status
from sampan.oci import cdi

INDEX = "https://index.docker.io/v1/"
NETWORK_DRIVERS = ["bridge", "host", "ipvlan", "macvlan", "null"]


class System:
    """``engine.system``."""

    def __init__(
        self, context: Context, catalog: Catalog, containers: Containers, images: Images, registries: Registries
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._containers = containers
        self._images = images
        self._registries = registries

    async def version(self) -> s.SystemVersion:
        """Answer of ``GET /version``."""
        config, python = self._context.config, platform.python_version()
        details = {
            "ApiVersion": str(NEWEST),
            "Arch": architecture(),
            "Experimental": "true" if config.experimental else "false",
            "GoVersion": f"python{python}",
            "KernelVersion": os.uname().release,
            "MinAPIVersion": config.min_api_version,
            "Os": "linux",
        }
        return s.SystemVersion(
            platform=s.PlatformName(name="sampan"),
            components=[
                s.ComponentVersion(name="Engine", version=__version__, details=details),
                s.ComponentVersion(name="Python", version=python),
            ],
            version=__version__,
            api_version=str(NEWEST),
            min_api_version=config.min_api_version,
            go_version=f"python{python}",
            arch=architecture(),
            kernel_version=os.uname().release,
        )

    async def info(self) -> s.SystemInfo:
        """Answer of ``GET /info``."""
        config, facts = self._context.config, host()
        count = self._count
        forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"
        return s.SystemInfo(
            id=engine_id(self._context.roots.data),
            containers=len(self._catalog),
            containers_running=count(Status.RUNNING),
            containers_paused=count(Status.PAUSED),
            containers_stopped=len(self._catalog) - count(*LIVE),
            images=len(self._context.storage.images.all()),
            driver=DRIVER,
            driver_status=[
                ["Backing Filesystem", backing_filesystem(self._context.roots.data)],
                ["Supports d_type", "true"],
            ],
            plugins=s.PluginsInfo(volume=["local"], network=NETWORK_DRIVERS, log=sorted(set(OPTIONS) - {"none"})),
            **limits(facts),
            ipv4_forwarding=forwarding,
            debug=config.debug,
            experimental_build=config.experimental,
            nfd=len(os.listdir("/proc/self/fd")),  # noqa: PTH208  only their number counts
            ngoroutines=len(asyncio.all_tasks()),
            system_time=format_time(now()),
            logging_driver=config.log_driver,
            cgroup_driver="cgroupfs",
            cgroup_version=str(facts.cgroup_version),
            nevents_listener=self._context.events.listeners,
            kernel_version=os.uname().release,
            operating_system=operating_system()[0],
            os_version=operating_system()[1],
            architecture=platform.machine(),
            index_server_address=INDEX,
            registry_config=registry_config(self._context),
            ncpu=facts.cpu_count,
            mem_total=facts.memory_total,
            docker_root_dir=config.data_root,
            http_proxy=config.proxies.http_proxy,
            https_proxy=config.proxies.https_proxy,
            no_proxy=config.proxies.no_proxy,
            name=os.uname().nodename,
            labels=config.labels,
            server_version=__version__,
            runtimes=runtimes(self._context),
            default_runtime=config.default_runtime,
            live_restore_enabled=config.live_restore,
            init_binary="sampan-init",
            security_options=security_options(self._context),
            firewall_backend=s.FirewallInfo(driver="nftables"),
            default_address_pools=[
                s.AddressPool(base=pool.base, size=pool.size) for pool in config.default_address_pools
            ],
            warnings=warnings(config, facts, forwarding=forwarding) or None,
            cdi_spec_dirs=list(config.cdi_spec_dirs),
            discovered_devices=[
                {"Source": "cdi", "ID": name} for name in sorted(cdi.scan(config.cdi_spec_dirs).devices)
            ],
        )

    def _count(self, *states: Status) -> int:
        return sum(container.record.state.status in states for container in self._catalog)

    async def disk_usage(self, types: frozenset[str]) -> s.DiskUsage:
        """Usage of ``types`` (none: all), items included."""
        usage = s.DiskUsage()
        if not types or "container" in types:
            usage.container_usage = await self._containers_usage()
        if not types or "image" in types:
            usage.image_usage = await self._images.usage()
        if not types or "volume" in types:
            usage.volume_usage = await self._volumes_usage()
        if not types or "build-cache" in types:
            usage.build_cache_usage = await asyncio.to_thread(
                build_usage, self._context.storage, self._context.roots.data
            )
        return usage

    async def _containers_usage(self) -> s.ContainersUsage:
        items = list(await self._containers.list(ListOptions(all=True, size=True)))
        live = {container.id for container in self._catalog if uses_disk(container)}
        return s.ContainersUsage(
            active_count=len(live),
            items=items,
            reclaimable=sum(item.size_rw for item in items if item.id not in live),
            total_count=len(items),
            total_size=sum(item.size_rw for item in items),
        )

    async def _volumes_usage(self) -> s.VolumesUsage:
        items = (await self._context.volumes.usage()).volumes
        sizes = {item.name: item.usage_data.size if item.usage_data else 0 for item in items}
        used = {item.name for item in items if item.usage_data and item.usage_data.ref_count > 0}
        return s.VolumesUsage(
            active_count=len(used),
            items=items,
            reclaimable=sum(size for name, size in sizes.items() if name not in used and size > 0),
            total_count=len(items),
            total_size=sum(size for size in sizes.values() if size > 0),
        )

    async def authenticate(self, auth: AuthConfig) -> AuthResponse:
        """Check credentials with a registry."""
        return await self._registries.authenticate(auth)


def uses_disk(container: Container) -> bool:
    """Whether a container counts as active: its writable layer cannot be given back."""
    return container.live or container.status == Status.RESTARTING
