"""Facts about this host that decide what may be asked of a container; read once.

controllers: memory (swap, swappiness, soft limit, oom control), cpu (shares, quota), cpuset, pids, blkio
"""

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sampan.errors import InvalidParameter
from sampan.linux.cgroup import hierarchies

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}


@dataclass(frozen=True)
class Host:
    """What the kernel and its cgroups offer."""

    cgroup_version: int
    memory: bool
    swap: bool
    swappiness: bool
    oom_control: bool
    cpu_quota: bool
    cpu_shares: bool
    cpu_realtime: bool
    cpuset: bool
    pids: bool
    blkio_weight: bool
    blkio_throttle: bool
    cpus: frozenset[int]
    nodes: frozenset[int]
    cpu_count: int
    memory_total: int


@cache
def host() -> Host:
    """The host this process runs on."""
    found = hierarchies()
    read = _first if found.version == 1 else _second
    memory = sum(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal:")
    )
    return read(os.cpu_count() or 1, memory)


def _first(cpu_count: int, memory_total: int) -> Host:
    mounted = hierarchies().controllers

    def has(controller: str, file: str) -> bool:
        return controller in mounted and (Path(mounted[controller]) / file).exists()

    def numbers(file: str) -> frozenset[int]:
        return parse_list((Path(mounted["cpuset"]) / file).read_text()) if "cpuset" in mounted else frozenset()

    return Host(
        cgroup_version=1,
        memory=has("memory", "memory.limit_in_bytes"),
        swap=has("memory", "memory.memsw.limit_in_bytes"),
        swappiness=has("memory", "memory.swappiness"),
        oom_control=has("memory", "memory.oom_control"),
        cpu_quota=has("cpu", "cpu.cfs_quota_us"),
        cpu_shares=has("cpu", "cpu.shares"),
        cpu_realtime=has("cpu", "cpu.rt_runtime_us"),
        cpuset="cpuset" in mounted,
        pids="pids" in mounted,
        blkio_weight=has("blkio", "blkio.weight") or has("blkio", "blkio.bfq.weight"),
        blkio_throttle=has("blkio", "blkio.throttle.read_bps_device"),
        cpus=numbers("cpuset.cpus"),
        nodes=numbers("cpuset.mems"),
        cpu_count=cpu_count,
        memory_total=memory_total,
    )


def _second(cpu_count: int, memory_total: int) -> Host:
    root = Path(hierarchies().unified or "/sys/fs/cgroup")
    controllers = set((root / "cgroup.controllers").read_text().split())
    return Host(
        cgroup_version=2,
        memory="memory" in controllers,
        swap="memory" in controllers and Path("/proc/swaps").exists(),
        swappiness=False,
        oom_control=False,
        cpu_quota="cpu" in controllers,
        cpu_shares="cpu" in controllers,
        cpu_realtime=False,
        cpuset="cpuset" in controllers,
        pids="pids" in controllers,
        blkio_weight="io" in controllers,
        blkio_throttle="io" in controllers,
        cpus=parse_list(Path("/sys/devices/system/cpu/online").read_text()),
        nodes=parse_list(read_or("/sys/devices/system/node/online", "0")),
        cpu_count=cpu_count,
        memory_total=memory_total,
    )


def read_or(path: str, default: str) -> str:
    """Text of a file, ``default`` where there is none."""
    try:
        return Path(path).read_text()
    except OSError:
        return default


def architecture() -> str:
    """The host's architecture by Go's name."""
    machine = platform.machine()
    return ARCHITECTURES.get(machine, machine)


def parse_list(text: str) -> frozenset[int]:
    """``0-2,7`` as its numbers (cpuset(7), "List format"); raises InvalidParameter."""
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdecimal()) or (dash and not (last.isascii() and last.isdecimal())):
            raise InvalidParameter(f"invalid format: {text}")
        start, end = int(first), int(last or first)
        if end > 8192 or start > end:
            raise InvalidParameter(f"invalid format: {text}")
        numbers.update(range(start, end + 1))
    return frozenset(numbers)
