"""The daemon killed at every step of every operation: what was acknowledged is there, nothing half-made is.

For each operation the steps are counted in a run that is left alone; then it is done again and killed, at steps spread
evenly over it (``SAMPAN_FAULTS`` of them, 5 by default; ``SAMPAN_FAULTS=all`` takes each). After each kill the daemon
starts again, and what the host holds is compared with what the API says. The counts are printed at the end.
"""

import io
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import docker
import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException
from engine_daemon import IMAGE, Daemon, busybox_tar, drop_links, own_subnet, wait_for
from fault_steps import Nursery, Steps
from registry_process import ours_in

pytestmark = pytest.mark.timeout(900)
WANTED = os.environ.get("SAMPAN_FAULTS", "5")
LOST_CONNECTION = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)
SHORT = {"stop_signal": "SIGKILL", "network_mode": "none"}


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

    def answers(self) -> bool:
        assert not self.ended(0), self.log[-4000:]
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b"200 OK" in connection.recv(200)
            except OSError:
                return False

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


@dataclass
class Tally:
    """What the suite prints."""

    injected: dict[str, int] = field(default_factory=dict)
    survived: int = 0
    lost: int = 0


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts over all operations."""
    counts = Tally()
    yield counts
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(
            f"\nfaults injected: {sum(counts.injected.values())} {counts.injected}, "
            f"survived: {counts.survived}, lost: {counts.lost}"
        )


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """A daemon that dies often, with the busybox image."""
    root = tmp_path_factory.mktemp("faults")
    with own_subnet() as subnet:
        mortal = Mortal(root, subnet)
        mortal.start()
        try:
            assert mortal.cli("import", "-", IMAGE, input=busybox_tar()).returncode == 0
            yield mortal
        finally:
            with closing(mortal.client()) as client:
                clear(client)
            mortal.stop()
            for hierarchy in Path("/sys/fs/cgroup").glob("*" + mortal.cgroup_parent):
                hierarchy.rmdir()
            mortal.nursery.close()
            drop_links(f"{subnet}.1/24")
            shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_leaks() -> None:
    """Replaces the package's census: this file makes its own after each fault."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, daemon: Mortal) -> Iterator[str]:
    """A registry on the loopback that has busybox; its name for it."""
    process = ours_in(tmp_path_factory.mktemp("registry") / "root")
    process.start()
    name = f"{process.address}/faults"
    try:
        with closing(daemon.client()) as client:
            client.images.get(IMAGE).tag(name)
            assert "error" not in client.images.push(name)
            client.images.remove(name)
            layered_image(client, f"{name}-fresh")
        yield name
    finally:
        process.kill()


class Operation(NamedTuple):
    """``prepare`` makes what ``act`` needs; ``check`` fails when what ``act`` was told is done is not.

    ``after`` fails when what is there after the restart contradicts itself, done or not.
    """

    prepare: Callable[[docker.DockerClient], Any]
    act: Callable[[docker.DockerClient, Any], Any]
    check: Callable[[docker.DockerClient, Any, Any], object]
    after: Callable[[docker.DockerClient, Any], object] = lambda client, prepared: True


def committed_image(client: docker.DockerClient) -> str:
    """The ID of an image of one layer more, named ``spare``."""
    container = made(client)
    container.put_archive("/", archive("seen", b"y" * 4096))
    image = container.commit("spare")
    container.remove()
    return str(image.id)


def untagged_image(client: docker.DockerClient) -> str:
    """The ID of an image that has no name."""
    container = made(client)
    container.put_archive("/", archive("seen", b"z" * 4096))
    image = container.commit()
    container.remove()
    return str(image.id)


def no_image(client: docker.DockerClient, id: str, _: object) -> bool:
    return id not in {image.id for image in client.images.list(all=True)}


def whole_or_gone(client: docker.DockerClient, id: str) -> bool:
    """What is listed can run."""
    return no_image(client, id, None) or bool(has_image(id)(client, None, None))


