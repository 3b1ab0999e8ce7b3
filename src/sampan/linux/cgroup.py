"""Control groups: where they are mounted, and the one interface to a cgroup of either version.

    v1   /sys/fs/cgroup/memory/sampan/<id>, /sys/fs/cgroup/pids/sampan/<id>, …   one directory per controller
    v2   /sys/fs/cgroup/sampan/<id>                                              one directory

A ``Cgroup`` is its path below the root of every hierarchy; it holds no descriptor, so it may be kept for as
long as its container. A file's name says its controller (``memory.max``, ``pids.current``).

Source: cgroups(7); Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of Linux.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from signal import SIGKILL

import msgspec

REMOVE_PATIENCE = 2.0
"""Seconds ``Cgroup.remove`` waits for killed processes to leave."""


class Hierarchies(msgspec.Struct, frozen=True):
    """The mounted hierarchies: v1 controllers by name (``memory``, ``name=systemd``) and the v2 mount."""

    controllers: Mapping[str, str]
    unified: str | None

    @property
    def version(self) -> int:
        """1 where any v1 controller is mounted, even beside a cgroup2; else 2."""
        return 1 if any(not name.startswith("name=") for name in self.controllers) else 2


@cache
def hierarchies() -> Hierarchies:
    """The hierarchies of this host, read once; raises OSError where no cgroup file system is mounted."""
    found = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    if not found.controllers and not found.unified:
        raise FileNotFoundError("no cgroup file system is mounted")
    return found


def parse_mountinfo(text: str) -> Hierarchies:
    """Find cgroup mounts in ``/proc/self/mountinfo``; the first mount of a controller counts."""
    controllers: dict[str, str] = {}
    unified = None
    for line in text.splitlines():
        mount, _, source = line.partition(" - ")
        filesystem, *_, options = source.split(" ")
        target = mount.split(" ")[4]
        if filesystem == "cgroup2":
            unified = unified or target
        elif filesystem == "cgroup":
            names = [name for name in options.split(",") if name not in {"rw", "ro", "xattr", "clone_children"}]
            for name in names:
                controllers.setdefault(name, target)
    return Hierarchies(controllers, unified)


class CpuUsage(msgspec.Struct, frozen=True):
    """Nanoseconds of processor time, and how often the quota held the cgroup back."""

    total: int = 0
    user: int = 0
    system: int = 0
    per_cpu: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class MemoryUsage(msgspec.Struct, frozen=True):
    """Bytes; ``limit`` None is unlimited; ``stat`` is ``memory.stat`` with the kernel's names."""

    usage: int = 0
    max_usage: int = 0
    limit: int | None = None
    failures: int = 0
    swap: int = 0
    stat: Mapping[str, int] = msgspec.field(default_factory=dict)


class PidsUsage(msgspec.Struct, frozen=True):
    """Tasks; ``limit`` None is unlimited."""

    current: int = 0
    limit: int | None = None


class BlkioEntry(msgspec.Struct, frozen=True):
    """One counter of one block device; ``op`` lower case: read, write, sync, async, discard, total."""

    major: int
    minor: int
    op: str
    value: int


class BlkioUsage(msgspec.Struct, frozen=True):
    """Bytes moved and operations done, by device and kind."""

    service_bytes: tuple[BlkioEntry, ...] = ()
    serviced: tuple[BlkioEntry, ...] = ()


