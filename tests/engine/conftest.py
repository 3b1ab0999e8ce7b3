"""A real daemon for each test module, on its own roots, driven over its socket by docker-py and the docker CLI.

An autouse fixture compares what the host has before and after each test: mounts, links, processes of ours, cgroups and
the daemon's open files. A difference that stays fails the test.
"""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container

BUSYBOX = Path("/usr/bin/busybox")
IMAGE = "busybox:latest"
PATIENCE = 5.0


@dataclass
class Daemon:
    """One daemon and its roots; ``start`` again after ``kill`` finds its containers."""

    root: Path
    subnet: str
    arguments: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    started: int = field(default=0)

    @property
    def socket(self) -> Path:
        return self.root / "sampan.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log(self) -> str:
        return (self.root / "daemon.log").read_text(errors="replace")

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self.started += 1
        self.socket.unlink(missing_ok=True)
        with (self.root / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "sampan.daemon.main", "--debug"),
                    *("--data-root", str(self.root / "data"), "--exec-root", str(self.root / "run")),
                    *("-H", self.url, "--bip", f"{self.subnet}.1/24", *self.arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self.answers, 20)

    def answers(self) -> bool:
        """Whether the API answers; fails at once when the daemon has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.log[-4000:]
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b"200 OK" in connection.recv(200)
            except OSError:
                return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the daemon; containers go on."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def client(self) -> docker.DockerClient:
        """A docker-py client."""
        return docker.DockerClient(base_url=self.url, timeout=30)

    def cli(self, *arguments: str, input: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
        """Run the docker CLI."""
        return subprocess.run(
            ["docker", "-H", self.url, *arguments],
            input=input,
            capture_output=True,
            timeout=60,
            check=False,
            env={**os.environ, "DOCKER_CONFIG": str(self.root / "config")},
        )


def wait_for(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until ``condition`` holds; fails after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"still not: {condition}"
        time.sleep(0.02)


def busybox_tar() -> bytes:
    """A root file system: busybox with a link for each applet, users, a directory to write to."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700), ("data", 0o755)):
            tar.addfile(entry(name, tarfile.DIRTYPE, mode))
        with BUSYBOX.open("rb") as file:
            member = entry("bin/busybox", tarfile.REGTYPE, 0o755)
            member.size = BUSYBOX.stat().st_size
            tar.addfile(member, file)
        listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, text=True).stdout.split()
        for applet in sorted(set(listed) - {"busybox"}):
            member = entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777)
            member.linkname = "busybox"
            tar.addfile(member)
        for name, text in FILES.items():
            member = entry(name, tarfile.REGTYPE, 0o644)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return raw.getvalue()


FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
    "etc/group": b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
    "data/seed": b"seed\n",
}


def entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    """A member of the archive."""
    member = tarfile.TarInfo(name)
    member.type, member.mode = kind, mode
    return member


@pytest.fixture(scope="module")
def daemon_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the daemon's roots and socket are; a module may put them elsewhere."""
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def daemon_arguments() -> tuple[str, ...]:
    """Flags of the daemon; a module may want others."""
    return ("--add-runtime", "runc=runc")


@pytest.fixture(scope="module")
def daemon(daemon_root: Path, daemon_arguments: tuple[str, ...]) -> Iterator[Daemon]:
    """A daemon with the busybox image."""
    assert os.geteuid() == 0, "these tests need root"
    with own_subnet() as subnet:
        yield from prepared(Daemon(daemon_root, subnet, daemon_arguments))


@pytest.fixture
def refusal_to_start(tmp_path: Path) -> Callable[..., str]:
    """What a daemon with these flags says before it ends instead of starting."""

    def start(*arguments: str) -> str:
        with own_subnet() as subnet:
            stray = Daemon(tmp_path, subnet, arguments)
            with pytest.raises(AssertionError):
                stray.start()
            return stray.log

    return start


