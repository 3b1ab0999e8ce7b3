"""Facts for ``GET /info``: what the host and the configuration say, one function each."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sampan.api import system as s
from sampan.config import OWN_RUNTIMES, Config
from sampan.engine.context import Context
from sampan.engine.host import Host
from sampan.linux.cgroup import hierarchies
from sampan.linux.mountinfo import mounts


def security_options(context: Context) -> list[str]:
    """What separates containers from the host."""
    wanted = {"name=userns": context.remap is not None, "name=cgroupns": bool(hierarchies())}
    return ["name=seccomp,profile=builtin", *(name for name, there in wanted.items() if there)]


def runtimes(context: Context) -> dict[str, s.Runtime]:
    """Our own, and those of the configuration."""
    own = {name: s.Runtime(path="sampan-runtime") for name in OWN_RUNTIMES}
    return own | {
        name: s.Runtime(path=runtime.path, runtime_args=runtime.runtime_args)
        for name, runtime in context.config.runtimes.items()
    }


def registry_config(context: Context) -> s.RegistryServiceConfig:
    """Registries as configured: networks in which, and hosts with which, TLS need not be verified."""
    config = context.config
    networks = [address for address in config.insecure_registries if "/" in address]
    hosts = {
        address: s.IndexInfo(name=address, mirrors=[], secure=False, official=False)
        for address in config.insecure_registries
        if "/" not in address
    }
    hub = s.IndexInfo(name="docker.io", mirrors=config.registry_mirrors, secure=True, official=True)
    return s.RegistryServiceConfig(
        insecure_registry_cidrs=["::1/128", "127.0.0.0/8", *networks],
        index_configs={"docker.io": hub, **hosts},
        mirrors=config.registry_mirrors,
    )


def limits(facts: Host) -> dict[str, Any]:
    """The members of the answer that say which limits this kernel knows."""
    return {
        "memory_limit": facts.memory,
        "swap_limit": facts.swap,
        "cpu_cfs_period": facts.cpu_quota,
        "cpu_cfs_quota": facts.cpu_quota,
        "cpu_shares": facts.cpu_shares,
        "cpu_set": facts.cpuset,
        "pids_limit": facts.pids,
        "oom_kill_disable": facts.oom_control,
    }


EXPOSED = """[DEPRECATION NOTICE]: API is accessible on {scheme}://{address} without {what}.
         Access to the remote API is equivalent to root access on the host. Refer
         to the 'Docker daemon attack surface' section in the documentation for
         more information: https://docs.docker.com/go/attack-surface/
In future versions this will be a hard failure preventing the daemon from starting! \
Learn more at: https://docs.docker.com/go/api-security/"""


def warnings(config: Config, facts: Host, *, forwarding: bool) -> list[str]:
    """What clients show under ``docker info``: what this kernel lacks, and an API that anybody may reach."""
    lacking = {
        "No memory limit support": facts.memory,
        "No swap limit support": facts.swap,
        "No oom kill disable support": facts.oom_control or facts.cgroup_version == 2,
        "No cpu cfs quota support": facts.cpu_quota,
        "No cpu cfs period support": facts.cpu_quota,
        "No cpu shares support": facts.cpu_shares,
        "No cpuset support": facts.cpuset,
        "IPv4 forwarding is disabled": forwarding,
        "daemon is not using the default seccomp profile": config.seccomp_profile in ("", "builtin"),
    }
    return [*(f"WARNING: {what}" for what, there in lacking.items() if not there), *exposed(config)]


def exposed(config: Config) -> Iterator[str]:
    """A word about each TCP address at which clients are not asked who they are."""
    for host in config.hosts:
        scheme, _, address = host.partition("://")
        if scheme == "tcp" and not (config.tls or config.tlsverify):
            yield EXPOSED.format(scheme="http", address=address, what="encryption")
        elif scheme == "tcp" and not config.tlsverify:
            yield EXPOSED.format(scheme="https", address=address, what="TLS client verification")


FILESYSTEMS = {"ext2": "extfs", "ext3": "extfs", "ext4": "extfs", "overlay": "overlayfs"}
"""Where Docker's name of a file system is not the kernel's."""


def backing_filesystem(root: Path) -> str:
    """The file system that ``root`` lies on."""
    device = root.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for mount in mounts():
        if mount.device == wanted:
            return FILESYSTEMS.get(mount.type, mount.type)
    return "unknown"


def engine_id(root: Path) -> str:
    """An identifier that stays with the data root (as moby's engine-id file)."""
    path = root / "engine-id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        identifier = Path("/proc/sys/kernel/random/uuid").read_text().strip()
        path.write_text(identifier)
        return identifier


def operating_system() -> tuple[str, str]:
    """Name and version of the distribution (os-release(5))."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "Linux", ""
    return release.get("PRETTY_NAME", "Linux"), release.get("VERSION_ID", "")