def nothing(client: docker.DockerClient) -> None:
    """No preparation."""


def made(client: docker.DockerClient, **options: Any) -> Any:
    return client.containers.create(IMAGE, "sleep 60", **{**SHORT, **options})


def running(client: docker.DockerClient, **options: Any) -> Any:
    container = made(client, **options)
    container.start()
    return container


def archive(name: str, content: bytes) -> Any:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    raw.seek(0)
    return raw


def state(client: docker.DockerClient, container: Any) -> str:
    return str(client.containers.get(container.id).status)


def gone(client: docker.DockerClient, container: Any) -> bool:
    return container.id not in {each["Id"] for each in client.api.containers(all=True)}


def saved_image(client: docker.DockerClient) -> bytes:
    """An image as an archive, no longer in the daemon under its name."""
    container = made(client)
    container.put_archive("/", archive("seen", b"x" * 4096))
    container.commit("carried")
    data = b"".join(client.images.get("carried").save(named=True))
    container.remove()
    client.images.remove("carried")
    return data


def has_image(name: str) -> Callable[..., object]:
    """A check: the image is there and a container can be made of it and started."""

    def check(client: docker.DockerClient, _: Any, __: Any) -> bool:
        container = client.containers.create(name, "true", network_mode="none")
        container.start()
        status = container.wait()["StatusCode"]
        container.remove()
        return bool(status == 0)

    return check


def executed(client: docker.DockerClient, container: Any) -> None:
    """Run a command in the background; it is acknowledged when its exit status is told."""
    made_exec = client.api.exec_create(container.id, "touch /made")["Id"]
    client.api.exec_start(made_exec, detach=True)
    wait_for(lambda: not client.api.exec_inspect(made_exec)["Running"])
    assert client.api.exec_inspect(made_exec)["ExitCode"] == 0


def attached_exec(client: docker.DockerClient) -> Any:
    """A running container, and where the exec's id is noted."""
    return running(client), []


def executed_attached(client: docker.DockerClient, prepared: Any) -> None:
    """Run a command and read its output to the end, as ``docker exec`` does: however the daemon dies, there is one."""
    container, made = prepared
    made.append(client.api.exec_create(container.id, ["sh", "-c", "echo made; exit 3"])["Id"])
    stream = client.api.exec_start(made[0], socket=True)
    stream._sock.settimeout(5)
    try:
        while stream._sock.recv(100):
            pass
    except TimeoutError:
        raise AssertionError("the client hangs") from None
    finally:
        stream.close()
    assert client.api.exec_inspect(made[0])["ExitCode"] == 3


def exec_ended(client: docker.DockerClient, prepared: Any) -> bool:
    """What was told of the exec is known: it can be started, or it ended with its status, or it never ran."""
    exec_id = prepared[1][0] if prepared[1] else None
    if exec_id is None:
        return True
    if client.api.exec_inspect(exec_id)["ExitCode"] is None and not client.api.exec_inspect(exec_id)["Running"]:
        client.api.exec_start(exec_id)
    wait_for(lambda: not client.api.exec_inspect(exec_id)["Running"])
    return client.api.exec_inspect(exec_id)["ExitCode"] in (3, 126)


def layered_image(client: docker.DockerClient, name: str) -> None:
    """Push an image with two layers that nobody else has, and forget it here."""
    for number in range(2):
        container = client.containers.create(name if number else IMAGE, "true", network_mode="none")
        container.put_archive("/", archive(f"layer{number}", os.urandom(65536)))
        container.commit(name)
        container.remove()
    assert "error" not in client.images.push(name)
    client.images.remove(name)


def built(client: docker.DockerClient, _: Any) -> None:
    dockerfile = io.BytesIO(f"FROM {IMAGE}\nRUN echo built > /built\nENV a=b\nRUN cat /built > /again\n".encode())
    client.images.build(fileobj=dockerfile, tag="built", rm=True)


