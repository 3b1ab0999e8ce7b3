"""A cgroup of version 1: the same path in every mounted controller's hierarchy.

A new cpuset is empty and admits nobody: it inherits its parent's processors and memory nodes here.

Source: Documentation/admin-guide/cgroup-v1/ of Linux.
"""

import os
import time
from contextlib import suppress
from functools import cached_property

from sampan.linux.cgroup import (
    BlkioEntry,
    BlkioUsage,
    Cgroup,
    CpuUsage,
    MemoryUsage,
    PidsUsage,
    Usage,
    keyed,
    kill_each,
    read_file,
    write_file,
)

FREEZE_PATIENCE = 2.0
"""Seconds until a cgroup that does not come to rest is thawed again and the pause fails."""

UNLIMITED = 1 << 60
"""A limit above this is the kernel's way to write "none" (PAGE_COUNTER_MAX pages)."""

_USER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Cgroup1(Cgroup):
    """See ``Cgroup``."""

    version = 1

    @cached_property
    def _roots(self) -> dict[str, str]:
        """Controller → mount point, each mount once for making and joining."""
        return dict(self.mounted.controllers)

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset(self._roots)

    def directories(self) -> list[str]:
        return [root + self.path for root in dict.fromkeys(self._roots.values())]

    def file(self, name: str) -> str:
        return f"{self._roots[name.partition('.')[0]]}{self.path}/{name}"

    def create(self) -> None:
        for directory in self.directories():
            _make(directory)
        if "cpuset" in self._roots:
            _inherit_cpuset(self._roots["cpuset"], self.path)

    def freeze(self) -> None:
        """A cgroup whose processes fork faster than they freeze is asked again until it stands still."""
        deadline = time.monotonic() + FREEZE_PATIENCE
        self.write("freezer.state", "FROZEN")
        while self.read("freezer.state") != "FROZEN":
            if time.monotonic() > deadline:
                self.thaw()
                raise TimeoutError(f"cgroup {self.path} does not come to rest")
            time.sleep(0.0005)
            self.write("freezer.state", "FROZEN")

    def thaw(self) -> None:
        self.write("freezer.state", "THAWED")

    def frozen(self) -> bool:
        return self.read_or("freezer.state", "THAWED") != "THAWED"

    def kill(self) -> None:
        """Signals are sent while nothing can fork, and take effect at the thaw."""
        with suppress(OSError, KeyError):
            self.freeze()
        kill_each(self.pids())
        with suppress(OSError, KeyError):
            self.thaw()

    def oom_kills(self) -> int:
        return keyed(self.read_or("memory.oom_control", "")).get("oom_kill", 0)

    def oom_watch(self) -> int:
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(self.file("memory.oom_control"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                directory = self._roots["memory"] + self.path
                write_file(f"{directory}/cgroup.event_control", f"{event} {control}")
            finally:
                os.close(control)
        except OSError:
            os.close(event)
            raise
        return event

    def stats(self) -> Usage:
        return Usage(self._cpu(), self._memory(), self._pids(), self._blkio())

    def _cpu(self) -> CpuUsage:
        ticks = keyed(self.read_or("cpuacct.stat", ""))
        quota = keyed(self.read_or("cpu.stat", ""))
        return CpuUsage(
            total=int(self.read_or("cpuacct.usage", "0")),
            user=ticks.get("user", 0) * _USER_TICK,
            system=ticks.get("system", 0) * _USER_TICK,
            per_cpu=tuple(map(int, self.read_or("cpuacct.usage_percpu", "").split())),
            periods=quota.get("nr_periods", 0),
            throttled_periods=quota.get("nr_throttled", 0),
            throttled_time=quota.get("throttled_time", 0),
        )

    def _memory(self) -> MemoryUsage:
        usage = self._number("memory.usage_in_bytes")
        limit = self._number("memory.limit_in_bytes")
        return MemoryUsage(
            usage=usage,
            max_usage=self._number("memory.max_usage_in_bytes"),
            limit=limit if 0 < limit < UNLIMITED else None,
            failures=self._number("memory.failcnt"),
            swap=max(0, self._number("memory.memsw.usage_in_bytes") - usage),
            stat=keyed(self.read_or("memory.stat", "")),
        )

    def _pids(self) -> PidsUsage:
        limit = self.read_or("pids.max", "max")
        return PidsUsage(self._number("pids.current"), None if limit == "max" else int(limit))

    def _blkio(self) -> BlkioUsage:
        """The throttling layer counts with every scheduler; bfq's own counters are preferred where it runs."""
        return BlkioUsage(*(self._blkio_counters(kind) for kind in ("io_service_bytes", "io_serviced")))

    def _blkio_counters(self, kind: str) -> tuple[BlkioEntry, ...]:
        for name in (f"blkio.bfq.{kind}_recursive", f"blkio.throttle.{kind}_recursive", f"blkio.throttle.{kind}"):
            if entries := tuple(parse_blkio(self.read_or(name, ""))):
                return entries
        return ()

    def _number(self, name: str) -> int:
        return int(self.read_or(name, "0"))


def parse_blkio(text: str) -> list[BlkioEntry]:
    """Lines ``8:0 Read 4096``; the closing ``Total`` of all devices is left out."""
    entries = []
    for line in text.splitlines():
        match line.split():
            case [device, op, value]:
                major, _, minor = device.partition(":")
                entries.append(BlkioEntry(int(major), int(minor), op.lower(), int(value)))
    return entries


def _make(directory: str) -> None:
    """mkdir -p with one system call in the common case: the parent is there."""
    try:
        os.mkdir(directory, 0o755)  # noqa: PTH102
    except FileExistsError:
        return
    except FileNotFoundError:
        os.makedirs(directory, 0o755, exist_ok=True)  # noqa: PTH103


def _inherit_cpuset(root: str, path: str) -> None:
    """Fill empty cpusets from the top down; a filled parent with ``clone_children`` spares its children this."""
    if read_file(f"{root}{path}/cpuset.cpus") and read_file(f"{root}{path}/cpuset.mems"):
        return
    above = root
    for part in path.strip("/").split("/"):
        here = f"{above}/{part}"
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not read_file(f"{here}/{name}"):
                write_file(f"{here}/{name}", read_file(f"{above}/{name}"))
        with suppress(OSError):
            write_file(f"{here}/cgroup.clone_children", "1")
        above = here
