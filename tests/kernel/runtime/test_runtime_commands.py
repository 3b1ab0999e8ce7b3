"""The life of a container by sampan-runtime's commands: states, hooks, signals, errors."""

import json
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from sampan.linux.cgroup import hierarchies
from sampan.oci.runtime_spec import Hook, Hooks

from .conftest import PARENT, Runtime, confined

SLEEP = ["sleep", "1000"]


def wait_for(runtime: Runtime, container_id: str, status: str) -> None:
    deadline = time.monotonic() + 10
    while runtime.status(container_id) != status:
        assert time.monotonic() < deadline, f"{container_id} never became {status}"


def test_a_container_goes_through_its_states(runtime: Runtime) -> None:
    runtime.create("one", confined(SLEEP))
    assert runtime.status("one") == "created"
    assert runtime.call("start", "one").returncode == 0
    assert runtime.status("one") == "running"
    assert runtime.call("pause", "one").returncode == 0
    assert runtime.status("one") == "paused"
    assert runtime.call("resume", "one").returncode == 0
    assert runtime.call("kill", "one", "KILL").returncode == 0
    wait_for(runtime, "one", "stopped")
    assert runtime.call("delete", "one").returncode == 0
    assert runtime.status("one") == "gone"


def test_the_program_does_not_run_before_start(runtime: Runtime) -> None:
    runtime.create("one", confined(["sh", "-c", "echo ran; sleep 1000"]))
    assert (runtime.directory / "one.out").read_text() == ""
    runtime.call("start", "one")
    deadline = time.monotonic() + 10
    while not (runtime.directory / "one.out").read_text():
        assert time.monotonic() < deadline
    assert (runtime.directory / "one.out").read_text() == "ran\n"


def test_run_gives_the_programs_exit_status_and_leaves_nothing(runtime: Runtime) -> None:
    assert runtime.run("exit 7").returncode == 7
    assert runtime.run("kill -TERM $$").returncode in {0, 143}
    assert runtime.status("one") == "gone"


def test_exec_joins_the_container(runtime: Runtime) -> None:
    runtime.create("one", confined(SLEEP))
    runtime.call("start", "one")
    done = runtime.call("exec", "--env", "A=b", "--cwd", "/tmp", "one", "sh", "-c", "hostname; pwd; echo $A; exit 5")
    assert (done.stdout, done.returncode) == ("sampan\n/tmp\nb\n", 5)
    listed = json.loads(runtime.call("ps", "--format", "json", "one").stdout)
    assert len(listed) == 1


def test_what_a_state_forbids_is_refused(runtime: Runtime) -> None:
    runtime.create("one", confined(SLEEP))
    assert "already exists" in runtime.call("create", "--bundle", str(runtime.directory), "one").stderr
    runtime.call("start", "one")
    assert "cannot start an already running container" in runtime.call("start", "one").stderr
    assert "that is not stopped: running" in runtime.call("delete", "one").stderr
    runtime.call("kill", "one", "9")
    wait_for(runtime, "one", "stopped")
    assert "container not running" in runtime.call("kill", "one").stderr
    assert "cannot exec in a stopped container" in runtime.call("exec", "one", "true").stderr
    assert runtime.call("kill", "--all", "one", "KILL").returncode == 0


def test_a_container_that_does_not_exist_is_named(runtime: Runtime) -> None:
    for command in ("state", "start", "kill", "delete", "pause"):
        done = runtime.call(command, "nobody")
        assert done.returncode == 1
        assert "container does not exist" in done.stderr
    assert runtime.call("delete", "--force", "nobody").returncode == 0


@pytest.mark.parametrize("container_id", ["../x", "a/b", "", ".", "a b"])
def test_an_id_that_is_no_name_is_refused(runtime: Runtime, container_id: str) -> None:
    runtime.write(confined(SLEEP))
    assert runtime.call("create", "--bundle", str(runtime.directory), container_id).returncode == 1


def test_a_missing_program_fails_create_and_leaves_nothing(runtime: Runtime) -> None:
    runtime.write(confined(["/no/such/program"]))
    done = runtime.call("create", "--bundle", str(runtime.directory), "one")
    assert done.returncode == 1
    assert "no such file or directory" in done.stderr
    assert runtime.status("one") == "gone"


