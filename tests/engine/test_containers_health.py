"""Health checks: states, log, events, time limits, and what follows from them, as clients of Docker know it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import docker
import pytest
from engine_daemon import IMAGE, Daemon, wait_for

MILLISECOND = 1_000_000
QUICK = {"interval": 50 * MILLISECOND, "timeout": 5000 * MILLISECOND, "retries": 2}
Run = Callable[..., Any]


def health_of(container: Any) -> dict[str, Any]:
    container.reload()
    found: dict[str, Any] = container.attrs["State"]["Health"]
    return found


def checked(run: Run, script: str, *, command: str = "sleep 600", **options: Any) -> Any:
    """A container with a quick check."""
    check = {**QUICK, **options.pop("check", {}), "test": ["CMD-SHELL", script]}
    return run(command, healthcheck=check, stop_signal="SIGKILL", **options)


def test_failures_in_a_row_make_unhealthy_and_one_success_healthy(run: Run) -> None:
    container = checked(run, "echo looking; test -e /well")
    assert health_of(container)["Status"] in ("starting", "unhealthy")
    wait_for(lambda: health_of(container)["Status"] == "unhealthy")
    assert health_of(container)["FailingStreak"] >= 2
    assert health_of(container)["Log"][-1]["Output"] == "looking\n"
    assert health_of(container)["Log"][-1]["ExitCode"] == 1
    container.exec_run("touch /well")
    wait_for(lambda: health_of(container)["Status"] == "healthy")
    assert health_of(container)["FailingStreak"] == 0
    wait_for(lambda: [each["ExitCode"] for each in health_of(container)["Log"]] == [0] * 5)
    container.exec_run("rm /well")
    wait_for(lambda: health_of(container)["Status"] == "unhealthy")


def test_failures_do_not_count_in_the_start_period_and_the_start_interval_holds_in_it(
    daemon: Daemon, client: docker.DockerClient
) -> None:
    check = ("--health-cmd=test -e /well", "--health-interval=60s", "--health-retries=1")
    period = ("--health-start-period=30s", "--health-start-interval=50ms", "--stop-signal=SIGKILL", "--network=none")
    made = daemon.cli("run", "-d", *check, *period, IMAGE, "sleep", "600")
    container = client.containers.get(made.stdout.decode().strip())
    wait_for(lambda: len(health_of(container)["Log"]) == 5)
    assert health_of(container)["Status"] == "starting"
    assert health_of(container)["FailingStreak"] == 0
    container.exec_run("touch /well")
    wait_for(lambda: health_of(container)["Status"] == "healthy")


def test_a_check_that_takes_too_long_is_killed_and_says_what_it_had_said(run: Run) -> None:
    container = checked(run, "echo begun; exec sleep 600", check={"timeout": 200 * MILLISECOND})
    wait_for(lambda: health_of(container)["Log"])
    result = health_of(container)["Log"][0]
    assert result["ExitCode"] == -1
    assert result["Output"] == "Health check exceeded timeout (200ms): begun\n"
    wait_for(lambda: health_of(container)["Status"] == "unhealthy")
    container.kill()
    assert health_of(container)["Status"] == "unhealthy"


def test_output_is_kept_up_to_4096_bytes(run: Run) -> None:
    container = checked(run, "yes 12345678 | head -c 10000")
    wait_for(lambda: health_of(container)["Log"])
    output = health_of(container)["Log"][0]["Output"]
    assert len(output) == 4096 + len("...")
    assert output.endswith("...")


def test_events_tell_of_the_checks_and_of_changes(client: docker.DockerClient, run: Run) -> None:
    began = time.time()
    container = checked(run, "test ! -e /ill")
    wait_for(lambda: health_of(container)["Status"] == "healthy")
    container.exec_run("touch /ill")
    wait_for(lambda: health_of(container)["Status"] == "unhealthy")
    found = client.events(since=began, until=time.time(), filters={"container": container.id}, decode=True)
    actions = [each["Action"] for each in found]
    statuses = [each for each in actions if each.startswith("health_status")]
    assert statuses == ["health_status: healthy", "health_status: unhealthy"]
    check = "/bin/sh -c test ! -e /ill"
    first = actions.index(f"exec_create: {check}")
    assert actions[first + 1] == f"exec_start: {check}"
    assert "exec_die" in actions[first:]


def test_a_check_runs_as_the_container_s_user_in_its_directory_with_its_environment(run: Run) -> None:
    container = checked(run, "echo $(id -u) $PWD $SEEN", user="app", working_dir="/tmp", environment={"SEEN": "yes"})
    wait_for(lambda: health_of(container)["Log"])
    assert health_of(container)["Log"][0]["Output"] == "1000 /tmp yes\n"


def test_a_command_that_does_not_exist_counts_as_a_failure(run: Run) -> None:
    container = run("sleep 600", healthcheck={**QUICK, "test": ["CMD", "no-such-program"]}, stop_signal="SIGKILL")
    wait_for(lambda: health_of(container)["Status"] == "unhealthy")
    assert health_of(container)["Log"][0]["ExitCode"] == -1
    assert "no-such-program" in health_of(container)["Log"][0]["Output"]


@pytest.mark.parametrize(("action", "state"), [("kill", "exited"), ("stop", "exited"), ("restart", "running")])
def test_a_label_says_what_is_done_with_the_unhealthy(run: Run, action: str, state: str) -> None:
    container = checked(run, "test -e /once || { touch /once; false; }", check={"retries": 1},
                        labels={"io.sampan.health-on-failure": action})  # fmt: skip
    started = container.attrs["State"]["StartedAt"]

    def acted() -> bool:
        container.reload()
        return bool(
            container.status == state and (state == "exited" or container.attrs["State"]["StartedAt"] > started)
        )

    wait_for(acted)
    if action == "restart":
        wait_for(lambda: health_of(container)["Status"] == "healthy")


def test_kill_leaves_it_to_the_restart_policy(run: Run) -> None:
    options = {"labels": {"io.sampan.health-on-failure": "kill"}, "restart_policy": {"Name": "on-failure"}}
    container = checked(run, "test -e /once || { touch /once; false; }", check={"retries": 1}, **options)
    wait_for(lambda: health_of(container)["Status"] == "healthy")
    assert container.attrs["RestartCount"] == 1


@pytest.fixture
def unharmed(daemon: Daemon) -> Iterator[None]:
    yield
    with closing(daemon.client()) as cleaner:
        for container in cleaner.containers.list(all=True):
            container.remove(force=True)


@pytest.mark.usefixtures("unharmed")
def test_checks_go_on_after_the_daemon_was_killed(daemon: Daemon, run: Run) -> None:
    container = checked(run, "test ! -e /ill")
    wait_for(lambda: health_of(container)["Status"] == "healthy")
    daemon.stop(9)
    daemon.start()
    assert health_of(container)["Status"] == "healthy"
    container.exec_run("touch /ill")
    wait_for(lambda: health_of(container)["Status"] == "unhealthy")


def test_the_cli_shows_health_and_filters_by_it(daemon: Daemon, run: Run) -> None:
    container = checked(run, "true", name="well")
    wait_for(lambda: health_of(container)["Status"] == "healthy")
    assert b"(healthy)" in daemon.cli("ps").stdout
    assert daemon.cli("ps", "-q", "--filter", "health=healthy").stdout.strip() == container.id[:12].encode()
    assert daemon.cli("ps", "-q", "--filter", "health=unhealthy").stdout == b""
