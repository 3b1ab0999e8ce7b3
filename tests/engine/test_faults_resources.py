"""The machine runs out of something: disk, descriptors, processes, memory; or the disk becomes read-only.

While it lasts, operations end with an error that says so and running containers go on; nobody waits for ever. When
there is enough again everything works, the check finds a sound data root, and what was acknowledged is there.
"""

import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError, DockerException
from engine_daemon import IMAGE, Daemon, busybox_tar, monitors_of, own_subnet, prepared, wait_for

CHECK = (sys.executable, "-m", "sampan.cli.main", "system", "check", "--data-root")
REFUSED = (APIError, DockerException, requests.RequestException)
SIZE = "64m"
Act = Callable[[docker.DockerClient], object]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose data root is a small file system of its own."""
    root = tmp_path_factory.mktemp("small")
    (root / "data").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=711", "small", root / "data"], check=True)
    try:
        with own_subnet() as subnet:
            yield from prepared(Daemon(root, subnet))
    finally:
        subprocess.run(["umount", "-l", root / "data"], check=True)


def built(client: docker.DockerClient) -> object:
    dockerfile = f"FROM {IMAGE}\nRUN head -c 4000000 /dev/urandom > /large\n"
    return client.images.build(fileobj=io.BytesIO(dockerfile.encode()), rm=True, nocache=True)


def imported(client: docker.DockerClient) -> object:
    answer = client.api.import_image_from_data(busybox_tar(), repository="again", changes=["LABEL a=b"])
    if "error" in answer:
        raise APIError(answer)
    return answer


def run(client: docker.DockerClient) -> object:
    return client.containers.run(IMAGE, "echo fine", network_mode="none", remove=True)


def executed(client: docker.DockerClient) -> object:
    return client.containers.get("runs").exec_run("true")


ACTS: dict[str, Act] = {
    "create": lambda client: client.containers.create(IMAGE, "true", network_mode="none"),
    "start": lambda client: client.containers.get("waits").start(),
    "run": run,
    "exec": executed,
    "commit": lambda client: client.containers.get("runs").commit("committed"),
    "build": built,
    "import": imported,
    "tag": lambda client: client.images.get(IMAGE).tag("other"),
    "volume": lambda client: client.volumes.create("full"),
    "network": lambda client: client.networks.create("full").remove(),
    "rename": lambda client: [client.api.rename("waits", "waited"), client.api.rename("waited", "waits")],
    "update": lambda client: client.containers.get("runs").update(mem_limit="64m", memswap_limit="64m"),
    "pause": lambda client: [client.containers.get("runs").pause(), client.containers.get("runs").unpause()],
    "restart": lambda client: client.containers.get("runs").restart(timeout=0),
}


@pytest.fixture
def kept(client: docker.DockerClient) -> Any:
    """A container that runs and writes its log, and one that waits to be started."""
    script = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done"
    runs = client.containers.run(IMAGE, ["sh", "-c", script], name="runs", detach=True, network_mode="none")
    client.containers.create(IMAGE, "sleep 600", name="waits", network_mode="none", stop_signal="SIGKILL")
    return runs


def attempt(client: docker.DockerClient, act: Act) -> str:
    """What the operation is refused with; empty when it is done."""
    try:
        act(client)
    except REFUSED as error:
        return str(error)
    return ""


def attempt_all(daemon: Daemon, client: docker.DockerClient) -> dict[str, str]:
    """Every operation in turn; the daemon answers after each."""
    said = {}
    for name, act in ACTS.items():
        said[name] = attempt(client, act)
        assert client.ping(), name
        assert daemon.process is not None
        assert daemon.process.poll() is None, name
    return {name: refusal for name, refusal in said.items() if refusal}


def all_is_well(daemon: Daemon, client: docker.DockerClient) -> None:
    """Everything works, the data root is sound, and a restart finds what there was."""
    for name in ("waits", "runs"):
        client.containers.get(name).restart(timeout=0)
    assert run(client) == b"fine\n"
    built(client)
    before = {each.id: each.status for each in client.containers.list(all=True)}
    daemon.stop(signal.SIGKILL)
    found = subprocess.run([*CHECK, str(daemon.root / "data")], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    daemon.start()
    assert {each.id: each.status for each in client.containers.list(all=True)} == before
    assert set(monitors_of(daemon.root)) == {id for id, status in before.items() if status == "running"}
    for image in client.images.list():
        if IMAGE not in image.tags:
            client.images.remove(image.id, force=True)
    for volume in client.volumes.list():
        volume.remove(force=True)
    client.api.prune_builds(all=True)


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """No byte is free in the file system."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while file.write(b"\0" * size) == size:
                    continue
    try:
        yield
    finally:
        filler.unlink()


def test_a_full_disk_refuses_and_loses_nothing(daemon: Daemon, client: docker.DockerClient, kept: Any) -> None:
    with full(daemon.root / "data"):
        refused = attempt_all(daemon, client)
        assert {"commit", "build", "import"} <= refused.keys()
        told = {name: text for name, text in refused.items() if "no space left" in text.lower() or "is full" in text}
        assert told.keys() == refused.keys(), {name: refused[name] for name in refused.keys() - told.keys()}
        kept.reload()
    all_is_well(daemon, client)
    kept.reload()
    assert kept.status == "running"


def test_a_container_that_ends_on_a_full_disk_keeps_its_exit_status(
    daemon: Daemon, client: docker.DockerClient
) -> None:
    script = ["sh", "-c", "trap 'exit 42' TERM; echo begun; while :; do usleep 10000; done"]
    container = client.containers.run(IMAGE, script, detach=True, network_mode="none")
    wait_for(container.logs)
    pid = client.api.inspect_container(container.id)["State"]["Pid"]
    daemon.stop(signal.SIGKILL)
    with full(daemon.root / "data"):
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not monitors_of(daemon.root))
    daemon.start()
    container.reload()
    assert container.status == "exited"
    assert container.attrs["State"]["ExitCode"] == 42


