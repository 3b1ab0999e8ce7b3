"""What a request leaves open: the image's configuration merged in, the daemon's defaults, Docker's normal forms.

After this a record says all of itself: inspect shows it as it is, start reads it without asking anybody.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from sampan.api.containers import ContainerConfig, HealthConfig
from sampan.api.host_config import HostConfig, LogConfig
from sampan.api.ports import parse_port, parse_ports
from sampan.config import Config
from sampan.engine.host import Host
from sampan.engine.log_drivers.forward import check_driver
from sampan.errors import InvalidParameter
from sampan.oci.image_config import Healthcheck, RunConfig

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.ASCII)
SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
MASKED_PATHS = [
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/devices/virtual/powercap", "/sys/firmware",
]  # fmt: skip
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
DEFAULT_NETWORK = {"": "bridge", "default": "bridge"}
"""What clients call the network of containers that ask for none."""


def parse_size(text: str | int) -> int:
    """``64m``, ``1.5GiB`` → bytes; raises InvalidParameter."""
    found = SIZE.fullmatch(str(text).lower())
    if found is None:
        raise InvalidParameter(f"invalid size: '{text}'")
    return int(float(found[1]) * SIZES[found[2]]) if "." in found[1] else int(found[1]) * SIZES[found[2]]


def merge_image(config: ContainerConfig, image: RunConfig) -> None:
    """Fill what ``config`` leaves open from the image (moby daemon/commit.go, merge)."""
    config.user = config.user or image.user
    config.exposed_ports = {**exposed_ports(image.exposed_ports or {}), **exposed_ports(config.exposed_ports)}
    config.env = merge_environment(config.env or [], image.env or []) or None
    config.labels = {**(image.labels or {}), **(config.labels or {})}
    if not config.entrypoint:
        if config.cmd is None or not config.cmd:
            config.cmd = list(image.cmd or [])
        if config.entrypoint is None:
            config.entrypoint = image.entrypoint
    if image.healthcheck:
        merge_health(config, image.healthcheck)
    config.working_dir = config.working_dir or image.working_dir
    config.volumes = {**(config.volumes or {}), **(image.volumes or {})} or None
    config.stop_signal = config.stop_signal or image.stop_signal
    config.shell = config.shell or image.shell or []
    config.on_build = image.on_build
    if config.stop_timeout is None:
        config.stop_timeout = image.stop_timeout


def exposed_ports(keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """One ``80/tcp`` for each port that ``keys`` name: single ones, ranges, with or without protocol.

    What is no port is left out, as Docker does with an image's; a request's were checked.
    """
    ports: dict[str, dict[str, Any]] = {}
    for key in keys:
        with suppress(InvalidParameter):
            ports.update((str(port), {}) for port in parse_ports(key))
    return ports


def merge_environment(own: list[str], inherited: list[str]) -> list[str]:
    """``own`` followed by those of ``inherited`` that it does not set."""
    names = {variable.partition("=")[0] for variable in own}
    return own + [variable for variable in inherited if variable.partition("=")[0] not in names]


def merge_health(config: ContainerConfig, image: Healthcheck) -> None:
    """A health check without test takes the image's; each duration that is zero likewise."""
    own = config.healthcheck = config.healthcheck or HealthConfig()
    own.test = own.test or list(image.test or [])
    own.interval = own.interval or image.interval
    own.timeout = own.timeout or image.timeout
    own.start_period = own.start_period or image.start_period
    own.start_interval = own.start_interval or image.start_interval
    own.retries = own.retries or image.retries


def finish_config(config: ContainerConfig, host_config: HostConfig, container_id: str, host_name: str) -> None:
    """Settle what is left once the image was merged; raises InvalidParameter without a command."""
    if config.entrypoint == [""] or not config.entrypoint:
        config.entrypoint = None
    if not config.entrypoint and not config.cmd:
        raise InvalidParameter("no command specified")
    if not config.hostname and not host_config.network_mode.startswith("container:"):
        shared = host_config.network_mode == "host" or host_config.uts_mode == "host"
        config.hostname = host_name if shared else container_id[:12]


def finish_host_config(host_config: HostConfig, daemon: Config, host: Host) -> None:
    """Daemon defaults and normal forms."""
    policy = host_config.restart_policy
    policy.name = policy.name or "no"
    host_config.runtime = host_config.runtime or daemon.default_runtime
    host_config.shm_size = host_config.shm_size or parse_size(daemon.default_shm_size)
    host_config.ipc_mode = host_config.ipc_mode or daemon.default_ipc_mode
    if not host_config.cgroupns_mode:
        shared = host_config.privileged and host.cgroup_version == 1
        host_config.cgroupns_mode = "host" if shared else daemon.default_cgroupns_mode
    if host_config.port_bindings:
        bindings = host_config.port_bindings.items()
        host_config.port_bindings = {str(parse_port(key)): bound for key, bound in bindings}
    host_config.network_mode = DEFAULT_NETWORK.get(host_config.network_mode, host_config.network_mode)
    if host_config.oom_kill_disable is None and host.oom_control:
        host_config.oom_kill_disable = False
    if host_config.memory > 0 and host_config.memory_swap == 0 and host.swap:
        host_config.memory_swap = host_config.memory * 2
    if host_config.privileged:
        host_config.masked_paths = host_config.readonly_paths = None
    else:
        host_config.masked_paths = MASKED_PATHS if host_config.masked_paths is None else host_config.masked_paths
        host_config.readonly_paths = (
            READONLY_PATHS if host_config.readonly_paths is None else host_config.readonly_paths
        )
    finish_log(host_config, daemon)


def finish_log(host_config: HostConfig, daemon: Config) -> None:
    """The logging driver with the daemon's options below its own; raises InvalidParameter."""
    wanted = host_config.log_config
    driver = wanted.type or daemon.log_driver
    inherited = daemon.log_opts if driver == daemon.log_driver else {}
    cached = {name: value for name, value in daemon.log_opts.items() if name.startswith("cache-")}
    options = {**cached, **inherited, **wanted.config}
    check_driver(driver, options)
    host_config.log_config = LogConfig(type=driver, config=options)
