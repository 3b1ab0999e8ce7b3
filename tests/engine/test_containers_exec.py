"""Exec, attach and logs: streams in and out of containers."""

import json
import os
import pty
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.models.containers import Container

Run = Callable[..., Container]
Shell = Callable[..., str]


def test_an_exec_has_its_own_streams_and_status(run: Run) -> None:
    container = run()
    result = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 6"], demux=True)
    assert (result.exit_code, result.output) == (6, (b"out\n", b"err\n"))


def test_an_exec_inherits_and_overrides(run: Run, shell: Shell) -> None:
    container = run("sleep 60", environment={"A": "1", "B": "2"}, working_dir="/tmp", user="app")
    assert shell(container, "echo $A$B $(id -u) $(pwd)") == "12 1000 /tmp"
    assert shell(container, "echo $A$B $(id -u):$(id -g)", environment={"B": "3"}, user="0:5") == "13 0:5"
    assert shell(container, "pwd", workdir="/data") == "/data"


def test_groups_are_those_of_the_image(run: Run, shell: Shell) -> None:
    container = run("sleep 60", user="app", group_add=["44"])
    assert sorted(shell(container, "id -G").split()) == ["1000", "2000", "44"]


@pytest.mark.parametrize(
    ("command", "status", "sentence"),
    [("nosuch", 127, b"executable file not found in $PATH"), ("/etc/passwd", 126, b"permission denied")],
)
def test_an_exec_that_cannot_run_has_docker_s_status(
    daemon: Any, run: Run, command: str, status: int, sentence: bytes
) -> None:
    done = daemon.cli("exec", run().id, command)
    assert done.returncode == status, done
    assert sentence in done.stdout + done.stderr


def test_an_exec_in_a_directory_that_is_not_there_says_so(daemon: Any, run: Run) -> None:
    done = daemon.cli("exec", "-w", "/nodir", run().id, "true")
    assert done.returncode == 127, done
    assert b'chdir to cwd ("/nodir") set in config.json failed: no such file or directory' in done.stdout + done.stderr


def test_an_exec_needs_a_running_container(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "true", network_mode="none")
    with pytest.raises(APIError) as refused:
        container.exec_run("true")
    assert refused.value.status_code == 409
    assert refused.value.explanation == f"container {container.id} is not running"


def test_an_exec_is_inspected_and_runs_once(client: docker.DockerClient, run: Run) -> None:
    container = run()
    made = client.api.exec_create(container.id, ["sh", "-c", "exit 3"], user="app")
    assert client.api.exec_inspect(made["Id"])["Running"] is False
    client.api.exec_start(made["Id"])
    shown = client.api.exec_inspect(made["Id"])
    assert (shown["ExitCode"], shown["ProcessConfig"]["user"], shown["ContainerID"]) == (3, "app", container.id)
    with pytest.raises(APIError, match="has already run"):
        client.api.exec_start(made["Id"], detach=True)
    told = client.api.exec_start(made["Id"], demux=True)
    assert told == (f"exec command {made['Id']} has already run\r\n".encode(), None)


def test_a_second_start_of_an_exec_leaves_the_first_alone(client: docker.DockerClient, run: Run) -> None:
    container = run()
    made = client.api.exec_create(container.id, "cat", stdin=True)
    first = client.api.exec_start(made["Id"], socket=True)
    assert client.api.exec_start(made["Id"]) == f"exec command {made['Id']} is already running\r\n".encode()
    first._sock.sendall(b"goes on\n")
    assert b"goes on\n" in first.read(8 + 8)
    first._sock.close()


def test_the_terminal_s_size_may_come_as_soon_as_the_start_is_answered(client: docker.DockerClient, run: Run) -> None:
    container = run()
    made = client.api.exec_create(container.id, ["sh", "-c", "sleep 0.1; stty size"], tty=True)
    with closing(client.api.exec_start(made["Id"], tty=True, socket=True)) as stream:
        client.api.exec_resize(made["Id"], height=33, width=44)
        assert stream.read(7) == b"33 44\r\n"


def test_an_exec_that_was_not_started_ends_with_its_container_s_run(client: docker.DockerClient, run: Run) -> None:
    container = run()
    waiting = client.api.exec_create(container.id, ["true"])
    container.stop(timeout=0)
    with pytest.raises(NotFound, match="No such exec instance"):
        client.api.exec_inspect(waiting["Id"])


def test_a_detached_exec_goes_on(run: Run, eventually: Callable[..., None], shell: Shell) -> None:
    container = run()
    container.exec_run(["sh", "-c", "sleep 0.2; echo done > /tmp/done"], detach=True)
    eventually(lambda: shell(container, "cat /tmp/done 2>/dev/null || true") == "done")


def test_standard_input_of_an_exec_ends_with_the_client_s(daemon: Any, run: Run) -> None:
    data = os.urandom(1 << 20)
    done = daemon.cli("exec", "-i", run().id, "cat", input=data)
    assert done.stdout == data


def test_a_terminal_carries_signals_and_size(daemon: Any, client: docker.DockerClient) -> None:
    ours, theirs = pty.openpty()
    command = ["docker", "-H", daemon.url, "run", "-it", "--rm", "--network", "none", "busybox", "sh", "-c",
               "stty size; trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done"]  # fmt: skip
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(ours, 4096)
    time.sleep(0.2)
    os.write(ours, b"\x03")
    assert process.wait(10) == 9
    assert b"interrupted" in seen + os.read(ours, 4096)
    os.close(ours)