def prepared(running: Daemon) -> Iterator[Daemon]:
    """The daemon, started, with the image; everything of it is gone afterwards."""
    running.start()
    try:
        assert running.cli("import", "-", IMAGE, input=busybox_tar()).returncode == 0
        yield running
    finally:
        if running.process is not None:
            for container in running.client().containers.list(all=True):
                container.remove(force=True, v=True)
        running.stop()
        shutil.rmtree(running.root, ignore_errors=True)


@contextmanager
def own_subnet() -> Iterator[str]:
    """The first three numbers of a /24 that no other run and no route has: a bound socket's name is the claim."""
    routes = subprocess.run(["ip", "route"], capture_output=True, check=True, text=True).stdout
    with socket.socket(socket.AF_UNIX) as claim:
        for third in range(256):
            if f"172.30.{third}." in routes:
                continue
            try:
                claim.bind(f"\0sampan-tests-172.30.{third}")
            except OSError:
                continue
            yield f"172.30.{third}"
            return
    raise AssertionError("256 runs side by side")


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    """A docker-py client; what the test leaves behind is removed."""
    with closing(daemon.client()) as made:
        yield made
    with closing(daemon.client()) as cleaner:
        for container in cleaner.containers.list(all=True):
            try:
                container.remove(force=True, v=True)
            except APIError as error:
                assert error.status_code in (404, 409), error
        wait_for(lambda: not cleaner.containers.list(all=True))


@pytest.fixture
def run(client: docker.DockerClient) -> Callable[..., Container]:
    """Start a detached busybox container without network: ``run("sleep 60", name=…)``."""

    def start(command: str | list[str] = "sleep 60", **options: object) -> Container:
        options.setdefault("network_mode", "none")
        return client.containers.run(IMAGE, command, detach=True, **options)

    return start


@pytest.fixture
def shell() -> Callable[..., str]:
    """Output of a script run in a container; its failure fails the test."""

    def execute(container: Container, script: str, **options: object) -> str:
        result = container.exec_run(["sh", "-c", script], **options)
        assert result.exit_code == 0, result.output
        return result.output.decode().strip()

    return execute


@pytest.fixture
def eventually() -> Callable[..., None]:
    """``wait_for``."""
    return wait_for


@dataclass(frozen=True)
class Census:
    """What the host holds that could leak."""

    mounts: int
    links: frozenset[str]
    monitors: frozenset[str]
    cgroups: frozenset[str]
    fds: int


def census(daemon: Daemon) -> Census:
    """Count now."""
    assert daemon.process is not None
    run = daemon.root / "run" / "containers"
    cgroups = Path("/sys/fs/cgroup/memory/sampan")
    known = {path.name for path in (daemon.root / "data" / "containers").iterdir()}
    return Census(
        mounts=len(Path("/proc/self/mountinfo").read_text().splitlines()),
        links=frozenset(path.name for path in Path("/sys/class/net").glob("veth*")),
        monitors=frozenset(path.name for path in run.iterdir()),
        cgroups=frozenset(path.name for path in cgroups.iterdir() if path.name in known)
        if cgroups.is_dir()
        else frozenset(),
        fds=len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir())),
    )


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[None]:
    """The host has after the test what it had before."""
    before, starts = census(daemon), daemon.started
    yield
    if "client" in request.fixturenames and daemon.started == starts:
        with closing(daemon.client()) as cleaner:
            for container in cleaner.containers.list(all=True):
                container.remove(force=True, v=True)
        deadline = time.monotonic() + PATIENCE
        while (after := census(daemon)) and leaks(before, after) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not leaks(before, after)


SPARE_FDS = 12
"""Files the daemon may keep: caches, prepared namespaces, idle connections, threads' own."""


def leaks(before: Census, after: Census) -> list[str]:
    """What is there now and was not."""
    found = []
    if after.monitors - before.monitors:
        found.append(f"run directories {sorted(after.monitors - before.monitors)}")
    if after.cgroups - before.cgroups:
        found.append(f"cgroups {sorted(after.cgroups - before.cgroups)}")
    if after.mounts > before.mounts:
        found.append(f"{after.mounts - before.mounts} mounts")
    if after.fds > before.fds + SPARE_FDS:
        found.append(f"{after.fds - before.fds} open files")
    return found