def built_by_buildkit(client: docker.DockerClient, _: Any) -> None:
    """BuildKit without its protocol: stages side by side, a context, a cache mount, a script."""
    text = (
        f"FROM {IMAGE} AS one\nRUN --mount=type=cache,target=/c echo 1 > /one\n"
        f"FROM {IMAGE}\nWORKDIR /w\nCOPY file .\nCOPY --from=one /one .\nRUN <<EOF\ncat one file > both\nEOF\n"
    )
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in (("Dockerfile", text.encode()), ("file", b"2")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    query = {"version": "2", "t": "built", "networkmode": "none"}
    answer = client.api._post(client.api._url("/build"), data=data.getvalue(), params=query)
    if '"error"' in answer.text or "moby.image.id" not in answer.text:
        raise requests.ConnectionError(answer.text[-300:])


def with_volumes(client: docker.DockerClient) -> Any:
    container = made(client, volumes=["/data", "/more"])
    container.start()
    container.kill()
    return container


def removes_itself(client: docker.DockerClient) -> Any:
    return client.containers.create(IMAGE, "true", network_mode="none", volumes=["/data"], auto_remove=True)


def ran_out(client: docker.DockerClient, container: Any) -> None:
    container.start()
    wait_for(lambda: gone(client, container))


def gone_or_not_begun(client: docker.DockerClient, container: Any) -> bool:
    wait_for(
        lambda: (
            {each["Id"]: each["State"] for each in client.api.containers(all=True)}.get(container.id, "created")
            == "created"
        )
    )
    return True


def renamed(client: docker.DockerClient, container: Any) -> bool:
    return bool(client.containers.get("renamed").id == container.id)


def updated(client: docker.DockerClient, container: Any, _: Any) -> bool:
    limits = client.containers.get(container.id).attrs["HostConfig"]
    return bool(limits["Memory"] == 64 << 20 and limits["RestartPolicy"]["Name"] == "always")


def disconnecting(client: docker.DockerClient) -> Any:
    network, container = network_and_container(client)
    network.connect(container)
    return network, container


def disconnected(client: docker.DockerClient, prepared: Any, _: Any) -> bool:
    return "faulty" not in client.containers.get(prepared[1].id).attrs["NetworkSettings"]["Networks"]


def several_ended(client: docker.DockerClient) -> Any:
    return [made(client) for _ in range(3)]


def publish(client: docker.DockerClient) -> Any:
    return made(client, network_mode="bridge", ports={"80/tcp": None})


def ask(client: docker.DockerClient, path: str, body: Any = None) -> None:
    """A request that docker-py has no method for."""
    client.api._raise_for_status(client.api._post_json(client.api._url(path), data=body or {}))


def publish_live(client: docker.DockerClient, container: Any) -> None:
    ask(client, f"/containers/{container.id}/update", {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}})


def is_published(client: docker.DockerClient, container: Any, _: Any = None) -> bool:
    """Whether the port is shown, and held on the host."""
    bindings = client.containers.get(container.id).ports.get("80/tcp")
    if not bindings:
        return False
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", int(bindings[0]["HostPort"])))
        return False
    return True


def ports_as_told(client: docker.DockerClient, container: Any) -> bool:
    """Whether what the container is to publish and what it does publish are the same."""
    asked = client.containers.get(container.id).attrs["HostConfig"]["PortBindings"]
    return bool(asked) == is_published(client, container)


def kept(client: docker.DockerClient) -> Any:
    return client.volumes.create("kept")


def volume_names(client: docker.DockerClient) -> set[str]:
    return {each.name for each in client.volumes.list()}


def network_and_container(client: docker.DockerClient) -> Any:
    return client.networks.create("faulty"), running(client, network_mode="bridge")


def connected(client: docker.DockerClient, prepared: Any, _: Any) -> bool:
    networks = client.containers.get(prepared[1].id).attrs["NetworkSettings"]["Networks"]
    return bool(networks["faulty"]["IPAddress"])


