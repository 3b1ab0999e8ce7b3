"""The disk takes as long as it likes over one operation: everything else is answered, and the operation ends well."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from engine_daemon import IMAGE, Daemon, busybox_tar, wait_for
from fault_surroundings import Surroundings

Act = Callable[[docker.DockerClient], object]


@pytest.fixture(scope="module")
def daemon_launcher(surroundings: Surroundings) -> tuple[str, ...]:
    """The daemon's disk is a test's to hold up."""
    return surroundings.launcher


def built(client: docker.DockerClient) -> object:
    dockerfile = f"FROM {IMAGE}\nRUN head -c 4000000 /dev/urandom > /large\n"
    return client.images.build(fileobj=io.BytesIO(dockerfile.encode()), rm=True, nocache=True, tag="slow:built")


def loaded(client: docker.DockerClient) -> object:
    return client.images.load(b"".join(client.images.get(IMAGE).save(named=True)))


ACTS: dict[str, Act] = {
    "import": lambda client: client.api.import_image_from_data(busybox_tar(), repository="slow", changes=["LABEL a=b"]),
    "load": loaded,
    "build": built,
    "commit": lambda client: client.containers.get("spare").commit("slow", "committed"),
    "create": lambda client: client.containers.create(IMAGE, "true", network_mode="none").remove(),
    "run": lambda client: client.containers.run(IMAGE, "true", network_mode="none", remove=True),
    "exec": lambda client: client.containers.get("runs").exec_run("true"),
    "restart": lambda client: client.containers.get("spare").restart(timeout=0),
    "volume": lambda client: client.volumes.create("slow").remove(),
    "network": lambda client: client.networks.create("slow").remove(),
    "tag": lambda client: client.images.get(IMAGE).tag("slow:tagged"),
}
WRITERS = ("import", "build", "commit")
"""Acts that write so much that they wait for the disk before they are acknowledged."""


@pytest.fixture
def runs(client: docker.DockerClient, run: Callable[..., Any]) -> Iterator[Any]:
    """A container that writes its log and one to be restarted; images that tests make go."""
    run("sleep 600", name="spare", stop_signal="SIGKILL")
    yield run(["sh", "-c", "echo begun; sleep 600"], name="runs", stop_signal="SIGKILL")
    for image in client.images.list():
        for name in image.tags:
            if name != IMAGE:
                client.images.remove(name)


def everything_else_is_answered(daemon: Daemon, runs: Any) -> None:
    """What looks, and what starts a process, on connections of its own."""
    with closing(docker.DockerClient(base_url=daemon.url, timeout=20)) as other:
        assert other.ping()
        assert runs.id in {each.id for each in other.containers.list()}
        found = other.containers.get(runs.id)
        assert found.logs() == b"begun\n"
        assert found.exec_run("true").exit_code == 0
        assert found.stats(stream=False)["pids_stats"]["current"]
        assert other.api.top(runs.id)["Processes"]
        assert other.images.list()
        assert other.containers.run(IMAGE, "echo fine", network_mode="none", remove=True) == b"fine\n"


def test_no_operation_that_waits_for_the_disk_holds_up_the_others(
    daemon: Daemon, surroundings: Surroundings, runs: Any
) -> None:
    for name, act in ACTS.items():
        done: list[str] = []

        def work(name: str = name, act: Act = act, done: list[str] = done) -> None:
            with closing(docker.DockerClient(base_url=daemon.url, timeout=60)) as client:
                act(client)
            done.append(name)

        before, worker = surroundings.syncs, threading.Thread(target=work)
        with surroundings.slow_disk():
            worker.start()
            wait_for(lambda: done or surroundings.syncs > before, 20)  # noqa: B023
            assert name not in WRITERS or not done, name
            everything_else_is_answered(daemon, runs)
        worker.join(60)
        assert done == [name]


@pytest.mark.parametrize("what", ["import", "commit"])
def test_many_operations_that_wait_for_the_disk_hold_up_nobody(
    daemon: Daemon, client: docker.DockerClient, surroundings: Surroundings, runs: Any, what: str
) -> None:
    sources = [client.containers.create(IMAGE, "true", network_mode="none") for _ in range(40)]
    done: list[int] = []

    def work(number: int) -> None:
        with closing(docker.DockerClient(base_url=daemon.url, timeout=120)) as own:
            if what == "commit":
                own.api.commit(sources[number].id, f"slow/{number}", changes=[f"LABEL a={number}"])
            else:
                own.api.import_image_from_data(busybox_tar(), f"slow/{number}", changes=[f"LABEL a={number}"])
        done.append(number)

    assert daemon.process is not None
    files = Path(f"/proc/{daemon.process.pid}/fd")
    before, opened = surroundings.syncs, len(list(files.iterdir()))
    workers = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    with surroundings.slow_disk():
        for worker in workers:
            worker.start()
        wait_for(lambda: surroundings.syncs > before and len(list(files.iterdir())) >= opened + 40, 60)
        everything_else_is_answered(daemon, runs)
        assert not done
    for worker in workers:
        worker.join(120)
    assert sorted(done) == list(range(40))
