"""What a build needs from the engine to run one command in a file system.

The engine implements ``Executor`` upon its containers' runtime; tests implement it with a function.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sampan.api.host_config import Ulimit
from sampan.linux.userns import Mapped


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step may use; zero and empty mean no limit of its own. Bytes, shares, microseconds."""

    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    shm_size: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""


@dataclass(frozen=True, slots=True)
class StepMount:
    """Something mounted for the time of a step: ``source`` (by fd or by path), or a tmpfs.

    ``size`` bounds a tmpfs in bytes, 0 leaves it to the kernel.
    """

    target: str
    source: int | Path | None = None
    read_only: bool = True
    size: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its file system (a mount's fd, the caller's), its process, and what surrounds it.

    ``user`` is resolved in the file system. ``network`` is ``default``, ``none``, ``host`` or a network's name.
    """

    id: str
    rootfs: int
    argv: Sequence[str]
    env: Sequence[str]
    cwd: str = "/"
    user: str = ""
    mounts: Sequence[StepMount] = ()
    network: str = "default"
    extra_hosts: Sequence[str] = ()
    hostname: str = ""
    insecure: bool = False
    limits: Limits = field(default_factory=Limits)


Output = Callable[[bytes, bool], Awaitable[None]]
"""``await output(data, is_stderr)``: takes what the command printed."""


class Executor(Protocol):
    """Runs commands of builds.

    ``mapped`` are the users that commands have on the host: file systems are shown to them through it (None: as is).
    """

    @property
    def mapped(self) -> Mapped | None: ...

    async def run(self, command: Command, output: Output) -> int:
        """Run to its end and return the exit status (128 + signal for a signal).

        All output is delivered before it returns. When cancelled the command is killed, and nothing of it stays.
        Raises ``EngineError`` when it cannot be started.
        """