OPERATIONS: dict[str, Operation] = {
    "create": Operation(
        nothing,
        lambda c, _: made(c, volumes=["/data"]),
        lambda c, _, container: state(c, container) == "created",
    ),
    "start": Operation(made, lambda c, x: x.start(), lambda c, x, _: state(c, x) == "running"),
    "publish": Operation(publish, lambda c, x: x.start(), lambda c, x, _: state(c, x) == "running"),
    "exec": Operation(
        running,
        executed,
        lambda c, x, _: x.exec_run("test -e /made").exit_code == 0,
    ),
    "attached exec": Operation(attached_exec, executed_attached, lambda c, x, _: exec_ended(c, x), exec_ended),
    "stop": Operation(running, lambda c, x: x.stop(timeout=0), lambda c, x, _: state(c, x) == "exited"),
    "remove": Operation(
        running,
        lambda c, x: x.remove(force=True, v=True),
        lambda c, x, _: gone(c, x),
    ),
    "rm -v": Operation(
        with_volumes, lambda c, x: x.remove(v=True), lambda c, x, _: gone(c, x) and not c.volumes.list()
    ),
    "run --rm": Operation(
        removes_itself,
        ran_out,
        lambda c, x, _: gone(c, x) and not c.volumes.list(),
        gone_or_not_begun,
    ),
    "rename": Operation(
        running, lambda c, x: x.rename("renamed"), lambda c, x, _: renamed(c, x), lambda c, x: state(c, x) == "running"
    ),
    "update": Operation(
        running,
        lambda c, x: x.update(mem_limit="64m", memswap_limit="64m", restart_policy={"Name": "always"}),
        updated,
        lambda c, x: state(c, x) == "running",
    ),
    "container prune": Operation(
        several_ended, lambda c, _: c.containers.prune(), lambda c, x, _: all(gone(c, each) for each in x)
    ),
    "build": Operation(nothing, built, has_image("built")),
    "build by BuildKit": Operation(nothing, built_by_buildkit, has_image("built")),
    "commit": Operation(running, lambda c, x: x.commit("committed"), has_image("committed")),
    "load": Operation(saved_image, lambda c, data: c.images.load(data), has_image("carried")),
    "import": Operation(
        lambda c: archive("seen", b"w" * 4096).getvalue(),
        lambda c, data: c.api.import_image_from_data(data, repository="imported"),
        lambda c, _, __: c.images.get("imported"),
    ),
    "rmi": Operation(committed_image, lambda c, _: c.images.remove("spare"), no_image, whole_or_gone),
    "image prune": Operation(untagged_image, lambda c, _: c.images.prune(), no_image, whole_or_gone),
    "network create": Operation(
        nothing, lambda c, _: c.networks.create("faulty"), lambda c, _, network: c.networks.get(network.id)
    ),
    "network connect": Operation(
        network_and_container, lambda c, prepared: prepared[0].connect(prepared[1]), connected
    ),
    "network disconnect": Operation(
        disconnecting, lambda c, prepared: prepared[0].disconnect(prepared[1]), disconnected
    ),
    "volume rm": Operation(
        lambda c: c.volumes.create("kept"), lambda c, x: x.remove(), lambda c, x, _: not c.volumes.list()
    ),
    "publish while it runs": Operation(
        lambda c: running(c, network_mode="bridge"), publish_live, is_published, ports_as_told
    ),
    "volume clone": Operation(
        kept,
        lambda c, _: ask(c, "/volumes/kept/clone?name=copy"),
        lambda c, _, __: volume_names(c) == {"kept", "copy"},
        lambda c, _: "kept" in volume_names(c),
    ),
    "volume rename": Operation(
        kept,
        lambda c, _: ask(c, "/volumes/kept/rename?name=moved"),
        lambda c, _, __: volume_names(c) == {"moved"},
        lambda c, _: len(volume_names(c)) == 1,
    ),
    "volume create": Operation(
        nothing, lambda c, _: c.volumes.create("kept"), lambda c, _, volume: c.volumes.get("kept")
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_at_any_step_loses_nothing_acknowledged(daemon: Mortal, tally: Tally, name: str) -> None:
    attack(daemon, tally, name, OPERATIONS[name])


def test_a_kill_at_any_step_of_a_pull_loses_nothing(daemon: Mortal, tally: Tally, registry: str) -> None:
    pull = Operation(nothing, lambda c, _: c.images.pull(registry, tag="latest"), has_image(registry))
    attack(daemon, tally, "pull", pull)


def test_a_kill_at_any_step_of_a_pull_of_new_layers_loses_nothing(daemon: Mortal, tally: Tally, registry: str) -> None:
    name = f"{registry}-fresh"
    pull = Operation(nothing, lambda c, _: c.images.pull(name, tag="latest"), has_image(name))
    attack(daemon, tally, "pull of new layers", pull)


def test_a_kill_at_any_step_of_a_push_loses_nothing(daemon: Mortal, tally: Tally, registry: str) -> None:
    name = f"{registry}-pushed"

    def tagged(client: docker.DockerClient) -> None:
        committed_image(client)
        client.images.get("spare").tag(name)

    def push(client: docker.DockerClient, _: object) -> None:
        assert "error" not in client.images.push(name, tag="latest")

    push_it = Operation(
        tagged, push, lambda c, _, __: c.images.get_registry_data(name), lambda c, _: c.images.get(name)
    )
    attack(daemon, tally, "push", push_it)


def attack(daemon: Mortal, tally: Tally, name: str, operation: Operation) -> None:
    """Do the operation once to count its steps, then once for each chosen one."""
    with closing(daemon.client()) as client:
        prepared = operation.prepare(client)
        daemon.steps.arm(0)
        done = operation.act(client, prepared)
        time.sleep(0.1)  # what follows the answer counts too
        total = daemon.steps.seen
        assert operation.check(client, prepared, done)
        clear(client)
    failures = []
    for step in chosen(total):
        try:
            if inject(daemon, operation, step):
                tally.injected[name] = tally.injected.get(name, 0) + 1
                tally.survived += 1
        except AssertionError as error:
            tally.injected[name] = tally.injected.get(name, 0) + 1
            tally.lost += 1
            failures.append(f"step {step} of {total}: {error}")
            if daemon.ended(0):
                daemon.stop()
                daemon.start()
            with closing(daemon.client()) as client:
                clear(client)
    assert not failures, "\n".join(failures)


def chosen(total: int) -> list[int]:
    """The steps to kill at."""
    wanted = total if WANTED == "all" else min(int(WANTED), total)
    return sorted({1 + at * (total - 1) // max(1, wanted - 1) for at in range(wanted)})


def inject(daemon: Mortal, operation: Operation, step: int) -> bool:
    """Kill at ``step``, start again, compare; False when the operation took fewer steps this time."""
    acknowledged, done = False, None
    with closing(daemon.client()) as client:
        prepared = operation.prepare(client)
        daemon.steps.arm(step)
        try:
            done = operation.act(client, prepared)
            acknowledged = True
        except LOST_CONNECTION as error:
            assert not isinstance(error, APIError), error
    killed = daemon.ended(0.3 if acknowledged else 5)
    if killed:
        daemon.stop()
        daemon.start()
    daemon.steps.arm(0)
    with closing(daemon.client()) as client:
        if acknowledged:
            assert operation.check(client, prepared, done), "acknowledged and lost"
        assert operation.after(client, prepared), "not as it was told"
        wait_for_clean(daemon, client)
        clear(client)
        wait_for_clean(daemon, client)
    return killed


def clear(client: docker.DockerClient) -> None:
    """Remove everything but the busybox image."""
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    for network in client.networks.list():
        if network.name not in ("bridge", "host", "none"):
            network.remove()
    for volume in client.volumes.list():
        volume.remove()
    for image in client.images.list():
        if IMAGE not in image.tags:
            client.images.remove(image.id, force=True)
    client.api.prune_builds(all=True)


def wait_for_clean(daemon: Mortal, client: docker.DockerClient) -> None:
    """What ends in the background may take a moment."""
    deadline = time.monotonic() + 3
    while (found := half_made(daemon, client)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not found, found


def half_made(daemon: Mortal, client: docker.DockerClient) -> list[str]:
    """What the host holds that the API does not know of, or the other way round."""
    containers = client.containers.list(all=True)
    known = {each.id for each in containers}
    live = {each.id for each in containers if each.status in ("running", "paused")}
    pairs: dict[str, tuple[set[str], set[str]]] = {
        "container directories": (entries(daemon.root / "data" / "containers"), known),
        "run directories": (entries(daemon.root / "run" / "containers"), live),
        "cgroups": (cgroups(daemon), live),
        "monitors": (monitors(daemon), live),
        "volumes": (volumes(daemon), {each.name for each in client.volumes.list()}),
        "layers": layers(daemon),
        "temporary files": (files(daemon.root / "data" / "tmp"), set()),
        "files of builds": (files(daemon.root / "run" / "build"), set()),
        "mounts": ({line for line in mounts() if str(daemon.root) in line}, set()),
        "bridges": (
            bridges(daemon),
            {f"br-{each.id[:12]}" for each in client.networks.list() if each.name == "faulty"},
        ),
        "ports in bridges": plugged(client, live),
    }
    found = [f"{what}: there {sorted(a)}, known {sorted(b)}" for what, (a, b) in pairs.items() if a != b]
    return found + anonymous(client, containers)


def entries(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.is_dir() else set()


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*") if not path.is_dir()}


def cgroups(daemon: Mortal) -> set[str]:
    parent = Path("/sys/fs/cgroup/memory" + daemon.cgroup_parent)
    return {path.name for path in parent.iterdir() if path.is_dir()} if parent.is_dir() else set()


def monitors(daemon: Mortal) -> set[str]:
    """IDs of containers whose monitor runs, of those this suite made: the others' have other directories."""
    found = set()
    for directory in Path("/proc").iterdir():
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
            if words[:2] == [b"sampan-monitor", b"monitor"]:
                files = {str(fd.readlink()) for fd in (directory / "fd").iterdir()}
                if any(str(daemon.root) in name for name in files):
                    found.add(words[2].decode())
        except OSError:
            continue
    return found


def volumes(daemon: Mortal) -> set[str]:
    directory = daemon.root / "data" / "volumes"
    return {path.name for path in directory.iterdir() if path.is_dir()} if directory.is_dir() else set()


def layers(daemon: Mortal) -> tuple[set[str], set[str]]:
    """Layers on disk, and in the database."""
    there = {name for name in entries(daemon.root / "data" / "snapshots") if name != ".empty"}
    with closing(sqlite3.connect(f"file:{daemon.root}/data/engine.db?mode=ro", uri=True)) as database:
        known = {chain.partition(":")[2] for (chain,) in database.execute("SELECT chain FROM layers")}
        (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    assert verdict == "ok"
    return there, known


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def bridges(daemon: Mortal) -> set[str]:
    """Links of user-made networks: those with an address of this daemon's pool."""
    listed = subprocess.run(["ip", "-br", "-4", "addr"], capture_output=True, check=True, text=True).stdout
    return {line.split()[0] for line in listed.splitlines() if f" {daemon.pool}." in line}


def plugged(client: docker.DockerClient, live: set[str]) -> tuple[set[str], set[str]]:
    """Numbers of interfaces in the default bridge, and of running containers on it."""
    bridge = client.networks.get("bridge")
    link = bridge.attrs["Options"]["com.docker.network.bridge.name"]
    there = entries(Path("/sys/class/net") / link / "brif")
    wanted = set(client.api.inspect_network(bridge.id)["Containers"])
    return {str(len(there))}, {str(len(wanted & live))}


def anonymous(client: docker.DockerClient, containers: list[Any]) -> list[str]:
    """Anonymous volumes that no container has."""
    used = {mount.get("Name") for each in containers for mount in each.attrs["Mounts"]}
    return [f"volume {each.name}" for each in client.volumes.list() if len(each.name) == 64 and each.name not in used]
