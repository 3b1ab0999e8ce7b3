"""The daemon as a harness runs it: dockerd's flags, a configuration file, SIGHUP, one daemon a pid file."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest
from engine_daemon import Daemon, wait_for


@pytest.fixture(scope="module")
def configuration(daemon_root: Path) -> Path:
    """The daemon's configuration file."""
    path = daemon_root / "daemon.json"
    path.write_text('{"labels": ["phase=one"], "default-stop-timeout": 1}')
    return path


@pytest.fixture(scope="module")
def daemon_arguments(daemon_root: Path, configuration: Path) -> tuple[str, ...]:
    """Flags that describe parts this daemon does not have are accepted."""
    return (
        *("--config-file", str(configuration), "--pidfile", str(daemon_root / "pid"), "--userland-proxy=false"),
        *("--containerd", "/run/containerd/containerd.sock", "--containerd-namespace", "ns"),
        *("--containerd-plugins-namespace", "nsp", "--storage-driver", "overlay2", "--experimental", "--init"),
    )


def test_what_has_no_effect_is_told_in_the_log(daemon: Daemon) -> None:
    assert "containerd-namespace has no effect: there is no containerd" in daemon.log


def test_a_reload_takes_over_what_dockerd_reloads_and_tells_of_it(
    daemon: Daemon, client: docker.DockerClient, configuration: Path
) -> None:
    before = client.info()
    assert before["Labels"] == ["phase=one"]
    assert daemon.process is not None
    configuration.write_text(
        '{"labels": ["phase=two"], "insecure-registries": ["r.test:5000"], "max-concurrent-downloads": 7,'
        ' "features": {"a": true}, "mtu": 1400, "runtimes": {"other": {"path": "/bin/other"}}}'
    )
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: client.info()["Labels"] == ["phase=two"])
    after = client.info()
    assert "other" in after["Runtimes"]
    assert after["RegistryConfig"]["IndexConfigs"]["r.test:5000"]["Secure"] is False
    past = client.events(since=0, until=9999999999, filters={"event": "reload"}, decode=True)
    event = next(iter(past))
    told = event["Actor"]["Attributes"]
    assert (event["Type"], event["Actor"]["ID"]) == ("daemon", before["ID"])
    assert (told["labels"], told["max-concurrent-downloads"], told["features"]) == ('["phase=two"]', "7", "map[a:true]")
    assert (told["name"], told["runtimes"], told["default-stop-timeout"]) == (before["Name"], "other:/bin/other", "10")
    past.close()


def test_a_broken_file_changes_nothing(daemon: Daemon, client: docker.DockerClient, configuration: Path) -> None:
    assert daemon.process is not None
    configuration.write_text('{"labels": ["phase=three"], "nonsense": 1}')
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "directives don't match any configuration option: nonsense" in daemon.log)
    assert client.info()["Labels"] != ["phase=three"]


def test_a_second_daemon_on_the_pid_file_is_refused(daemon: Daemon, daemon_root: Path, tmp_path: Path) -> None:
    assert daemon.process is not None
    refused = started("--pidfile", str(daemon_root / "pid"), "--data-root", str(tmp_path / "d"),
                      "--exec-root", str(tmp_path / "e"))  # fmt: skip
    assert refused.returncode == 1
    assert "failed to start daemon, ensure docker is not running or delete" in refused.stderr
    assert f"process with PID {daemon.process.pid} is still running" in refused.stderr


@pytest.mark.parametrize(
    ("content", "flags", "told"),
    [
        ({"log-level": "info"}, [], "configuration OK"),
        ({}, ["--log-level=loud"], "invalid logging level: loud"),
        ({"unknown": 1}, [], "the following directives don't match any configuration option: unknown"),
        ({"debug": True}, ["--debug"], "specified both as a flag and in the configuration file: debug"),
    ],
)
def test_validate_tells_what_is_wrong(tmp_path: Path, content: object, flags: list[str], told: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps(content))
    checked = started("--validate", "--config-file", str(path), *flags)
    assert checked.returncode == (0 if told == "configuration OK" else 1)
    assert told in checked.stderr


def started(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """A daemon that is expected to end by itself."""
    command = [sys.executable, "-m", "sampan.daemon.main", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