def test_hooks_run_in_order_and_read_the_state(runtime: Runtime, tmp_path: Path) -> None:
    record = tmp_path / "record"

    def hook(name: str) -> list[Hook]:
        script = (
            f'read -r state; echo {name} $(echo $state | grep -o \'"status":"[a-z]*"\' | cut -d\'"\' -f4) >> {record}'
        )
        return [Hook("/bin/sh", ["sh", "-c", script])]

    hooks = Hooks(
        prestart=hook("prestart"),
        create_runtime=hook("createRuntime"),
        create_container=hook("createContainer"),
        poststart=hook("poststart"),
        poststop=hook("poststop"),
    )
    runtime.create("one", msgspec.structs.replace(confined(SLEEP), hooks=hooks))
    runtime.call("start", "one")
    runtime.call("delete", "--force", "one")
    assert record.read_text().splitlines() == [
        "prestart creating",
        "createRuntime creating",
        "createContainer creating",
        "poststart running",
        "poststop stopped",
    ]


@pytest.mark.parametrize(
    "hook", [Hook("/bin/false"), Hook("/bin/sleep", ["sleep", "100"], timeout=1), Hook("/no/hook")]
)
def test_a_failing_create_runtime_hook_ends_the_create(runtime: Runtime, hook: Hook) -> None:
    runtime.write(msgspec.structs.replace(confined(SLEEP), hooks=Hooks(create_runtime=[hook])))
    done = runtime.call("create", "--bundle", str(runtime.directory), "one")
    assert done.returncode == 1
    assert "error running createRuntime hook #0: " in done.stderr
    assert runtime.status("one") == "gone"


def test_limits_can_change_while_it_runs(runtime: Runtime) -> None:
    runtime.create("one", confined(SLEEP))
    runtime.call("start", "one")
    done = runtime.call("update", "--resources", "-", "one", text='{"pids":{"limit":20},"memory":{"limit":33554432}}')
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(runtime.call("events", "--stats", "one").stdout)["data"]
    assert figures["pids"] == {"current": 1, "limit": 20}
    assert figures["memory"]["usage"]["limit"] == 33554432
    refused = runtime.call("update", "--cpuset-cpus", "4000", "one")
    assert refused.returncode == 1
    assert "cpuset.cpus" in refused.stderr


def test_errors_go_to_the_log_as_json(runtime: Runtime, tmp_path: Path) -> None:
    words = runtime.command("state", "nobody")
    log = tmp_path / "log.json"
    words[3:3] = ["--log", str(log), "--log-format", "json"]
    subprocess.run(words, check=False, capture_output=True)
    assert json.loads(log.read_text())["msg"] == "container does not exist: nobody"


def test_two_cannot_share_an_id_but_can_share_a_parent(runtime: Runtime) -> None:
    runtime.create("one", confined(SLEEP))
    runtime.create("two", confined(SLEEP, cgroups_path=f"{PARENT}/two"))
    assert set(runtime.call("list", "--quiet").stdout.split()) == {"one", "two"}


def test_the_specification_to_start_from_has_a_cgroup_namespace_on_version_2_alone(runtime: Runtime) -> None:
    assert runtime.call("spec", "--bundle", str(runtime.directory)).returncode == 0
    written = json.loads((runtime.directory / "config.json").read_text())
    kinds = {one["type"] for one in written["linux"]["namespaces"]}
    assert kinds - {"cgroup"} == {"pid", "network", "ipc", "uts", "mount"}
    assert ("cgroup" in kinds) == (hierarchies().version == 2)


def test_errors_are_logged_as_json_without_spaces(runtime: Runtime) -> None:
    log = runtime.directory / "log.json"
    assert runtime.call("--log", str(log), "--log-format", "json", "state", "none").returncode == 1
    assert '{"level":"error","msg":"container does not exist: none","time":"' in log.read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("exec", "--process", "/no/file", "one"), "exec failed: /no/file: no such file or directory"),
        (("exec", "--console-socket", "/no/socket", "one", "true"), "cannot use console socket if runc will not"),
        (("kill", "one", "99"), "unable to signal init: invalid argument"),
        (("list", "one"), '"list\\" requires exactly 0 argument(s)'),
        (("features", "one"), '"features\\" requires exactly 0 argument(s)'),
        (("spec", "one"), '"spec\\" requires exactly 0 argument(s)'),
    ],
)
def test_what_cannot_be_done_is_told_without_numbers(runtime: Runtime, words: tuple[str, ...], sentence: str) -> None:
    runtime.create("one", confined(SLEEP))
    runtime.call("start", "one")
    done = runtime.call(*words)
    assert sentence in done.stderr
    assert done.returncode != 0