class Stall(msgspec.Struct, frozen=True):
    """Share of time (percent over 10, 60, 300 s) and total microseconds that tasks stalled."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


class Pressure(msgspec.Struct, frozen=True):
    """Pressure stall information of one resource: some tasks stalled, all stalled."""

    some: Stall = Stall()
    full: Stall = Stall()


class Usage(msgspec.Struct, frozen=True):
    """What a cgroup uses now; ``pressure`` by resource (cpu, memory, io), empty on v1."""

    cpu: CpuUsage = CpuUsage()
    memory: MemoryUsage = msgspec.field(default_factory=MemoryUsage)
    pids: PidsUsage = PidsUsage()
    blkio: BlkioUsage = BlkioUsage()
    pressure: Mapping[str, Pressure] = msgspec.field(default_factory=dict)


class Cgroup(ABC):
    """One cgroup, at ``path`` below the root of every hierarchy (``/sampan/<id>``)."""

    version: int

    def __init__(self, path: str, mounted: Hierarchies | None = None) -> None:
        self.path = path
        self.mounted = mounted or hierarchies()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    @property
    @abstractmethod
    def controllers(self) -> frozenset[str]:
        """Controllers that can be used here."""

    @abstractmethod
    def directories(self) -> Iterable[str]:
        """Absolute path of the cgroup in every hierarchy it lives in."""

    @abstractmethod
    def file(self, name: str) -> str:
        """Absolute path of a control file; KeyError where its controller is not mounted."""

    @abstractmethod
    def create(self) -> None:
        """Make the cgroup and its parents; one that exists is left as it is."""

    @abstractmethod
    def freeze(self) -> None:
        """Stop every process until ``thaw``; returns when all stand still."""

    @abstractmethod
    def thaw(self) -> None:
        """Let the processes go on."""

    @abstractmethod
    def frozen(self) -> bool:
        """Whether ``freeze`` is in force."""

    @abstractmethod
    def kill(self) -> None:
        """Send SIGKILL to every process here and below, frozen ones too."""

    @abstractmethod
    def oom_kills(self) -> int:
        """How many processes the kernel has killed here for want of memory."""

    @abstractmethod
    def oom_watch(self) -> int:
        """An fd that becomes readable when memory has run out; the caller closes it."""

    @abstractmethod
    def stats(self) -> Usage:
        """What is used now; what the host does not count is zero."""

    def exists(self) -> bool:
        """Whether it is there in every hierarchy."""
        return all(os.path.isdir(directory) for directory in self.directories())  # noqa: PTH112  at each start

    def write(self, name: str, *values: str) -> None:
        """Write a control file, opened once, each value in a call of its own as the kernel wants it.

        Raises OSError with the file, the value and the reason; the values after it are not written.
        """
        path, value = self.file(name), values[0]
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                for value in values:
                    os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise OSError(error.errno, f'cannot write "{value}": {error.strerror}', path) from None

    def read(self, name: str) -> str:
        """Contents of a control file without the last newline."""
        return read_file(self.file(name))

    def read_or(self, name: str, default: str) -> str:
        """Contents of a control file, or ``default`` where this host has none."""
        try:
            return self.read(name)
        except (OSError, KeyError):
            return default

    def has(self, name: str) -> bool:
        """Whether the control file exists."""
        try:
            return os.path.exists(self.file(name))  # noqa: PTH110  at each start
        except KeyError:
            return False

    def join(self, pid: int) -> None:
        """Move a process in (0: the caller)."""
        for directory in self.directories():
            write_file(f"{directory}/cgroup.procs", str(pid))

    def pids(self) -> list[int]:
        """Ids of the processes here and below, as this process's pid namespace sees them."""
        first = next(iter(self.directories()))
        found: set[int] = set()
        for directory in walk(first):
            with suppress(FileNotFoundError, OSError):
                found.update(map(int, read_file(f"{directory}/cgroup.procs").split()))
        return sorted(found)

    def signal(self, number: int) -> None:
        """Send a signal to every process here and below."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def remove(self) -> None:
        """Remove the cgroup with all below; what is gone already is no error.

        Processes still inside are killed and waited for, REMOVE_PATIENCE seconds at the most; then OSError.
        """
        deadline = time.monotonic() + REMOVE_PATIENCE
        for directory in self.directories():
            while not remove_tree(directory):
                if time.monotonic() > deadline:
                    raise OSError(16, "cgroup cannot be removed: processes do not leave it", directory)
                self.kill()
                time.sleep(0.002)


def walk(directory: str) -> Iterator[str]:
    """The directory and all cgroups below it, deepest first."""
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for child in [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]:
            yield from walk(child)
    yield directory


def remove_tree(directory: str) -> bool:
    """Remove a cgroup directory and those below; False while a process keeps one busy."""
    try:
        os.rmdir(directory)  # noqa: PTH106  one call in the common case: no children
    except FileNotFoundError:
        return True
    except OSError:
        pass
    else:
        return True
    for path in walk(directory):
        try:
            os.rmdir(path)  # noqa: PTH106
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def read_file(path: str) -> str:
    """A control file's text without the last newline."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, 65536)
        while chunk := os.read(fd, 65536):
            data += chunk
    finally:
        os.close(fd)
    return data.decode().rstrip("\n")


def write_file(path: str, value: str) -> None:
    """Write a control file in one call, as the kernel wants it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def keyed(text: str) -> dict[str, int]:
    """A flat keyed file (``key value`` a line) as a table; lines of other forms are skipped."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def kill_each(pids: Iterable[int]) -> None:
    """SIGKILL to each process that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
