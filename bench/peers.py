"""The engines that are measured side by side, each on roots of its own and in its own network namespace.

A peer is started before its turn and stopped after it; what it leaves (mounts, roots) is removed. dockerd and podman
come from Debian's packages; none is configured beyond what keeps them apart from the machine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PROJECT = Path(__file__).parents[1]
IMAGE = "bench/busybox:latest"
PATIENCE = 30.0  # seconds a daemon may take to answer
APART = ("--net", "--mount")  # what of the machine a peer does not share


@dataclass(frozen=True)
class Peer:
    """One engine that is ready: the words that stand before a docker command line, and the daemon's pid if any.

    ``building`` are those before ``build`` where they differ; ``buildx`` builds by that plugin of docker's, if it is
    there, and not by the classic builder.
    """

    name: str
    command: tuple[str, ...]
    pid: int | None
    socket: Path | None
    building: tuple[str, ...] = ()
    buildx: bool = False

    def build(self, *words: str) -> None:
        """Build quietly; raises CalledProcessError with its output if that fails."""
        environment = {**os.environ, "DOCKER_BUILDKIT": "1" if self.buildx else "0"}
        command = [*(self.building or self.command), "build", "--quiet", *words]
        subprocess.run(command, check=True, capture_output=True, env=environment)

    def call(self, *words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        """Run one command of this engine; raises CalledProcessError with its output if it fails."""
        return subprocess.run([*self.command, *words], check=True, capture_output=True, **options)  # type: ignore[call-overload,no-any-return]


def busybox_image(directory: Path) -> Path:
    """A docker-archive of one layer: Debian's static busybox and its applets."""
    rootfs = directory / "busybox"
    (rootfs / "bin").mkdir(parents=True)
    for name in ("tmp", "etc", "root", "proc", "sys", "dev"):
        (rootfs / name).mkdir()
    shutil.copy("/bin/busybox", rootfs / "bin/busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (rootfs / "etc/group").write_text("root:x:0:\n")
    applets = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (rootfs / "bin" / applet).symlink_to("busybox")
    layer = directory / "busybox.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(rootfs, arcname=".")
    return layer


def wait_for(socket: Path, process: subprocess.Popen[bytes]) -> None:
    """Return when the daemon's socket answers; raises RuntimeError if it ends or takes too long."""
    deadline = time.monotonic() + PATIENCE
    while True:
        asked = subprocess.run(["docker", "-H", f"unix://{socket}", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no daemon behind {socket}")
        time.sleep(0.1)


@contextlib.contextmanager
def daemon(name: str, words: Sequence[str], root: Path, apart: Sequence[str]) -> Iterator[Peer]:
    """Run a daemon in namespaces of its own until the block ends."""
    socket = root / "api.sock"
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", *apart, "--", *words, "-H", f"unix://{socket}"],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(socket, process)
        yield Peer(name, ("docker", "-H", f"unix://{socket}"), process.pid, socket)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(30)


@contextlib.contextmanager
def sampan(root: Path, apart: Sequence[str] = APART) -> Iterator[Peer]:
    """This project's daemon. Its containers would outlive it."""
    words = [sys.executable, "-m", "sampan.daemon.main", *roots(root), "--bip", "172.30.0.1/16"]
    with daemon("sampan", words, root, apart) as peer:
        try:
            yield peer
        finally:
            if left := peer.call("ps", "--all", "--quiet").stdout.decode().split():
                peer.call("rm", "--force", *left)


@contextlib.contextmanager
def dockerd(root: Path, apart: Sequence[str] = APART) -> Iterator[Peer]:
    """Debian's docker.io."""
    with daemon("dockerd", ["dockerd", *roots(root), "--bip", "172.31.0.1/16"], root, apart) as peer:
        yield peer


def roots(root: Path) -> list[str]:
    """Flags that keep a daemon to ``root``."""
    return ["--data-root", f"{root}/data", "--exec-root", f"{root}/exec", "--pidfile", f"{root}/pid"]


PODMAN_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
"""


@contextlib.contextmanager
def podman(root: Path, apart: Sequence[str] = APART) -> Iterator[Peer]:
    """Debian's podman. It needs no daemon; its API is served in the namespaces that keep it apart.

    Its default limits cannot be set on every machine, so they are lowered; runc, because crun refuses hybrid cgroups.
    """
    configuration = root / "containers.conf"
    configuration.write_text(PODMAN_CONFIGURATION)
    own = ("env", f"CONTAINERS_CONF={configuration}", "podman", *roots_of_storage(root))
    socket = root / "api.sock"
    with (root / "log").open("wb") as log:
        service = [*own, "system", "service", "--time", "0", f"unix://{socket}"]
        holder = subprocess.Popen(["unshare", *apart, *service], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(socket, holder)
        enter = ("nsenter", "-t", str(holder.pid), "-n", "-m")
        yield Peer("podman", (*enter, *own), holder.pid, socket)
    finally:
        holder.kill()
        holder.wait()


@contextlib.contextmanager
def buildah(root: Path) -> Iterator[Peer]:
    """Debian's buildah, which only builds: what imports an image for it is podman, on the same roots."""
    with podman(root) as other:
        enter = other.command[: other.command.index("podman")]
        caching = "BUILDAH_LAYERS=true"  # as podman does without being asked
        yield replace(other, name="buildah", building=(*enter, caching, "buildah", *roots_of_storage(root)))


def roots_of_storage(root: Path) -> list[str]:
    """Flags that keep podman and buildah to ``root``."""
    return ["--root", f"{root}/data", "--runroot", f"{root}/run"]


KINDS = {"sampan": sampan, "dockerd": dockerd, "podman": podman}
BUILDERS = {**KINDS, "buildah": buildah}


@contextlib.contextmanager
def ready(names: Sequence[str]) -> Iterator[list[Peer]]:
    """All named peers running at once, each with the busybox image."""
    directory = Path(tempfile.mkdtemp(prefix="sampan-bench-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and leave nothing behind
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        layer = busybox_image(directory)
        peers = []
        for name in names:
            root = directory / name
            root.mkdir()
            peer = stack.enter_context(BUILDERS[name](root))
            peer.call("import", str(layer), IMAGE)
            peers.append(peer)
        yield peers