def test_a_log_goes_on_with_whole_lines_after_a_full_disk(daemon: Daemon, client: docker.DockerClient) -> None:
    script = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i of many that are as long as this; done"]
    container = client.containers.run(
        IMAGE, script, detach=True, network_mode="none", stop_signal="SIGKILL",
        log_config={"Type": "json-file", "Config": {"max-size": "4m", "max-file": "2"}},
    )  # fmt: skip
    with full(daemon.root / "data"):
        wait_for(lambda: container.logs(tail=1))
    last = container.logs(tail=1)
    wait_for(lambda: container.logs(tail=1) != last)
    container.stop(timeout=0)
    lines = container.logs(tail=5000).splitlines()
    assert len(lines) == 5000
    assert all(line.startswith(b"line ") and line.endswith(b"as long as this") for line in lines[:-1])


def test_a_read_only_disk_refuses_and_loses_nothing(daemon: Daemon, client: docker.DockerClient, kept: Any) -> None:
    place = daemon.root / "data"
    daemon.stop(signal.SIGKILL)
    script = f'mount --bind {place} {place} && mount -o remount,bind,ro {place} && exec "$@"'
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
    daemon.launcher = tuple(command)
    with pytest.raises(AssertionError):
        daemon.start()
    daemon.launcher = ()
    assert daemon.log.splitlines()[-1].startswith("sampand: ")
    assert "ead-only file system" in daemon.log.splitlines()[-1]
    daemon.start()
    all_is_well(daemon, client)


def limits(daemon: Daemon, kind: int, wanted: int) -> tuple[int, int]:
    assert daemon.process is not None
    return resource.prlimit(daemon.process.pid, kind, (wanted, resource.prlimit(daemon.process.pid, kind)[1]))


def test_without_descriptors_it_refuses_and_lives(daemon: Daemon, client: docker.DockerClient, kept: Any) -> None:
    """Some are left for its clients: without any even their connections wait, as with every server."""
    assert daemon.process is not None
    with closing(docker.DockerClient(base_url=daemon.url, timeout=3)) as impatient:
        impatient.ping()
        used = {int(path.name) for path in Path(f"/proc/{daemon.process.pid}/fd").iterdir()}
        free = [number for number in range(1024) if number not in used]
        before = limits(daemon, resource.RLIMIT_NOFILE, free[5])
        try:
            refused = {name: attempt(impatient, ACTS[name]) for name in ("create", "start", "run", "start")}
        finally:
            limits(daemon, resource.RLIMIT_NOFILE, before[0])
    assert "too many open files" in str(refused.values()).lower()
    assert daemon.log.count("out of system resource") < 60
    all_is_well(daemon, client)


@contextmanager
def confined(daemon: Daemon, controller: str, file: str) -> Iterator[Path]:
    """The daemon in a cgroup (v1) of its own; the path is of the limit."""
    assert daemon.process is not None
    directory = Path("/sys/fs/cgroup") / controller / f"sampan-tests-{os.getpid()}"
    directory.mkdir()
    try:
        (directory / "cgroup.procs").write_text(str(daemon.process.pid))
        yield directory / file
    finally:
        for pid in (directory / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (directory.parent / "cgroup.procs").write_text(pid)
        wait_for(lambda: not (directory / "cgroup.procs").read_text())
        directory.rmdir()


def test_without_processes_it_refuses_and_lives(daemon: Daemon, client: docker.DockerClient, kept: Any) -> None:
    daemon.stop(signal.SIGKILL)
    daemon.start()  # a zygote of its own, in the cgroup
    with confined(daemon, "pids", "pids.max") as limit:
        assert run(client) == b"fine\n"
        limit.write_text((limit.parent / "pids.current").read_text())
        refused = attempt_all(daemon, client)
        assert "run" in refused
        assert "resource temporarily unavailable" in refused["run"].lower()
        limit.write_text("max")
        assert run(client) == b"fine\n"
    all_is_well(daemon, client)


def test_a_container_without_processes_leaves_the_others_alone(
    daemon: Daemon, client: docker.DockerClient, kept: Any
) -> None:
    script = ["sh", "-c", "for i in $(seq 19); do sleep 600 & done; wait"]
    bomb = client.containers.run(IMAGE, script, detach=True, pids_limit=20, network_mode="none", stop_signal="SIGKILL")
    wait_for(lambda: len(client.api.top(bomb.id)["Processes"]) == 20)
    assert b"resource temporarily unavailable" in daemon.cli("exec", bomb.id, "true").stdout
    assert kept.exec_run("true").exit_code == 0
    bomb.stop(timeout=0)
    assert bomb.wait()["StatusCode"] == 137


def test_a_daemon_that_memory_ran_out_for_is_one_that_was_killed(
    daemon: Daemon, client: docker.DockerClient, kept: Any
) -> None:
    with closing(daemon.client()) as doomed, confined(daemon, "memory", "memory.limit_in_bytes") as limit:
        limit.write_text(str(int((limit.parent / "memory.usage_in_bytes").read_text()) + (2 << 20)))
        for _ in range(10):
            attempt(doomed, lambda one: one.images.load(b"".join(one.images.get(IMAGE).save(named=True))))
            assert daemon.process is not None
            if daemon.process.poll() is not None:
                break
    if daemon.process is not None and daemon.process.poll() is not None:
        daemon.process = None
    daemon.stop(signal.SIGKILL)
    daemon.start()
    all_is_well(daemon, client)
