"""A busybox root file system, plans for it, and monitors that are gone when a test ends."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sampan.linux.mount import MS_PRIVATE
from sampan.runtime import plan as p
from sampan.runtime import program as program_module
from sampan.runtime.launch import AttachedStream, ExecLaunch, Launch, LogFile
from sampan.runtime.monitor import Monitor
from sampan.runtime.zygote import Zygote

BUSYBOX = Path("/usr/bin/busybox")
NATIVE = Path(__file__).parents[3] / "native"
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
PATH = ("PATH=/bin:/usr/bin",)
APPLETS = ("sh", "cat", "echo", "ls", "sleep", "true", "false", "kill", "stty", "tty", "id", "dd", "readlink", "seq",
           "head", "ps", "printf", "stat", "mkdir", "hostname", "touch")  # fmt: skip


@pytest.fixture(params=["static", "sanitized"], autouse=True, scope="session")
def program(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs with the program as shipped, and with the one that sanitizers watch."""
    target, name = ("all", "sampan-monitor") if request.param == "static" else ("sanitize", "sampan-monitor.sanitize")
    subprocess.run(["make", "--silent", "-C", str(NATIVE), target], check=True)
    shipped = program_module.PROGRAM
    program_module.PROGRAM = shipped.with_name(name)
    program_module.sealed_program.cache_clear()
    yield
    program_module.PROGRAM = shipped
    os.close(program_module.sealed_program())
    program_module.sealed_program.cache_clear()


class Client:
    """The far end of an attached stream."""

    def __init__(self, **options: Any) -> None:
        self.socket, self.theirs = socket.socketpair()
        self.socket.setblocking(False)
        self.stream = AttachedStream(self.theirs.fileno(), **options)

    async def read(self, size: int = 65536) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.socket, size)

    async def read_all(self) -> bytes:
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)

    async def read_until(self, wanted: bytes) -> bytes:
        seen = b""
        while wanted not in seen:
            part = await self.read()
            assert part, f"ended after {seen!r}"
            seen += part
        return seen

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def end_input(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()
        self.theirs.close()


class Box:
    """One container's files, and launches for it."""

    def __init__(self, directory: Path) -> None:
        self.root, self.run, self.state = (directory / name for name in ("root", "run", "state"))
        for name in ("bin", "proc", "dev", "sys", "tmp", "etc", "root"):
            (self.root / name).mkdir(parents=True)
        self.run.mkdir()
        self.state.mkdir()
        (self.root / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
        (self.root / "bin/busybox").chmod(0o755)
        for name in APPLETS:
            (self.root / "bin" / name).symlink_to("busybox")
        self.log = self.state / "json.log"
        self.clients: list[Client] = []

    def client(self, **options: Any) -> Client:
        self.clients.append(Client(**options))
        return self.clients[-1]

    def mounts(self, slots: p.Slots) -> list[p.Operation]:
        """The root and what every container has, up to before pivot_root."""
        root, proc, dev, pts = (slots.take() for _ in range(4))
        return [
            p.SetPropagation("/", MS_PRIVATE),
            p.OpenTree(root, str(self.root), 1),
            p.AttachRoot(root, str(self.root)),
            p.MakeMount(proc, "proc", "proc", 0xE),
            p.Attach(proc, "/proc"),
            p.MakeMount(dev, "tmpfs", "tmpfs", 0x2, ("mode=755", "size=65536k")),
            p.Attach(dev, "/dev"),
            p.MakeMount(pts, "devpts", "devpts", 0xA, ("newinstance", "ptmxmode=0666", "mode=0620")),
            p.Attach(pts, "/dev/pts"),
            p.MakeNode("/dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
            p.MakeSymlink("pts/ptmx", "/dev/ptmx"),
        ]

    def plan(
        self,
        arguments: Sequence[str],
        *,
        terminal: bool = False,
        slots: p.Slots | None = None,
        stage: Sequence[p.Operation] = (),
        inside: Sequence[p.Operation] = (),
        last: Sequence[p.Operation] = (p.DieWithParent(),),
        environment: tuple[str, ...] = PATH,
    ) -> p.Plan:
        """A plain container: ``stage`` goes first, ``inside`` before pivot_root, ``last`` before Execute."""
        slots = slots or p.Slots()
        operations = [
            *stage,
            p.Clone(NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET),
            *self.mounts(slots),
            *inside,
            p.NewSession(),
            *([p.OpenConsole(24, 80, 0, "/dev/console")] if terminal else []),
            p.PivotRoot(),
            *([] if terminal else [p.SetStdio(0)]),
            p.ChangeDirectory("/"),
            *last,
            p.Execute(arguments[0], tuple(arguments), environment),
        ]
        return p.Plan(tuple(operations), tuple(slots.fds))

    def launch(self, *arguments: str, plan: p.Plan | None = None, log: bool = True, **options: Any) -> Launch:
        terminal = options.get("terminal", False)
        return Launch(
            container_id="test",
            plan=plan or self.plan(arguments, terminal=terminal),
            run_dir=self.run,
            state_dir=self.state,
            log=options.pop("log_file", LogFile(self.log) if log else None),
            **options,
        )

    def exec(
        self, pid: int, *arguments: str, exec_id: str = "e1", terminal: bool = False, **options: Any
    ) -> ExecLaunch:
        """The launch of another process in the container of ``pid``; its pidfd belongs to the plan."""
        slots = p.Slots()
        pidfd = os.pidfd_open(pid)
        operations = (
            p.SetNamespace(slots.give(pidfd), NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET),
            p.Clone(0),
            p.NewSession(),
            p.OpenConsole(0, 0, 0) if terminal else p.SetStdio(0),
            p.ChangeDirectory("/"),
            p.Execute(arguments[0], arguments, PATH),
        )
        plan = p.Plan(operations, tuple(slots.fds), owned=(pidfd,))
        return ExecLaunch(exec_id=exec_id, plan=plan, terminal=terminal, **options)


class Started:
    """Starts monitors and sees to their end."""

    def __init__(self, zygote: Zygote) -> None:
        self.monitors: list[Monitor] = []
        self.zygote = zygote

    async def __call__(self, launch: Launch, paused: Any = None) -> Monitor:
        self.monitors.append(await Monitor.start(launch, self.zygote, paused))
        return self.monitors[-1]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    assert BUSYBOX.exists(), "package busybox-static is missing"
    assert os.geteuid() == 0, "these tests make namespaces: root is needed"
    return Box(tmp_path)


@pytest_asyncio.fixture
async def start(box: Box) -> AsyncIterator[Started]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    zygote = Zygote()
    started = Started(zygote)
    yield started
    for client in box.clients:
        client.close()
    for monitor in started.monitors:
        await monitor.signal(signal.SIGKILL)
    for monitor in started.monitors:
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(monitor.drained(), 10)
        await monitor.close()
    zygote.close()
    left = len(list(Path("/proc/self/fd").iterdir())) - before
    assert left <= 1, f"{left} descriptors left open"  # one: the program's memfd, made once for all tests
