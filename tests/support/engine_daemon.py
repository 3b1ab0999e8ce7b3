"""A daemon of a test's own: its roots, its subnet, its busybox image, and how to wait for things."""

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import docker

BUSYBOX = Path("/usr/bin/busybox")
IMAGE = "busybox:latest"
PATIENCE = 5.0


@dataclass
class Daemon:
    """One daemon and its roots; ``start`` again after ``kill`` finds its containers."""

    root: Path
    subnet: str
    arguments: tuple[str, ...] = ()
    launcher: tuple[str, ...] = ()  # a command that ends in executing its arguments
    process: "subprocess.Popen[bytes] | None" = None
    started: int = field(default=0)
    patience: float = 20

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
                    *(*self.launcher, sys.executable, "-m", "sampan.daemon.main", "--debug"),
                    *("--data-root", str(self.root / "data"), "--exec-root", str(self.root / "run")),
                    *("-H", self.url, "--bip", f"{self.subnet}.1/24", *self.arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self.answers, self.patience)

    def answers(self) -> bool:
        """Whether the API answers; fails at once when the daemon has ended."""
        assert not self.has_ended(), self.log[-4000:]
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b"200 OK" in connection.recv(200)
            except OSError:
                return False

    def has_ended(self) -> bool:
        """Whether the process is over."""
        assert self.process is not None
        return self.process.poll() is not None

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


def wait_for(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until ``condition`` holds; fails after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"still not: {condition}"
        time.sleep(0.02)


def monitors_of(root: Path) -> dict[str, int]:
    """Pids of the monitors whose files are under ``root``, by container ID."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (directory / "cmdline").read_bytes().split(b"\0")
            if words[:2] != [b"sampan-monitor", b"monitor"]:
                continue
            if any(str(root) in str(fd.readlink()) for fd in (directory / "fd").iterdir()):
                found[words[2].decode()] = int(directory.name)
    return found


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
            drop_links(f"172.30.{third}.1/24")
            return
    raise AssertionError("256 runs side by side")


def drop_links(address: str) -> None:
    """Remove the bridge of a daemon that is gone; like Docker's it outlives the daemon."""
    listed = subprocess.run(["ip", "-br", "addr"], capture_output=True, check=True, text=True).stdout
    for line in listed.splitlines():
        if address in line.split()[2:]:
            subprocess.run(["ip", "link", "del", line.split()[0]], check=True)