def test_several_clients_see_the_same_output(daemon: Any, run: Run) -> None:
    container = run("cat", stdin_open=True, tty=False)
    watchers = [
        subprocess.Popen(["docker", "-H", daemon.url, "attach", "--no-stdin", container.id], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    time.sleep(0.4)
    writer = subprocess.Popen(["docker", "-H", daemon.url, "attach", container.id], stdin=subprocess.PIPE)
    assert writer.stdin
    writer.stdin.write(b"line\n")
    writer.stdin.flush()
    time.sleep(0.3)
    container.kill()
    assert [watcher.communicate(timeout=5)[0] for watcher in watchers] == [b"line\n", b"line\n"]
    writer.stdin.close()
    writer.wait(5)


def test_logs_are_cut_dated_and_followed(client: docker.DockerClient, run: Run) -> None:
    container = run(["sh", "-c", "for i in 1 2 3 4 5; do echo $i; done; sleep 0.4; echo 6"])
    followed: list[bytes] = []
    follower = threading.Thread(target=lambda: followed.extend(container.logs(stream=True, follow=True)))
    follower.start()
    assert container.wait()["StatusCode"] == 0
    follower.join(5)
    assert b"".join(followed) == b"1\n2\n3\n4\n5\n6\n"
    assert container.logs(tail=2) == b"5\n6\n"
    assert container.logs(tail=0) == b""
    first = container.logs(timestamps=True).splitlines()[0]
    assert first.endswith(b"Z 1")
    assert container.logs(since=time.time() + 10) == b""


def test_a_log_is_rotated_and_read_as_one(client: docker.DockerClient, run: Run) -> None:
    options = docker.types.LogConfig(type="json-file", config={"max-size": "10k", "max-file": "3"})
    container = run(["sh", "-c", "for i in $(seq 400); do echo line-$i; done"], log_config=options)
    container.wait()
    lines = container.logs().splitlines()
    assert lines[-1] == b"line-400"
    assert lines == [b"line-%d" % number for number in range(401 - len(lines), 401)]
    assert container.logs(tail=150).splitlines() == lines[-150:]


def test_without_a_driver_there_is_no_log(run: Run) -> None:
    container = run("echo hi", log_config=docker.types.LogConfig(type="none"))
    container.wait()
    with pytest.raises(APIError, match="configured logging driver does not support reading"):
        container.logs()


def test_top_lists_the_container_s_processes_only(run: Run) -> None:
    container = run(["sh", "-c", "sleep 61 & sleep 62"])
    time.sleep(0.2)
    table = container.top()
    commands = [row[-1] for row in table["Processes"]]
    assert sorted(command for command in commands if command.startswith("sleep")) == ["sleep 61", "sleep 62"]
    assert len(commands) == 2
    assert container.top(ps_args="-o pid,comm")["Titles"] == ["PID", "COMMAND"]


def test_stats_count(client: docker.DockerClient, run: Run) -> None:
    container = run(["sh", "-c", "while :; do :; done"], mem_limit="64m")
    shown = container.stats(stream=False)
    assert shown["memory_stats"]["limit"] == 64 << 20
    assert shown["cpu_stats"]["cpu_usage"]["total_usage"] > shown["precpu_stats"]["cpu_usage"]["total_usage"]
    assert shown["pids_stats"]["current"] == 1


def test_a_health_check_finds_out(client: docker.DockerClient, run: Run, eventually: Callable[..., None]) -> None:
    check = {"test": ["CMD-SHELL", "test -e /tmp/well && echo fine"], "interval": 50_000_000, "retries": 2}
    container = run("sleep 60", healthcheck=check)

    def health() -> dict[str, Any]:
        shown: dict[str, Any] = client.api.inspect_container(container.id)["State"]["Health"]
        return shown

    assert health()["Status"] == "starting"
    eventually(lambda: health()["Status"] == "unhealthy")
    container.exec_run("touch /tmp/well")
    eventually(lambda: health()["Status"] == "healthy")
    assert health()["Log"][-1]["Output"] == "fine\n"
    assert len(health()["Log"]) <= 5


@pytest.mark.parametrize(("action", "status"), [("kill", "exited"), ("stop", "exited"), ("restart", "running")])
def test_an_unhealthy_container_is_treated_as_its_label_says(
    run: Run, eventually: Callable[..., None], action: str, status: str
) -> None:
    check = {"test": ["CMD", "false"], "interval": 50_000_000, "retries": 1}
    labels = {"io.sampan.health-on-failure": action}
    container = run("sleep 60", healthcheck=check, labels=labels, stop_signal="SIGKILL")
    container.reload()
    started = container.attrs["State"]["StartedAt"]

    def treated() -> bool:
        container.reload()
        state = container.attrs["State"]
        return bool(state["Status"] == status and (status == "exited" or state["StartedAt"] != started))

    eventually(treated)


def test_an_unknown_reaction_to_bad_health_is_refused(run: Run) -> None:
    with pytest.raises(APIError, match=r"invalid io\.sampan\.health-on-failure"):
        run("true", labels={"io.sampan.health-on-failure": "dance"})


def test_events_are_json_lines(daemon: Any, run: Run) -> None:
    container = run("true")
    container.wait()
    done = daemon.cli(
        "events",
        "--since",
        "60s",
        "--until",
        str(int(time.time()) + 1),
        "--format",
        "{{json .}}",
        "--filter",
        "event=die",
    )
    assert any(json.loads(line)["Actor"]["ID"] == container.id for line in done.stdout.splitlines())
