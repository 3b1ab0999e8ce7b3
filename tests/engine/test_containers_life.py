"""Start, exit, stop, kill, pause, restart, wait: a container's life as clients see it."""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container
from engine_daemon import IMAGE

Run = Callable[..., Container]


def test_a_container_runs_and_ends(run: Run) -> None:
    container = run("sh -c 'echo out; echo err >&2; exit 7'")
    assert container.wait()["StatusCode"] == 7
    container.reload()
    assert container.attrs["State"]["Status"] == "exited"
    assert container.attrs["State"]["ExitCode"] == 7
    assert container.logs(stderr=False) == b"out\n"
    assert container.logs(stdout=False) == b"err\n"


def test_foreground_output_and_status_reach_the_cli(daemon: Any) -> None:
    done = daemon.cli("run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


def test_standard_input_reaches_the_program_and_ends(daemon: Any) -> None:
    done = daemon.cli("run", "-i", "--rm", "--network", "none", "busybox", "cat", input=b"through\n")
    assert (done.stdout, done.returncode) == (b"through\n", 0)


@pytest.mark.parametrize(
    ("command", "status", "sentence"),
    [
        ("nosuchprogram", 127, b"executable file not found in $PATH"),
        ("/no/such/program", 127, b"no such file or directory"),
        ("/etc/passwd", 126, b"permission denied"),
        ("/etc", 126, b"denied"),
    ],
)
def test_a_program_that_cannot_run_has_docker_s_exit_status(
    daemon: Any, command: str, status: int, sentence: bytes
) -> None:
    done = daemon.cli("run", "--rm", "--network", "none", "busybox", command)
    assert done.returncode == status, done.stderr
    assert sentence in done.stderr


def test_a_daemon_s_refusal_is_125(daemon: Any) -> None:
    assert daemon.cli("run", "--rm", "--memory", "1m", "busybox", "true").returncode == 125


def test_starting_a_running_container_changes_nothing(client: docker.DockerClient, run: Run) -> None:
    container = run("sleep 60")
    pid = client.api.inspect_container(container.id)["State"]["Pid"]
    container.start()
    assert client.api.inspect_container(container.id)["State"]["Pid"] == pid


def test_stop_asks_then_kills(run: Run) -> None:
    polite = run(["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done"])
    time.sleep(0.3)
    polite.stop(timeout=10)
    assert polite.wait()["StatusCode"] == 5
    stubborn = run(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"])
    time.sleep(0.3)
    stubborn.stop(timeout=1)
    assert stubborn.wait()["StatusCode"] == 137


def test_kill_sends_any_signal(run: Run) -> None:
    container = run(["sh", "-c", "trap 'echo got; exit 9' USR1; while :; do sleep 0.05; done"])
    time.sleep(0.3)
    container.kill("SIGUSR1")
    assert container.wait()["StatusCode"] == 9
    with pytest.raises(APIError, match="is not running"):
        container.kill()


def test_a_killed_container_is_dead_when_kill_returns(client: docker.DockerClient, run: Run) -> None:
    container = run("sleep 60")
    container.kill()
    state = client.api.inspect_container(container.id)["State"]
    assert (state["Running"], state["ExitCode"]) == (False, 137)


def test_pause_freezes_and_unpause_thaws(run: Run) -> None:
    container = run(["sh", "-c", "while :; do echo tick; sleep 0.02; done"])
    time.sleep(0.2)
    container.pause()
    container.reload()
    assert container.status == "paused"
    frozen = container.logs()
    time.sleep(0.2)
    assert container.logs() == frozen
    with pytest.raises(APIError, match="already paused"):
        container.pause()
    with pytest.raises(APIError, match="cannot start a paused container, try unpause instead"):
        container.start()
    with pytest.raises(APIError, match="is paused, unpause the container before exec"):
        container.exec_run("true")
    container.unpause()
    time.sleep(0.2)
    assert len(container.logs()) > len(frozen)


def test_restart_keeps_the_writable_layer(run: Run, shell: Callable[..., str]) -> None:
    container = run("sleep 60")
    shell(container, "echo kept > /tmp/file")
    container.restart(timeout=0)
    assert shell(container, "cat /tmp/file") == "kept"


def test_wait_knows_three_conditions(daemon: Any, client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "sh -c 'exit 4'", network_mode="none")
    assert client.api.wait(container.id, condition="not-running")["StatusCode"] == 0
    results: dict[str, int] = {}

    def wait(condition: str) -> None:
        with closing(daemon.client()) as other:
            results[condition] = other.api.wait(container.id, condition=condition)["StatusCode"]

    threads = [threading.Thread(target=wait, args=(condition,)) for condition in ("next-exit", "removed")]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    container.start()
    threads[0].join(5)
    assert results == {"next-exit": 4}
    container.remove()
    threads[1].join(5)
    assert results["removed"] == 4


def test_auto_remove_takes_the_container_away(
    client: docker.DockerClient, run: Run, eventually: Callable[..., None]
) -> None:
    run("true", auto_remove=True)
    eventually(lambda: client.containers.list(all=True, ignore_removed=True) == [])


def test_a_failing_container_is_restarted_as_often_as_asked(
    client: docker.DockerClient, run: Run, eventually: Callable[..., None]
) -> None:
    container = run("sh -c 'exit 1'", restart_policy={"Name": "on-failure", "MaximumRetryCount": 2})
    eventually(lambda: client.api.inspect_container(container.id)["RestartCount"] == 2)
    eventually(lambda: client.api.inspect_container(container.id)["State"]["Status"] == "exited")


def test_stop_ends_a_restart_loop(client: docker.DockerClient, run: Run, eventually: Callable[..., None]) -> None:
    container = run("false", restart_policy={"Name": "always"})
    eventually(lambda: client.api.inspect_container(container.id)["RestartCount"] >= 2)
    container.stop()
    assert client.api.inspect_container(container.id)["State"]["Status"] == "exited"


def test_memory_is_limited_and_the_kill_is_known(client: docker.DockerClient, run: Run) -> None:
    hungry = ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1"]
    container = run(hungry, mem_limit="16m", memswap_limit="16m")
    assert container.wait()["StatusCode"] == 137
    assert client.api.inspect_container(container.id)["State"]["OOMKilled"] is True


def test_update_changes_limits_of_a_running_container(
    client: docker.DockerClient, run: Run, shell: Callable[..., str]
) -> None:
    container = run("sleep 60", mem_limit="64m", memswap_limit="128m")
    container.update(mem_limit="32m", restart_policy={"Name": "always"})
    host_config = client.api.inspect_container(container.id)["HostConfig"]
    assert (host_config["Memory"], host_config["RestartPolicy"]["Name"]) == (32 << 20, "always")
    assert shell(container, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes") == str(32 << 20)


def test_events_tell_a_container_s_life(client: docker.DockerClient) -> None:
    since = time.time()
    container = client.containers.create("busybox", "sh -c 'exit 2'", name="told", network_mode="none")
    container.start()
    container.wait()
    container.remove()
    told = list(client.events(since=since, until=time.time() + 0.2, filters={"container": "told"}, decode=True))
    actions = [event["Action"] for event in told if event["Type"] == "container"]
    assert [action for action in actions if action not in ("attach",)] == ["create", "start", "die", "destroy"]
    died = next(event for event in told if event["Action"] == "die")
    assert died["Actor"]["Attributes"]["exitCode"] == "2"


def test_a_start_that_fails_is_no_end_for_those_who_wait_for_one(client: docker.DockerClient) -> None:
    """As with dockerd; else the docker CLI would tell of the failure twice."""
    container = client.containers.create(IMAGE, "nonexistent", network_mode="none")
    address = client.api._url("/containers/{0}/wait", container.id)
    waiting = client.api._post(address, params={"condition": "next-exit"}, stream=True)
    with pytest.raises(APIError, match="executable file not found"):
        container.start()
    container.remove()
    assert waiting.json() == {"StatusCode": 127}


def test_a_stop_that_cannot_be_says_of_what(client: docker.DockerClient, run: Run) -> None:
    container = run(name="busy")
    for operation, told in (("stop", "cannot stop container: busy"), ("restart", "Cannot restart container busy")):
        response = client.api._post(client.api._url("/containers/busy/{0}", operation), params={"signal": "BOGUS"})
        assert response.json()["message"] == f"{told}: invalid signal: BOGUS"
    container.reload()
    assert container.status == "running"


def test_a_container_that_is_being_restarted_is_never_seen_stopped(client: docker.DockerClient, run: Run) -> None:
    """``docker compose watch`` looks at a container whose end it hears of, and leaves where it stays away."""
    container = run("sleep 60", init=True)
    with closing(client.events(filters={"container": container.id, "event": "die"}, decode=True)) as told:
        restart = threading.Thread(target=container.restart)
        restart.start()
        next(told)
        container.reload()
        assert container.attrs["State"]["Running"]
        restart.join()
