"""Containers run by another OCI runtime's binary, as the daemon is configured."""

from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container

Run = Callable[..., Container]


def test_runc_runs_a_container_with_execs_and_limits(client: docker.DockerClient, run: Run) -> None:
    container = run("sleep 60", runtime="runc", mem_limit="64m", network_mode="bridge")
    assert client.api.inspect_container(container.id)["HostConfig"]["Runtime"] == "runc"
    assert container.exec_run("sh -c 'echo inside; exit 3'") == (3, b"inside\n")
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137


def test_runc_s_output_and_status_reach_the_cli(daemon: Any) -> None:
    done = daemon.cli("run", "--rm", "--runtime", "runc", "--network", "none", "busybox", "sh", "-c", "echo hi; exit 4")
    assert (done.stdout, done.returncode) == (b"hi\n", 4)
    assert daemon.cli("run", "--rm", "--runtime", "runc", "--network", "none", "busybox", "nosuch").returncode == 127


def test_docker_s_name_for_the_default_runtime_means_ours(client: docker.DockerClient, run: Run) -> None:
    container = run(["sh", "-c", "echo ours"], runtime="io.containerd.runc.v2")
    assert container.wait()["StatusCode"] == 0
    assert container.logs() == b"ours\n"
    assert client.info()["Runtimes"]["io.containerd.runc.v2"]["path"] == "sampan-runtime"


def test_a_runtime_beside_the_host_configuration_counts(client: docker.DockerClient) -> None:
    made = client.api.create_container("busybox", "true", runtime="runc")
    inspected = client.api.inspect_container(made["Id"])
    assert inspected["HostConfig"]["Runtime"] == "runc"
    assert "Runtime" not in inspected["Config"]


def test_a_runtime_nobody_configured_is_refused(run: Run) -> None:
    with pytest.raises(APIError, match="unknown or invalid runtime name: kata"):
        run("true", runtime="kata")


def test_runc_s_terminals_are_shown_however_long_the_place_of_their_sockets(
    client: docker.DockerClient, run: Run
) -> None:
    shown = run("tty", runtime="runc", tty=True)
    assert shown.wait()["StatusCode"] == 0
    assert shown.logs().strip() == b"/dev/pts/0"
    container = run("sleep 60", runtime="runc")
    assert container.exec_run("tty", tty=True).output.strip() == b"/dev/pts/0"
