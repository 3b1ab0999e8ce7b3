"""A cgroup of version 2: one directory, its controllers enabled from the root down.

Source: Documentation/admin-guide/cgroup-v2.rst of Linux.
"""

import os
import select
from contextlib import suppress

from sampan.linux.cgroup import (
    BlkioEntry,
    BlkioUsage,
    Cgroup,
    CpuUsage,
    MemoryUsage,
    PidsUsage,
    Pressure,
    Stall,
    Usage,
    keyed,
    kill_each,
    read_file,
    write_file,
)
from sampan.linux.inotify import watch_modified

FREEZE_PATIENCE = 2000
"""Milliseconds until a cgroup that does not come to rest is thawed again and the pause fails."""

_MICROSECOND = 1000


class Cgroup2(Cgroup):
    """See ``Cgroup``."""

    version = 2

    @property
    def root(self) -> str:
        """The cgroup2 mount."""
        if self.mounted.unified is None:
            raise FileNotFoundError("no cgroup2 file system is mounted")
        return self.mounted.unified

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset(read_file(f"{self.root}/cgroup.controllers").split())

    def directories(self) -> list[str]:
        return [self.root + self.path]

    def file(self, name: str) -> str:
        return f"{self.root}{self.path}/{name}"

    def create(self) -> None:
        """Every level above hands all it has down; a level that cannot (it has processes) fails by name."""
        above = self.root
        for part in self.path.strip("/").split("/"):
            _delegate(above)
            above = f"{above}/{part}"
            with suppress(FileExistsError):
                os.mkdir(above, 0o755)  # noqa: PTH102

    def open(self) -> int:
        """An fd of the directory, for clone3's CLONE_INTO_CGROUP; the caller closes it."""
        return os.open(self.directories()[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def freeze(self) -> None:
        self.write("cgroup.freeze", "1")
        events = os.open(self.file("cgroup.events"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while keyed(os.pread(events, 4096, 0).decode()).get("frozen") != 1:
                if not poll.poll(FREEZE_PATIENCE):
                    self.thaw()
                    raise TimeoutError(f"cgroup {self.path} does not come to rest")
        finally:
            os.close(events)

    def thaw(self) -> None:
        self.write("cgroup.freeze", "0")

    def frozen(self) -> bool:
        return self.read_or("cgroup.freeze", "0") == "1"

    def kill(self) -> None:
        """``cgroup.kill`` where the kernel has it (5.14), else signals while frozen."""
        if self.has("cgroup.kill"):
            with suppress(FileNotFoundError):
                self.write("cgroup.kill", "1")
            return
        with suppress(OSError):
            self.freeze()
        kill_each(self.pids())
        with suppress(OSError):
            self.thaw()

    def oom_kills(self) -> int:
        return keyed(self.read_or("memory.events", "")).get("oom_kill", 0)

    def oom_watch(self) -> int:
        return watch_modified(self.file("memory.events"))

    def stats(self) -> Usage:
        return Usage(self._cpu(), self._memory(), self._pids(), self._blkio(), self._pressure())

    def _cpu(self) -> CpuUsage:
        stat = keyed(self.read_or("cpu.stat", ""))
        return CpuUsage(
            total=stat.get("usage_usec", 0) * _MICROSECOND,
            user=stat.get("user_usec", 0) * _MICROSECOND,
            system=stat.get("system_usec", 0) * _MICROSECOND,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled_time=stat.get("throttled_usec", 0) * _MICROSECOND,
        )

    def _memory(self) -> MemoryUsage:
        return MemoryUsage(
            usage=self._limit("memory.current") or 0,
            max_usage=self._limit("memory.peak") or 0,
            limit=self._limit("memory.max"),
            failures=keyed(self.read_or("memory.events", "")).get("max", 0),
            swap=self._limit("memory.swap.current") or 0,
            stat=keyed(self.read_or("memory.stat", "")),
        )

    def _pids(self) -> PidsUsage:
        return PidsUsage(self._limit("pids.current") or 0, self._limit("pids.max"))

    def _blkio(self) -> BlkioUsage:
        text = self.read_or("io.stat", "")
        return BlkioUsage(
            tuple(parse_io_stat(text, {"rbytes": "read", "wbytes": "write", "dbytes": "discard"})),
            tuple(parse_io_stat(text, {"rios": "read", "wios": "write", "dios": "discard"})),
        )

    def _pressure(self) -> dict[str, Pressure]:
        """A kernel with ``psi=0`` has the files and refuses to read them: no pressure then."""
        texts = {resource: self.read_or(f"{resource}.pressure", "") for resource in ("cpu", "memory", "io")}
        return {resource: parse_pressure(text) for resource, text in texts.items() if text}

    def _limit(self, name: str) -> int | None:
        text = self.read_or(name, "max")
        return None if text == "max" else int(text)


def _delegate(directory: str) -> None:
    """Enable in ``directory`` every controller it has for the cgroups below it; most often nothing is missing."""
    having = set(read_file(f"{directory}/cgroup.controllers").split())
    for missing in sorted(having - set(read_file(f"{directory}/cgroup.subtree_control").split())):
        with suppress(OSError):
            # One at a time: a controller that cannot be delegated here (cpu with real-time tasks about, any in
            # a level with processes) must not keep the others back; a limit that needs it fails by name later.
            write_file(f"{directory}/cgroup.subtree_control", f"+{missing}")


def parse_io_stat(text: str, names: dict[str, str]) -> list[BlkioEntry]:
    """Lines ``8:0 rbytes=1 wbytes=2 …``: the counters in ``names``, under the operation's name there."""
    entries = []
    for line in text.splitlines():
        device, *counters = line.split()
        major, _, minor = device.partition(":")
        values = dict(counter.split("=", 1) for counter in counters if "=" in counter)
        entries += [
            BlkioEntry(int(major), int(minor), op, int(values[name])) for name, op in names.items() if name in values
        ]
    return entries


def parse_pressure(text: str) -> Pressure:
    """Lines ``some avg10=0.00 avg60=0.00 avg300=0.00 total=0`` and ``full …``."""
    stalls = {}
    for line in text.splitlines():
        kind, *figures = line.split()
        value = dict(figure.split("=", 1) for figure in figures)
        stalls[kind] = Stall(float(value["avg10"]), float(value["avg60"]), float(value["avg300"]), int(value["total"]))
    return Pressure(stalls.get("some", Stall()), stalls.get("full", Stall()))
