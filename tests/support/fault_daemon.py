"""A daemon that can be killed at a chosen step, and started again."""

import os
import select
import signal
from dataclasses import dataclass, field

from engine_daemon import Daemon, wait_for
from fault_steps import Nursery, Steps


@dataclass
class Mortal(Daemon):
    """A daemon that the nursery starts and a step can end."""

    steps: Steps = field(init=False)
    nursery: Nursery = field(init=False)
    pidfd: int = -1

    def __post_init__(self) -> None:
        self.steps = Steps(self.root / "cells")
        self.nursery = Nursery(self.root / "cells")

    def start(self) -> None:
        self.started += 1
        self.steps.arm(0)
        self.socket.unlink(missing_ok=True)
        roots = ("--data-root", str(self.root / "data"), "--exec-root", str(self.root / "run"))
        pool = ("--default-address-pool", f"base={self.pool}.0.0/16,size=24")
        where = (*pool, "-H", self.url, "--bip", f"{self.subnet}.1/24", "--cgroup-parent", self.cgroup_parent)
        pid = self.nursery.start(self.root / "daemon.log", [*roots, *where, "--debug", *self.arguments])
        self.pidfd = os.pidfd_open(pid)
        wait_for(self.answers, 20)

    @property
    def pool(self) -> str:
        """The first two numbers of addresses of its networks, which no other run has."""
        return f"10.{self.subnet.rpartition('.')[2]}"

    @property
    def cgroup_parent(self) -> str:
        return f"/sampan-faults-{os.getpid()}"

    def has_ended(self) -> bool:
        return self.ended(0)

    def ended(self, patience: float) -> bool:
        """Whether the process is over, or will be within ``patience`` seconds."""
        return bool(select.select([self.pidfd], [], [], patience)[0])

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.pidfd >= 0:
            if not self.ended(0):
                signal.pidfd_send_signal(self.pidfd, number)
            assert self.ended(20)
            os.close(self.pidfd)
            self.pidfd = -1
