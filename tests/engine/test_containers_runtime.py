"""Containers run by another OCI runtime's binary, as the daemon is configured."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container

from sampan.linux.capabilities import held

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


def test_the_engines_init_comes_before_the_program_of_runc_too(run: Run) -> None:
    container = run("sleep 60", runtime="runc", init=True)
    assert container.exec_run("cat /proc/1/comm").output.strip() == b"sampan-init"
    container.stop(timeout=30)
    assert container.wait()["StatusCode"] == 128 + signal.SIGTERM
    ended = run(["sh", "-c", "exit 7"], runtime="runc", init=True)
    assert ended.wait()["StatusCode"] == 7


def test_runc_shows_parts_of_volumes_trees_of_images_and_mapped_binds(
    client: docker.DockerClient, daemon: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    client.volumes.create("runc-parts")
    try:
        client.containers.run("busybox", "mkdir -p /v/part/inside", volumes={"runc-parts": {"bind": "/v"}}, remove=True)
        done = daemon.cli(
            *(
                "run",
                "--rm",
                "--runtime",
                "runc",
                "--network",
                "none",
                "--volume",
                f"{tmp_path}:/bind:idmap=uids=0-5-1",
            ),
            *("--mount", "type=volume,src=runc-parts,dst=/part,volume-subpath=part"),
            *("--mount", "type=image,src=busybox,dst=/image"),
            *("busybox", "sh", "-c", "ls /part; ls /image/bin/busybox; stat -c %u /bind/file"),
        )
        assert (done.stdout.split(), done.returncode) == ([b"inside", b"/image/bin/busybox", b"5"], 0), done.stderr
    finally:
        client.volumes.get("runc-parts").remove(force=True)


def test_all_rights_are_those_that_can_be_had_here(client: docker.DockerClient) -> None:
    shown = client.containers.run(
        "busybox", "grep CapEff /proc/self/status", runtime="runc", privileged=True, remove=True
    )
    assert int(shown.split()[1], 16) == held()
