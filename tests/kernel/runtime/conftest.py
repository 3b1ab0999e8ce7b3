"""Bundles on a busybox root, run by ``sampan-runtime`` as a program; a test fails that leaves a container behind."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from sampan.linux.cgroup import hierarchies
from sampan.oci.runtime_spec import Linux, Process, Resources, Spec, encode
from sampan.runtime.commands.spec import example

BUSYBOX = Path("/bin/busybox")
PARENT = f"/sampan-test-runtime-{os.getpid()}"


@dataclass
class Runtime:
    """One runtime root and one bundle."""

    directory: Path
    made: set[str] = field(default_factory=set)

    def call(self, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run one command of sampan-runtime; its output is captured (never use it for a container that stays)."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, input=text, check=False, timeout=60)

    def command(self, *words: str) -> list[str]:
        """The whole command line."""
        return [sys.executable, "-m", "sampan.runtime.cli", "--root", str(self.directory / "root"), *words]

    def write(self, spec: Spec) -> None:
        """Write the bundle's config.json."""
        (self.directory / "config.json").write_bytes(encode(spec))

    def run(self, script: str, **members: object) -> "subprocess.CompletedProcess[str]":
        """Run a shell script in a container to its end."""
        self.write(confined(["sh", "-c", script], **members))
        self.made.add("one")
        return self.call("run", "--bundle", str(self.directory), "one")

    def create(self, container_id: str, spec: Spec) -> None:
        """Create a container whose output nobody reads."""
        self.write(spec)
        assert self.try_create(container_id) == (0, "")

    def try_create(self, container_id: str) -> tuple[int, str]:
        """Create a container of the bundle as it is: status and what was said, here or by the program so far."""
        words = self.command("create", "--bundle", str(self.directory), container_id)
        self.made.add(container_id)
        log = self.directory / f"{container_id}.out"
        with log.open("wb") as output:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, timeout=60
            )
        return done.returncode, log.read_text()

    def status(self, container_id: str) -> str:
        """The status ``state`` tells."""
        done = self.call("state", container_id)
        return str(msgspec.json.decode(done.stdout)["status"]) if done.returncode == 0 else "gone"


def confined(args: Sequence[str], *, process: dict[str, object] | None = None, **members: object) -> Spec:
    """The example spec without a terminal, in a cgroup of the tests' own, with members of ``linux`` replaced."""
    base = example()
    assert base.process is not None
    assert base.linux is not None
    changed: Process = msgspec.structs.replace(base.process, args=args, terminal=False, **(process or {}))
    linux: Linux = msgspec.structs.replace(base.linux, **({"cgroups_path": f"{PARENT}/one"} | members))
    return msgspec.structs.replace(base, process=changed, linux=linux)


def limited(**members: object) -> Resources:
    """Resources with the example's device list."""
    base = example().linux
    assert base is not None
    assert base.resources is not None
    return msgspec.structs.replace(base.resources, **members)


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of busybox alone."""
    root = tmp_path_factory.mktemp("busybox") / "rootfs"
    for name in ("bin", "proc", "dev", "sys", "tmp", "etc", "data"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    return root


@pytest.fixture
def runtime(tmp_path: Path, busybox_root: Path) -> Iterator[Runtime]:
    """A runtime whose containers and cgroups are all gone afterwards."""
    (tmp_path / "rootfs").symlink_to(busybox_root)
    made = Runtime(tmp_path)
    yield made
    for container_id in made.made:
        if (tmp_path / "root" / container_id).exists():
            made.call("delete", "--force", container_id)
    left = [path for path in cgroup_directories() if path.is_dir() and any(child.is_dir() for child in path.iterdir())]
    for path in cgroup_directories():
        if path.is_dir() and path not in left:
            path.rmdir()
    assert not left
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def cgroup_directories() -> list[Path]:
    """The tests' parent cgroup in every hierarchy of the host's version."""
    found = hierarchies()
    roots = set(found.controllers.values()) if found.version == 1 else {found.unified or ""}
    return [Path(root + PARENT) for root in roots]
