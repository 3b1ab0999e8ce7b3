"""Other engines with ``sampan-runtime`` as their OCI runtime: podman, and containerd by its shim for runc."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_daemon import busybox_tar, wait_for

Call = Callable[..., "subprocess.CompletedProcess[str]"]
RUNTIME = Path(sys.executable).with_name("sampan-runtime")
NAME = "sampan-called"
IMAGE = "docker.io/library/bb:latest"


def calling(*words: str) -> Call:
    """Runs a command line that begins with ``words``; its output goes to files' worth of text."""

    def call(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*words, *more], capture_output=True, text=True, check=False, timeout=60)

    return call


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path is short: these engines put it before names of sockets."""
    directory = Path(tempfile.mkdtemp(prefix="sampan-", dir="/run"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def podman(short: Path) -> Iterator[Call]:
    """podman on roots of its own, with the busybox image."""
    call = calling(
        *("podman", "--root", f"{short}/p", "--runroot", f"{short}/r", "--storage-driver", "vfs"),
        *("--cgroup-manager", "cgroupfs", "--runtime", str(RUNTIME)),
    )
    (short / "busybox.tar").write_bytes(busybox_tar())
    imported = call("import", f"{short}/busybox.tar", IMAGE)
    assert imported.returncode == 0, imported.stderr
    yield call
    call("rm", "--force", "--all", "--time", "0")
    call("rmi", "--force", "--all")


LIMITS = ("--network", "none", "--ulimit", "nofile=500:500", "--ulimit", "nproc=5000:5000")
"""podman's own defaults ask for more than a test may have."""


def test_podman_runs_containers(podman: Call) -> None:
    script = "hostname; cat /proc/self/oom_score_adj; touch /x || exit 3"
    options = ("--read-only", "--hostname", "given", "--oom-score-adj", "100", "--memory", "64m", "--tmpfs", "/t")
    done = podman("run", "--rm", *LIMITS, *options, IMAGE, "sh", "-c", script)
    assert (done.stdout.split(), done.returncode) == (["given", "100"], 3), done.stderr
    mapped = podman("run", "--rm", *LIMITS, "--uidmap", "0:100000:65536", IMAGE, "cat", "/proc/self/uid_map")
    assert mapped.stdout.split() == ["0", "100000", "65536"], mapped.stderr
    assert podman("run", "--rm", "--tty", *LIMITS, IMAGE, "tty").stdout.strip() == "/dev/pts/0"


def test_podman_leads_a_container_through_its_life(podman: Call) -> None:
    def status() -> str:
        return podman("inspect", "--format", "{{.State.Status}}", NAME).stdout.strip()

    assert podman("run", "--detach", "--name", NAME, *LIMITS, IMAGE, "sleep", "1000").returncode == 0
    assert podman("exec", "--user", "app", NAME, "id", "-u").stdout.strip() == "1000"
    assert podman("pause", NAME).returncode == 0
    assert status() == "paused"
    assert podman("unpause", NAME).returncode == 0
    assert len(podman("top", NAME).stdout.splitlines()) == 2
    assert podman("update", "--memory", "50m", NAME).returncode == 0
    assert podman("stop", "--time", "0", NAME).returncode == 0
    assert status() == "exited"
    assert podman("start", NAME).returncode == 0
    assert podman("rm", "--force", "--time", "0", NAME).returncode == 0


CONTAINERD = """version = 2
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{root}/sock"
"""


@pytest.fixture
def containerd(podman: Call, short: Path) -> Iterator[Call]:
    """ctr, for a containerd of its own that has podman's image."""
    (short / "config.toml").write_text(CONTAINERD.format(root=short))
    with (short / "log").open("wb") as log:
        process = subprocess.Popen(["containerd", "--config", f"{short}/config.toml"], stdout=log, stderr=log)
    call = calling("ctr", "--address", f"{short}/sock")
    try:
        wait_for(lambda: call("version").returncode == 0, 30)
        assert podman("save", "--output", f"{short}/image.tar", IMAGE).returncode == 0
        assert call("image", "import", "--snapshotter", "native", f"{short}/image.tar").returncode == 0
        yield call
        call("task", "kill", "--signal", "KILL", NAME)
        call("task", "rm", "--force", NAME)
        call("container", "rm", NAME)
    finally:
        process.terminate()
        process.wait(20)


RUN = ("run", "--snapshotter", "native", "--runtime", "io.containerd.runc.v2", "--runc-binary", str(RUNTIME))


def test_containerd_runs_containers(containerd: Call) -> None:
    script = "id -u; echo $A $HOME; exit 3"
    done = containerd(*RUN, "--rm", "--memory-limit", str(64 << 20), "--env", "A=b", IMAGE, NAME, "sh", "-c", script)
    assert (done.stdout.split(), done.returncode) == (["0", "b", "/root"], 3), done.stderr


def test_containerd_leads_a_container_through_its_life(containerd: Call) -> None:
    def status() -> str:
        return next(line.split()[2] for line in containerd("task", "ls").stdout.splitlines() if line.startswith(NAME))

    assert containerd(*RUN, "--detach", IMAGE, NAME, "sleep", "1000").returncode == 0
    assert containerd("task", "exec", "--exec-id", "one", NAME, "id", "-u").stdout.strip() == "0"
    assert containerd("task", "pause", NAME).returncode == 0
    assert status() == "PAUSED"
    assert containerd("task", "resume", NAME).returncode == 0
    assert len(containerd("task", "ps", NAME).stdout.splitlines()) == 2
    assert containerd("task", "metrics", NAME).returncode == 0
    assert containerd("task", "kill", "--signal", "KILL", NAME).returncode == 0
    wait_for(lambda: status() == "STOPPED", 10)
    assert containerd("task", "rm", NAME).returncode in (0, 137)
    assert NAME not in containerd("task", "ls").stdout
