"""Who may do what on the socket: users of this host with the docker CLI, held to the rules of daemon.json."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

IMAGE = "busybox:latest"
GROUP = 4711
ALICE, BOB, MALLORY = 60001, 60002, 60003
RULES = [
    {"users": [ALICE], "labels": {"team": "a"}},
    {"groups": [60900], "operations": ["container_list", "image_*", "system_*"]},
]


@pytest.fixture(scope="module")
def daemon_root() -> Iterator[Path]:
    """A directory that everybody may enter."""
    root = Path(tempfile.mkdtemp(prefix="sampan-access-"))
    root.chmod(0o711)
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def daemon_arguments(daemon_root: Path) -> tuple[str, ...]:
    """The rules, and a group that the socket belongs to."""
    (daemon_root / "daemon.json").write_text(json.dumps({"access": RULES}))
    return ("--config-file", str(daemon_root / "daemon.json"), "-G", str(GROUP))


def docker(daemon: Any, uid: int, *words: str, groups: tuple[int, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run the docker CLI as a user."""
    return subprocess.run(
        ["docker", "-H", daemon.url, *words],
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=[GROUP, *groups],
        env={"PATH": os.environ["PATH"], "DOCKER_CONFIG": "/nonexistent", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(result: "subprocess.CompletedProcess[str]", *said: str) -> None:
    assert result.returncode != 0, result.stdout
    for text in said:
        assert text in result.stderr


def test_a_user_without_a_rule_is_refused_by_name(daemon: Any) -> None:
    refused(docker(daemon, MALLORY, "ps"), "access denied: no rule allows user 60003 the operation container_list")


def test_a_group_may_do_what_its_rule_says_and_no_more(daemon: Any) -> None:
    assert docker(daemon, BOB, "images", groups=(60900,)).returncode == 0
    refused(docker(daemon, BOB, "run", "--rm", IMAGE, "true", groups=(60900,)), "container_create")


def test_a_user_with_labels_sees_own_containers_only(daemon: Any, client: Any, run: Any) -> None:
    others = run("sleep 60", name="others")
    made = docker(daemon, ALICE, "run", "-d", "--net", "none", "--name", "mine", IMAGE, "sleep", "60")
    assert made.returncode == 0, made.stderr
    assert client.containers.get("mine").labels == {"team": "a"}
    assert docker(daemon, ALICE, "ps", "-a", "--format", "{{.Names}}").stdout.split() == ["mine"]
    assert docker(daemon, ALICE, "exec", "mine", "echo", "in").stdout == "in\n"
    for words in (["exec", "others", "true"], ["rm", others.short_id], ["logs", "others"], ["commit", "others"]):
        refused(docker(daemon, ALICE, *words), "No such container")
    assert docker(daemon, ALICE, "rm", "-f", "mine").returncode == 0
    assert [each.name for each in client.containers.list()] == ["others"]


def test_prune_takes_own_containers_only(daemon: Any, client: Any, run: Any) -> None:
    run("true", name="others").wait()
    assert docker(daemon, ALICE, "run", "--net", "none", "--name", "mine", IMAGE, "true").returncode == 0
    assert docker(daemon, ALICE, "container", "prune", "-f").returncode == 0
    assert [each.name for each in client.containers.list(all=True)] == ["others"]


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (["--privileged"], "HostConfig.Privileged"),
        (["-v", "/:/host"], "HostConfig.Binds"),
        (["--mount", "type=bind,src=/,dst=/host"], "HostConfig.Mounts"),
        (["--pid", "host"], "HostConfig.PidMode"),
        (["--cap-add", "SYS_ADMIN"], "HostConfig.CapAdd"),
        (["--security-opt", "seccomp=unconfined"], "HostConfig.SecurityOpt"),
        (["--net", "host"], "HostConfig.NetworkMode"),
    ],
)
def test_what_reaches_the_host_is_refused(daemon: Any, flags: list[str], field: str) -> None:
    refused(docker(daemon, ALICE, "create", *flags, IMAGE, "true"), f"access denied: {field} reaches the host")


def test_the_host_is_not_reached_by_a_detour(daemon: Any, client: Any, run: Any) -> None:
    run("sleep 60", name="strong", labels={"team": "a"}, volumes=["/etc:/host:ro"])
    client.volumes.create("window", driver_opts={"type": "none", "o": "bind", "device": "/etc"})
    run("sleep 60", name="windowed", labels={"team": "a"}, volumes=["window:/w"])
    host = client.networks.get("host").id
    try:
        refused(docker(daemon, ALICE, "exec", "strong", "cat", "/host/shadow"), "HostConfig.Binds of container")
        refused(docker(daemon, ALICE, "create", "--volumes-from", "strong", IMAGE), "HostConfig.Binds")
        refused(docker(daemon, ALICE, "create", "-v", "window:/w", IMAGE), "DriverOpts of volume window")
        refused(docker(daemon, ALICE, "create", "--net", host, IMAGE), "reaches the host")
        refused(docker(daemon, ALICE, "volume", "create", "-o", "device=/etc", "w"), "DriverOpts reaches the host")
        refused(docker(daemon, ALICE, "exec", "windowed", "ls"), "DriverOpts of volume window")
        refused(docker(daemon, ALICE, "import", "http://127.0.0.1:1/x"), "fromSrc reaches the host")
        refused(docker(daemon, ALICE, "cp", "strong:/host/shadow", "-"), "HostConfig.Binds of container")
    finally:
        for name in ("strong", "windowed"):
            client.containers.get(name).remove(force=True)
        client.volumes.get("window").remove()


def test_root_is_not_limited(daemon: Any, run: Any, shell: Any) -> None:
    assert shell(run("sleep 60", privileged=True, volumes=["/etc:/host:ro"]), "ls /host/passwd") == "/host/passwd"


def test_a_rule_with_a_misspelt_operation_keeps_the_daemon_from_starting(refusal_to_start: Any, tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text(json.dumps({"access": [{"operations": ["containers_*"]}]}))
    said = refusal_to_start("--config-file", str(tmp_path / "daemon.json"))
    assert "no operation is called 'containers_*'" in said
