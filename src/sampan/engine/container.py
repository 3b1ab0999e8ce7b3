"""One container: the record that is kept on disk, and the live object around it.

    Record      what was asked (config, host_config), what was decided (image, mounts, endpoints), how it stands (state)
    Container   the record, its lock, and while a process runs: monitor, cgroup, sandbox, execs
    Exec        a further process in a container, from its creation on

A record is written whole, after each change that must survive. That a container runs is known twice: by its record,
and by the monitor that answers in its run directory; after a crash the monitor is right.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sampan.api.containers import ContainerConfig, Health
from sampan.api.exec import ExecCreateRequest
from sampan.api.host_config import HostConfig
from sampan.api.mounts import Mount, MountPoint
from sampan.api.networks import EndpointSettings
from sampan.api.ports import PortMap
from sampan.engine.exec_records import KILLED
from sampan.engine.states import LIVE, Status, check
from sampan.linux.cgroup import Cgroup
from sampan.network.member import Sandbox
from sampan.runtime.launch import AttachedStream
from sampan.runtime.monitor import ExecHandle, Monitor


class State(msgspec.Struct):
    """How the container stands; times in nanoseconds since 1970, 0 never."""

    status: Status = Status.CREATED
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: int = 0
    finished_at: int = 0
    health: Health | None = None


class MountRecord(msgspec.Struct):
    """One mount as decided at creation: the point shown by inspect, and what is needed to make it again."""

    point: MountPoint
    request: Mount
    anonymous: bool = False


class Record(msgspec.Struct):
    """Everything about a container that outlives the daemon. ``name`` has no leading slash.

    ``removing_volumes``: its removal was begun, and takes its anonymous volumes along.
    """

    id: str
    name: str
    created: int
    image: str
    config: ContainerConfig
    host_config: HostConfig
    path: str = ""
    args: list[str] = []
    platform: str = "linux"
    mounts: list[MountRecord] = []
    endpoints: dict[str, EndpointSettings] = {}
    state: State = msgspec.field(default_factory=State)
    restart_count: int = 0
    manually_stopped: bool = False
    started_before: bool = False
    removing_volumes: bool = False


@dataclass(eq=False)
class Waiter:
    """Somebody who waits for the container's end: ``result`` gets the exit status."""

    condition: str
    result: "asyncio.Future[tuple[int, str]]"


@dataclass(eq=False)
class Exec:
    """One exec instance."""

    id: str
    container: "Container"
    request: ExecCreateRequest
    detach_keys: bytes = b""
    handle: ExecHandle | None = None
    running: bool = False
    exit_code: int | None = None
    finished: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def lost(self) -> None:
        """The container is gone, and the process with it."""
        if self.running:
            self.running, self.exit_code = False, KILLED


@dataclass(eq=False)
class Container:
    """A record and what only a running daemon knows of it."""

    record: Record
    state_dir: Path
    run_dir: Path
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    monitor: Monitor | None = None
    cgroup: Cgroup | None = None
    sandbox: Sandbox | None = None
    ports: PortMap = field(default_factory=dict)
    pending: list[AttachedStream] = field(default_factory=list)
    execs: dict[str, Exec] = field(default_factory=dict)
    waiters: list[Waiter] = field(default_factory=list)
    removing: bool = False
    restarting: "asyncio.Task[None] | None" = None
    forwarding: "asyncio.Task[None] | None" = None
    watching: "asyncio.Task[None] | None" = None
    checking: "asyncio.Task[None] | None" = None
    backoff: float = 0.0
    restart_on_exit: bool = False
    returning: "asyncio.Event | None" = None
    """While a restart that a user asked for is under way; set at its end."""
    began: float | None = None
    """When the process started, by the clock that nobody sets (``uptime``)."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def status(self) -> Status:
        """The state as users see it: a removal under way hides the others."""
        return Status.REMOVING if self.removing else self.record.state.status

    @property
    def live(self) -> bool:
        """Whether there is a process."""
        return self.record.state.status in LIVE

    @property
    def pid(self) -> int:
        """Of the first process in the daemon's pid namespace; 0 without one."""
        return self.monitor.pid if self.monitor and self.live else 0

    @property
    def log_path(self) -> Path:
        return self.state_dir / f"{self.id}-json.log"

    @property
    def run_time(self) -> float:
        """Seconds that the process has run, or had; of one that no daemon saw start, by its record."""
        if self.began is not None:
            return uptime() - self.began
        return max(0, self.record.state.finished_at - self.record.state.started_at) / 1e9

    def allow(self, operation: str, called: str = "") -> bool:
        """Whether ``operation`` is to be done now; raises Conflict where the table of states refuses it.

        ``called`` is what the user called the container, where the sentence repeats that instead of the ID.
        """
        return check(operation, self.status, called or self.id)

    def wait(self, condition: str) -> "asyncio.Future[tuple[int, str]]":
        """A future of (exit status, error) under one of the API's three conditions, registered at once."""
        waiter = Waiter(condition, asyncio.get_running_loop().create_future())
        if condition == "not-running" and not self.live and self.status != Status.RESTARTING:
            waiter.result.set_result((self.record.state.exit_code, self.record.state.error))
        else:
            self.waiters.append(waiter)
        return waiter.result

    def tell(self, *conditions: str) -> None:
        """Give the exit status to those who wait under ``conditions``; a removal is no failure, whatever was before."""
        error = "" if "removed" in conditions else self.record.state.error
        told = [waiter for waiter in self.waiters if waiter.condition in conditions]
        self.waiters = [waiter for waiter in self.waiters if waiter not in told]
        for waiter in told:
            if not waiter.result.done():
                waiter.result.set_result((self.record.state.exit_code, error))

    def attributes(self, **more: str) -> dict[str, str]:
        """Attributes of an event about this container: labels, image, name, and ``more``."""
        labels = self.record.config.labels or {}
        return {**labels, "image": self.record.config.image, "name": self.name, **more}


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()


def uptime() -> float:
    """Seconds since the machine was started: what durations are measured by, whoever sets the time of day."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
