"""The machine was switched off: no process, no bridge, no cgroup, no run directory; only the data root is left."""

import os
import shutil
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from engine_daemon import IMAGE, Daemon, drop_links, monitors_of, wait_for

ALWAYS, UNLESS, FAILURE = {"Name": "always"}, {"Name": "unless-stopped"}, {"Name": "on-failure"}


def switch_off(daemon: Daemon) -> None:
    """Everything that does not survive a reboot is gone."""
    daemon.stop(signal.SIGKILL)
    pidfds = [os.pidfd_open(pid) for pid in monitors_of(daemon.root).values()]
    ids = [path.name for path in (daemon.root / "run" / "containers").iterdir()]
    for pidfd in pidfds:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
    wait_for(lambda: not monitors_of(daemon.root))
    for container_id in ids:
        for cgroup in Path("/sys/fs/cgroup").glob(f"*/sampan/{container_id}"):
            wait_for(lambda path=cgroup: removed(path))
    shutil.rmtree(daemon.root / "run")
    drop_links(f"{daemon.subnet}.1/24")


def removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:
        return not cgroup.exists()
    return True


@pytest.fixture
def network(client: docker.DockerClient, daemon: Daemon) -> Any:
    yield client.networks.create("rebooted")
    with closing(daemon.client()) as cleaner:
        for container in cleaner.containers.list(all=True):
            container.remove(force=True)
        cleaner.networks.get("rebooted").remove()


def address(container: Any) -> str:
    container.reload()
    return str(next(iter(container.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"])


def test_policies_bring_containers_back_in_order_with_their_addresses(
    daemon: Daemon, client: docker.DockerClient, network: Any
) -> None:
    def start(name: str, policy: dict[str, str] | None = None, command: str = "sleep 600", **options: Any) -> Any:
        options.setdefault("network", "rebooted")
        return client.containers.run(
            IMAGE, command, name=name, restart_policy=policy, detach=True, stop_signal="SIGKILL", **options
        )

    lender = start("lender", ALWAYS, ports={"80/tcp": None})
    first, second = start("first", UNLESS), start("second", FAILURE)
    borrower = start("borrower", ALWAYS, network=None, network_mode=f"container:{lender.id}")
    stopped, asked, never = start("stopped", UNLESS), start("asked", ALWAYS), start("never")
    done = start("done", FAILURE, "true")
    stopped.stop()
    asked.stop()
    assert done.wait()["StatusCode"] == 0
    lender.restart(timeout=0)  # so that it was started last
    borrower.restart(timeout=0)
    before = {each.name: address(each) for each in (lender, first, second)}

    switch_off(daemon)
    daemon.start()

    running = (lender, first, second, borrower, asked)
    wait_for(lambda: {each.name for each in client.containers.list()} == {each.name for each in running}, 10)
    assert {each.name: address(each) for each in (lender, first, second)} == before
    started = {each.name: each.attrs["State"]["StartedAt"] for each in map(reloaded, running)}
    assert started["lender"] < started["borrower"]
    never.reload()
    assert never.attrs["State"]["ExitCode"] == 137
    assert first.exec_run(["ping", "-c1", "-W2", "lender"]).exit_code == 0
    assert set(monitors_of(daemon.root)) == {each.id for each in running}


def reloaded(container: Any) -> Any:
    container.reload()
    return container


def test_a_container_that_waited_for_its_restart_is_started(daemon: Daemon, client: docker.DockerClient) -> None:
    loop = client.containers.run(
        IMAGE,
        ["sh", "-c", "test -e /again && sleep 600; false"],
        detach=True,
        restart_policy=UNLESS,
        network_mode="none",
    )
    wait_for(lambda: reloaded(loop).attrs["RestartCount"] >= 3)
    wait_for(lambda: reloaded(loop).status == "restarting")
    switch_off(daemon)
    upper = daemon.root / "data" / "containers" / loop.id / "upper"
    (upper / "again").touch()
    daemon.start()
    wait_for(lambda: reloaded(loop).status == "running")
    assert reloaded(loop).attrs["RestartCount"] == 0


def test_what_removes_itself_is_gone_after_a_reboot(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.run(IMAGE, "sleep 600", detach=True, remove=True, network_mode="none")
    switch_off(daemon)
    daemon.start()
    wait_for(lambda: not client.api.containers(all=True))
    with pytest.raises(NotFound):
        client.containers.get(container.id)
    assert not (daemon.root / "data" / "containers" / container.id).exists()


def test_a_daemon_s_restart_counts_no_success_as_a_failure(daemon: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.run(
        IMAGE, ["sh", "-c", "while test ! -e /v/end; do sleep 0.05; done"], detach=True, restart_policy=FAILURE,
        volumes=["/v"],
        network_mode="none",
    )  # fmt: skip
    daemon.stop(signal.SIGKILL)
    volume = next(iter((daemon.root / "data" / "volumes").glob("*/_data")))
    (volume / "end").touch()
    wait_for(lambda: not monitors_of(daemon.root))
    daemon.start()
    assert reloaded(container).status == "exited"
    assert container.attrs["State"]["ExitCode"] == 0
