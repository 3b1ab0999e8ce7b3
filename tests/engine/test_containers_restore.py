"""The daemon is replaceable: killed and started again, it finds every container as it left it, or how it ended."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from engine_daemon import wait_for

import sampan

Run = Callable[..., Container]


def revive(daemon: Any) -> docker.DockerClient:
    """Kill the daemon without warning and start it again."""
    daemon.stop(signal.SIGKILL)
    daemon.start()
    return daemon.client()


def test_running_containers_are_adopted(daemon: Any, run: Run) -> None:
    container = run(["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"], network_mode="bridge")
    before = container.client.api.inspect_container(container.id)
    with closing(revive(daemon)) as client:
        after = client.api.inspect_container(container.id)
        assert after["State"]["Pid"] == before["State"]["Pid"]
        assert after["State"]["StartedAt"] == before["State"]["StartedAt"]
        assert (
            after["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
            == before["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        )
        adopted = client.containers.get(container.id)
        assert adopted.exec_run("echo inside").output == b"inside\n"
        adopted.stop(timeout=0)
        numbers = [int(line) for line in adopted.logs().split()]
        assert numbers == list(range(len(numbers)))


def test_an_exit_meanwhile_is_known(daemon: Any, run: Run) -> None:
    container = run("sh -c 'sleep 0.7; echo last; exit 42'")
    daemon.stop(signal.SIGKILL)
    time.sleep(1.2)
    daemon.start()
    with closing(daemon.client()) as client:
        ended = client.containers.get(container.id)
        assert (ended.status, ended.attrs["State"]["ExitCode"]) == ("exited", 42)
        assert ended.logs() == b"last\n"
        ended.start()
        assert ended.wait()["StatusCode"] == 42


def test_an_attached_client_notices_nothing(daemon: Any, run: Run) -> None:
    container = run("cat", stdin_open=True)
    attached = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    time.sleep(0.3)  # the connection is handed over after the answer
    revive(daemon).close()
    attached._sock.sendall(b"still here\n")
    assert attached._sock.recv(100)[8:] == b"still here\n"
    attached.close()


def test_execs_keep_their_ids_and_exit_statuses(daemon: Any, run: Run, eventually: Callable[..., None]) -> None:
    container, api = run("sleep 60"), run("sleep 60").client.api
    commands = {"ended": "exit 3", "ends": "sleep 0.6; exit 4", "runs": "sleep 60", "later": "exit 5"}
    made = {name: api.exec_create(container.id, ["sh", "-c", command])["Id"] for name, command in commands.items()}
    for name in ("ended", "ends", "runs"):
        api.exec_start(made[name], detach=True)
    eventually(lambda: not api.exec_inspect(made["ended"])["Running"])
    daemon.stop(signal.SIGKILL)
    time.sleep(0.7)
    daemon.start()
    api.exec_start(made["later"])
    codes = {name: api.exec_inspect(exec_id)["ExitCode"] for name, exec_id in made.items()}
    assert codes == {"ended": 3, "ends": 4, "runs": None, "later": 5}
    running = api.exec_inspect(made["runs"])
    assert running["Running"] and running["Pid"] > 0
    assert api.inspect_container(container.id)["ExecIDs"] == [made["runs"]]
    container.kill()
    eventually(lambda: api.exec_inspect(made["runs"])["ExitCode"] == 137)


def test_the_end_of_an_exec_is_known_although_its_container_ended_as_well(daemon: Any, run: Run) -> None:
    container = run("sleep 0.8")
    api = container.client.api
    made = [api.exec_create(container.id, ["sh", "-c", command])["Id"] for command in ("sleep 0.3; exit 6", "sleep 9")]
    for exec_id in made:
        api.exec_start(exec_id, detach=True)
    daemon.stop(signal.SIGKILL)
    time.sleep(1)
    daemon.start()
    assert [api.exec_inspect(exec_id)["ExitCode"] for exec_id in made] == [6, 137]


@pytest.mark.parametrize(("policy", "state"), [("always", "running"), ("no", "exited")])
def test_a_restart_policy_is_applied_to_what_ended_meanwhile(
    daemon: Any, run: Run, eventually: Callable[..., None], policy: str, state: str
) -> None:
    marker = "test -e /again && sleep 60; touch /again; sleep 0.5"
    container = run(["sh", "-c", marker], restart_policy={"Name": policy})
    daemon.stop(signal.SIGKILL)
    time.sleep(1)
    daemon.start()
    with closing(daemon.client()) as client:
        eventually(lambda: client.containers.get(container.id).status == state)


def test_created_containers_and_volumes_stay(daemon: Any, client: docker.DockerClient) -> None:
    made = client.containers.create("busybox", "cat /data/seed", volumes=["stays:/data"], network_mode="none")
    with closing(revive(daemon)) as revived:
        again = revived.containers.get(made.id)
        again.start()
        assert again.wait()["StatusCode"] == 0
        assert again.logs() == b"seed\n"
        again.remove()
        revived.volumes.get("stays").remove()


def test_killing_the_daemon_during_starts_loses_nothing_acknowledged(daemon: Any, client: docker.DockerClient) -> None:
    acknowledged: list[str] = []

    def create() -> None:
        try:
            while True:
                acknowledged.append(client.containers.create("busybox", "true", network_mode="none").id)
                client.api.start(acknowledged[-1])
        except (docker.errors.DockerException, OSError):
            return

    worker = threading.Thread(target=create)
    worker.start()
    time.sleep(0.4)
    daemon.stop(signal.SIGKILL)
    worker.join(10)
    daemon.start()
    with closing(daemon.client()) as revived:
        known = {container.id for container in revived.containers.list(all=True)}
        assert set(acknowledged) <= known
        for container in revived.containers.list(all=True):
            container.remove(force=True)


def test_an_orderly_restart_leaves_containers_running(daemon: Any, run: Run) -> None:
    container = run("sleep 60", restart_policy={"Name": "always"})
    pid = container.client.api.inspect_container(container.id)["State"]["Pid"]
    daemon.stop()
    daemon.start()
    with closing(daemon.client()) as client:
        assert client.api.inspect_container(container.id)["State"]["Pid"] == pid


def test_a_container_whose_monitor_is_killed_has_ended(
    client: docker.DockerClient, run: Run, eventually: Callable[..., None]
) -> None:
    container = run("sleep 60")
    pid = client.api.inspect_container(container.id)["State"]["Pid"]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    os.kill(int(status["PPid"]), signal.SIGKILL)
    eventually(lambda: client.api.inspect_container(container.id)["State"]["ExitCode"] == 137)
    container.start()
    assert container.exec_run("true").exit_code == 0


def test_an_upgrade_of_the_package_disturbs_neither_daemon_nor_containers(
    daemon: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older package is one at another place, whose program is spoilt as soon as the daemon has come up."""
    older = tmp_path / "sampan"
    shutil.copytree(Path(sampan.__file__).parent, older)
    daemon.stop()
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path))
        daemon.start()
    program = older / "_native" / "sampan-monitor"
    program.unlink()
    program.write_bytes(b"no program")
    container = run(["sh", "-c", "read word; echo got $word; sleep 60"], stdin_open=True)  # the daemon's first
    daemon.stop(signal.SIGKILL)
    shutil.rmtree(older)
    daemon.start()
    assert container.exec_run("echo still").output == b"still\n"
    attached = container.attach_socket(params={"stdin": 1, "stream": 1})
    attached._sock.sendall(b"it\n")
    wait_for(lambda: container.logs() == b"got it\n")
    attached.close()
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137
    container.remove()


def test_files_where_the_shared_memory_was_mounted_do_not_keep_the_daemon_from_starting(daemon: Any, run: Run) -> None:
    container = run(ipc_mode="shareable")
    daemon.stop(signal.SIGKILL)
    directory = daemon.root / "run" / "containers" / container.id / "shm"
    os.kill(container_pid(container.id), signal.SIGKILL)
    wait_for(lambda: not container_pid(container.id))
    subprocess.run(["umount", directory], check=True)
    (directory / "left").write_text("behind")
    daemon.start()
    with closing(daemon.client()) as client:
        assert client.containers.get(container.id).status == "exited"
    assert not directory.exists()


def container_pid(container_id: str) -> int:
    """The first process of a container by its cgroup, 0 if there is none."""
    path = Path(f"/sys/fs/cgroup/memory/sampan/{container_id}/cgroup.procs")
    return int(([*path.read_text().split()] or ["0"])[0]) if path.exists() else 0
