"""What an idle container costs in memory, monitor and kernel included, taken so that other programs disturb it little.

    settle ─ drop caches ─ reading ─ a batch of containers ─ settle ─ drop caches ─ reading ─ removed …

A reading has two halves. What belongs to processes is read of the peer's own: all in its daemon's network namespace,
and their descendants. What the kernel keeps besides can be read of the whole machine only; the caches go before each
reading, for a dentry that nobody looks at is no cost of a container's, and what others take or give back meanwhile
falls into one batch: the medians of the batches are kept, of the sum and of each part by itself.

Source: proc_meminfo(5), proc_pid_smaps(5), proc_pid_status(5); Documentation/admin-guide/sysctl/vm.rst (drop_caches).
"""

import asyncio
import os
import statistics
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

OF_MACHINE = {"slab": "Slab", "per CPU": "Percpu"}
"""Parts that are read of the whole machine, with their names in /proc/meminfo."""

CACHES = "3"
"""Pages, dentries and inodes that nobody uses."""
SETTLE = 1.0
"""Seconds until what an end or a start leaves to be done later is done."""
STACK = 16
"""kB of a thread's stack in the kernel (x86-64, arm64)."""

Running = Callable[[int], AbstractAsyncContextManager[object]]
Reading = dict[str, float]


def values(path: Path) -> dict[str, int]:
    """The lines ``Name: number kB`` of a file in /proc."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.split()[:1] and value.split()[0].isdigit():
            found[name] = int(value.split()[0])
    return found


def processes() -> dict[int, int]:
    """Every process's parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def belonging(daemon: int) -> set[int]:
    """Processes in the daemon's network namespace, and all below them."""
    parents, namespace = processes(), Path(f"/proc/{daemon}/ns/net").readlink()
    found = set()
    for pid in parents:
        with suppress(OSError):
            if Path(f"/proc/{pid}/ns/net").readlink() == namespace:
                found.add(pid)
    below = found
    while below:
        below = {pid for pid, parent in parents.items() if parent in below} - found
        found |= below
    return found


def of_processes(pids: Iterable[int]) -> Reading:
    """Memory of these processes in kB: their own share of pages, page tables, stacks in the kernel."""
    parts = {"processes": 0.0, "page tables": 0.0, "kernel stacks": 0.0}
    for pid in pids:
        with suppress(OSError):  # it ended
            status = values(Path(f"/proc/{pid}/status"))
            parts["processes"] += values(Path(f"/proc/{pid}/smaps_rollup"))["Pss"]
            parts["page tables"] += status["VmPTE"]
            parts["kernel stacks"] += STACK * status["Threads"]
    return parts


async def reading(daemon: int) -> Reading:
    """kB in use, by part."""
    await asyncio.sleep(SETTLE)
    await asyncio.to_thread(os.sync)
    await asyncio.to_thread(Path("/proc/sys/vm/drop_caches").write_text, CACHES)
    machine = values(Path("/proc/meminfo"))
    return {**of_processes(belonging(daemon)), **{part: machine[name] for part, name in OF_MACHINE.items()}}


async def growth(running: Running, daemon: int, size: int) -> Reading:
    """kB for each container of a batch, by part and in all; ``running(size)`` holds that many."""
    before = await reading(daemon)
    async with running(size):
        after = await reading(daemon)
    parts = {name: (after[name] - before[name]) / size for name in before}
    return {"all": sum(parts.values()), **parts}


async def each_container(running: Running, daemon: int, size: int, batches: int) -> Reading:
    """Medians over the batches in kB, and ``spread``: how far apart their sums were."""
    found = [await growth(running, daemon, size) for _ in range(batches)]
    sums = [each["all"] for each in found]
    return {
        **{name: statistics.median(each[name] for each in found) for name in found[0]},
        "spread": max(sums) - min(sums),
    }


def told(figures: Reading) -> str:
    """The parts in one line."""
    parts = ", ".join(f"{name} {value:.0f}" for name, value in figures.items() if name not in ("all", "spread"))
    return f"{parts} kB; the batches lie within {figures['spread']:.0f} kB"
