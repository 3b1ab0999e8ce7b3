"""The time of day is set a year forward or back under a daemon that runs; durations go on as if nothing had been."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import docker
import pytest
from engine_daemon import IMAGE, Daemon, wait_for
from fault_surroundings import Surroundings

YEAR = 365 * 86400
JUMPS = pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["forward", "back"])
MILLISECOND = 1_000_000
CHECK = (sys.executable, "-m", "sampan.cli.main", "system", "check", "--data-root")
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def daemon_launcher(surroundings: Surroundings) -> tuple[str, ...]:
    """The daemon's clock is a test's to set."""
    return surroundings.launcher


def health_of(container: Any) -> dict[str, Any]:
    container.reload()
    found: dict[str, Any] = container.attrs["State"]["Health"]
    return found


def checked(run: Run, start_period: int) -> Any:
    """A container whose health check fails, often."""
    check = {"test": ["CMD", "false"], "interval": 50 * MILLISECOND, "retries": 1, "start_period": start_period}
    return run("sleep 600", healthcheck=check, stop_signal="SIGKILL")


@JUMPS
def test_restarts_go_on(surroundings: Surroundings, run: Run, jump: int) -> None:
    container = run("false", restart_policy={"Name": "always"})

    def restarts() -> int:
        container.reload()
        return int(container.attrs["RestartCount"])

    wait_for(lambda: restarts() >= 2)
    with surroundings.clock_set(jump):
        before = restarts()
        wait_for(lambda: restarts() >= before + 2, 20)


@JUMPS
def test_a_run_lasts_as_long_as_it_did(
    daemon: Daemon, surroundings: Surroundings, client: docker.DockerClient, run: Run, jump: int
) -> None:
    adopted, started = run("sleep 600", stop_signal="SIGKILL"), run("sleep 600", stop_signal="SIGKILL")
    daemon.stop()
    daemon.start()
    started.restart(timeout=0)
    with surroundings.clock_set(jump):
        events = client.events(decode=True, filters={"event": "die"})
        for container in (adopted, started):
            container.stop(timeout=0)
            told = next(events)
            assert told["Actor"]["ID"] == container.id
            assert 0 <= int(told["Actor"]["Attributes"]["execDuration"]) < 600
        events.close()


@JUMPS
def test_a_start_period_lasts_no_year_longer(surroundings: Surroundings, run: Run, jump: int) -> None:
    container = checked(run, start_period=500 * MILLISECOND)
    with surroundings.clock_set(jump):
        wait_for(lambda: health_of(container)["Status"] == "unhealthy", 20)


@JUMPS
def test_a_start_period_does_not_end_early(surroundings: Surroundings, run: Run, jump: int) -> None:
    container = checked(run, start_period=3600 * 1000 * MILLISECOND)
    with surroundings.clock_set(jump):
        before = len(health_of(container)["Log"] or ())
        wait_for(lambda: len(health_of(container)["Log"] or ()) >= min(5, before + 2), 20)
        assert health_of(container)["Status"] == "starting"


@JUMPS
def test_a_stream_of_events_ends_when_its_reader_expects(
    surroundings: Surroundings, client: docker.DockerClient, run: Run, jump: int
) -> None:
    events = client.events(decode=True, until=int(time.time()) + 2, filters={"type": "container"})
    told: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: told.extend(events))
    reader.start()
    run("true").wait()
    wait_for(lambda: told)
    with surroundings.clock_set(jump):
        run("true").wait()
        reader.join(20)
        assert not reader.is_alive()
    assert {"create", "start", "die"} <= {event["Action"] for event in told}


@JUMPS
def test_what_happened_is_found_by_the_times_it_was_told_with(
    surroundings: Surroundings, client: docker.DockerClient, run: Run, jump: int
) -> None:
    with surroundings.clock_set(jump):
        begun = int(time.time()) + jump
        container = run("true")
        container.wait()
        ended = int(time.time()) + jump + 1
        found = list(client.events(decode=True, since=begun, until=ended, filters={"container": container.id}))
        assert {"create", "start", "die"} <= {event["Action"] for event in found}
        assert all(begun <= event["time"] <= ended for event in found)


@JUMPS
def test_lists_stay_readable(daemon: Daemon, surroundings: Surroundings, run: Run, jump: int) -> None:
    run("sleep 600", name="clocked", stop_signal="SIGKILL")
    with surroundings.clock_set(jump):
        shown = daemon.cli("ps", "--format", "{{.Names}} {{.Status}}").stdout.decode()
        assert shown.startswith("clocked Up ")
        assert ("Less than a second" in shown) == (jump < 0)


@JUMPS
def test_a_daemon_that_starts_under_another_clock_finds_everything(
    daemon: Daemon, surroundings: Surroundings, client: docker.DockerClient, run: Run, jump: int
) -> None:
    runs, ended = run("sleep 600", stop_signal="SIGKILL"), run("true")
    ended.wait()
    client.volumes.create("clocked")
    images = {image.id for image in client.images.list(all=True)}
    daemon.stop()
    with surroundings.clock_set(jump):
        found = subprocess.run([*CHECK, str(daemon.root / "data")], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout
        daemon.start()
        assert {each.id: each.status for each in client.containers.list(all=True)} == {
            runs.id: "running",
            ended.id: "exited",
        }
        assert {image.id for image in client.images.list(all=True)} == images
        assert runs.exec_run("true").exit_code == 0
        assert client.containers.run(IMAGE, "echo fine", network_mode="none", remove=True) == b"fine\n"
        runs.restart(timeout=0)
    client.volumes.get("clocked").remove()
