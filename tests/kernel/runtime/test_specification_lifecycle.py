"""The operations, their errors, and the hooks, as runtime.md and config.md "POSIX-platform Hooks" say."""

import array
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from .bundle_config import Change, with_mount, with_namespaces, write
from .conftest import PARENT, Runtime, cgroup_directories

SLEEP = "exec sleep 1000"
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
IN_CONTAINER = {"createContainer", "startContainer"}
STATUS = {
    "prestart": "creating", "createRuntime": "creating", "createContainer": "creating", "startContainer": "created",
    "poststart": "running", "poststop": "stopped",
}  # fmt: skip


def create(runtime: Runtime, change: Change, script: str = SLEEP) -> None:
    write(runtime, change, script)
    assert runtime.try_create("one") == (0, "")


def state(runtime: Runtime) -> dict[str, Any]:
    return dict(json.loads(runtime.call("state", "one").stdout))


def wait_for(runtime: Runtime, status: str) -> None:
    deadline = time.monotonic() + 10
    while runtime.status("one") != status:
        assert time.monotonic() < deadline, f"never {status}"


def test_the_state_has_the_members_of_the_specification(runtime: Runtime) -> None:
    create(runtime, {"annotations": {"com.example.key": "value", "org.opencontainers.image.os": "linux"}})
    created = state(runtime)
    assert {key: created[key] for key in ("id", "status", "bundle")} == {
        "id": "one", "status": "created", "bundle": str(runtime.directory),
    }  # fmt: skip
    assert created["annotations"] == {"com.example.key": "value", "org.opencontainers.image.os": "linux"}
    assert created["ociVersion"].startswith("1.")
    assert Path(f"/proc/{created['pid']}").exists()
    runtime.call("start", "one")
    running = state(runtime)
    assert (running["status"], running["pid"]) == ("running", created["pid"])
    runtime.call("kill", "one", "KILL")
    wait_for(runtime, "stopped")
    assert state(runtime)["bundle"] == str(runtime.directory)


@pytest.mark.parametrize("operation", ["state", "create", "start", "kill", "delete"])
def test_an_operation_needs_an_id(runtime: Runtime, operation: str) -> None:
    write(runtime, {})
    for words in ((operation,), (operation, "")):
        done = runtime.call(*words)
        assert done.returncode == 1
        assert done.stderr


def test_an_id_is_given_once(runtime: Runtime) -> None:
    create(runtime, {})
    before = state(runtime)
    assert runtime.try_create("one")[0] == 1
    assert state(runtime) == before


def test_starting_what_is_not_created_changes_nothing(runtime: Runtime) -> None:
    create(runtime, {})
    runtime.call("start", "one")
    before = state(runtime)
    assert runtime.call("start", "one").returncode == 1
    assert state(runtime) == before
    runtime.call("kill", "one", "KILL")
    wait_for(runtime, "stopped")
    assert runtime.call("start", "one").returncode == 1
    assert runtime.status("one") == "stopped"


def test_a_container_without_a_process_is_created_and_cannot_start(runtime: Runtime) -> None:
    create(runtime, {"process": None})
    done = runtime.call("start", "one")
    assert done.returncode == 1
    assert "process" in done.stderr
    assert runtime.status("one") == "created"


def test_a_signal_reaches_the_process_and_only_one_that_runs(runtime: Runtime) -> None:
    create(runtime, {}, "trap 'echo got; exit 0' USR1; while true; do sleep 0.01; done")
    runtime.call("start", "one")
    time.sleep(0.2)
    assert runtime.call("kill", "one", "USR1").returncode == 0
    wait_for(runtime, "stopped")
    assert (runtime.directory / "one.out").read_text() == "got\n"
    for signal in ("USR1", "KILL", "0"):
        assert runtime.call("kill", "one", signal).returncode == 1
    assert runtime.call("kill", "one", "NOSUCH").returncode == 1


def test_a_created_container_can_be_killed(runtime: Runtime) -> None:
    create(runtime, {})
    assert runtime.call("kill", "one", "KILL").returncode == 0
    wait_for(runtime, "stopped")


@pytest.mark.parametrize("ended", [False, True])
def test_a_kill_in_the_hosts_pid_namespace_ends_every_process(runtime: Runtime, ended: bool) -> None:
    create(runtime, with_namespaces(without="pid"), "sleep 1000 & sleep 1000 & wait")
    runtime.call("start", "one")
    deadline = time.monotonic() + 10
    while len(pids := json.loads(runtime.call("ps", "--format", "json", "one").stdout)) < 3:
        assert time.monotonic() < deadline
    if ended:
        os.kill(state(runtime)["pid"], 9)
        wait_for(runtime, "stopped")
    assert runtime.call("kill", "one", "KILL").returncode == 0
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_only_what_is_stopped_is_deleted_and_then_all_of_it(runtime: Runtime) -> None:
    create(runtime, {})
    for status in ("created", "running"):
        assert runtime.call("delete", "one").returncode == 1
        assert runtime.status("one") == status
        runtime.call("start", "one")
    runtime.call("kill", "one", "KILL")
    wait_for(runtime, "stopped")
    assert runtime.call("delete", "one").returncode == 0
    assert runtime.status("one") == "gone"
    assert not any((directory / "one").exists() for directory in cgroup_directories())
    create(runtime, {})


def test_a_cgroup_that_was_there_before_stays_with_all_that_is_in_it(runtime: Runtime) -> None:
    directories = [directory / "one" for directory in cgroup_directories()]
    for directory in directories:
        directory.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"]) as neighbour:
        for directory in directories:
            for file in ("cpuset.cpus", "cpuset.mems"):
                if (directory / file).exists() and not (directory / file).read_text().strip():
                    (directory.parent / file).write_text((directory.parents[1] / file).read_text())
                    (directory / file).write_text((directory.parents[1] / file).read_text())
            (directory / "cgroup.procs").write_text(str(neighbour.pid))
        try:
            create(runtime, with_namespaces(without="pid"))
            assert runtime.call("delete", "--force", "one").returncode == 0
            write(runtime, {"linux.resources": {"cpu": {"cpus": "4000"}}})
            assert runtime.try_create("one")[0] == 1
            assert neighbour.poll() is None
            assert all(directory.is_dir() for directory in directories)
        finally:
            neighbour.kill()
            neighbour.wait()
            for directory in directories:
                directory.rmdir()


def test_a_configuration_changed_later_counts_no_more(runtime: Runtime) -> None:
    create(runtime, {"hostname": "first"}, "hostname")
    write(runtime, {"hostname": "second", "annotations": {"a": "b"}}, "echo other")
    runtime.call("start", "one")
    wait_for(runtime, "stopped")
    assert (runtime.directory / "one.out").read_text() == "first\n"
    assert not state(runtime).get("annotations")


def test_a_cgroup_path_is_the_same_place_each_time(runtime: Runtime) -> None:
    create(runtime, {"linux.cgroupsPath": f"{PARENT}/one"})
    assert (cgroup_directories()[0] / "one").is_dir()


@pytest.fixture
def hooked(runtime: Runtime) -> Any:
    """Gives the configuration of one hook of each kind, which notes its name, namespace and state in a file."""
    notes = runtime.directory / "notes"
    notes.mkdir()
    script = 'printf "%s\\0%s\\0%s\\0" "$0" "$(readlink /proc/self/ns/uts)" "$(cat)" >> '

    def entry(name: str, number: int) -> dict[str, Any]:
        place = "/notes" if name == "startContainer" else str(notes)
        return {"path": "/bin/sh", "args": ["sh", "-c", script + f"{place}/all", f"{name}{number}"]}

    shared = {"destination": "/notes", "source": str(notes), "options": ["bind"]}
    return {"hooks": {name: [entry(name, number) for number in (1, 2)] for name in HOOKS}} | with_mount(shared), notes


def test_hooks_run_in_order_in_their_namespaces_with_the_state(runtime: Runtime, hooked: Any) -> None:
    change, notes = hooked
    create(runtime, change)
    pid = state(runtime)["pid"]
    container = str(Path(f"/proc/{pid}/ns/uts").readlink())
    assert runtime.call("start", "one").returncode == 0
    runtime.call("kill", "one", "KILL")
    wait_for(runtime, "stopped")
    assert runtime.call("delete", "one").returncode == 0
    parts = (notes / "all").read_text().split("\0")[:-1]
    found = list(zip(parts[::3], parts[1::3], map(json.loads, parts[2::3]), strict=True))
    assert [name for name, _, _ in found] == [f"{name}{number}" for name in HOOKS for number in (1, 2)]
    for name, namespace, told in found:
        kind = name[:-1]
        assert (namespace == container) == (kind in IN_CONTAINER), name
        assert (told["id"], told["bundle"], told["status"]) == ("one", str(runtime.directory), STATUS[kind])
        expected = {"poststop": told.get("pid")}.get(kind, 1 if kind in IN_CONTAINER else pid)
        assert told.get("pid") == expected, name


def test_a_hook_of_a_container_in_the_hosts_pid_namespace_is_told_the_hosts_pid(runtime: Runtime) -> None:
    told = runtime.directory / "told"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {told}"]}
    create(runtime, {"hooks": {"createContainer": [hook]}} | with_namespaces(without="pid"))
    assert json.loads(told.read_text())["pid"] == state(runtime)["pid"]


def test_a_hook_has_the_environment_and_arguments_named(runtime: Runtime) -> None:
    out = runtime.directory / "out"
    script = f'echo "$A $0 $1" > {out}'
    hook = {"path": "/bin/sh", "args": ["named", "-c", script, "zero", "one"], "env": ["A=b", "PATH=/bin:/usr/bin"]}
    create(runtime, {"hooks": {"createRuntime": [hook]}})
    assert out.read_text() == "b zero one\n"


@pytest.mark.parametrize("name", HOOKS[:3])
def test_a_failing_hook_of_create_fails_it_and_nothing_stays(runtime: Runtime, name: str) -> None:
    after, stopped = runtime.directory / "after", runtime.directory / "stopped"
    hooks = {
        name: [{"path": "/bin/false"}, {"path": "/bin/sh", "args": ["sh", "-c", f"touch {after}"]}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {stopped}"]}],
    }
    write(runtime, {"hooks": hooks})
    status, said = runtime.try_create("one")
    assert status == 1
    assert f"error running {name} hook #0: exit status 1, stdout: , stderr: " in said
    assert not (runtime.directory / "root" / "one").exists()
    assert not after.exists()
    assert stopped.exists()


@pytest.mark.parametrize("name", ["startContainer", "poststart"])
def test_a_failing_hook_of_start_fails_it_and_destroys_the_container(runtime: Runtime, name: str) -> None:
    stopped = runtime.directory / "stopped"
    poststop = [{"path": "/bin/false"}, {"path": "/bin/sh", "args": ["sh", "-c", f"touch {stopped}"]}]
    create(runtime, {"hooks": {name: [{"path": "/bin/false"}], "poststop": poststop}})
    done = runtime.call("start", "one")
    assert done.returncode == 1
    assert f"error running {name} hook #0: exit status 1, stdout: , stderr: " in done.stderr
    assert runtime.status("one") == "gone"
    assert stopped.exists()


def test_a_hook_in_the_container_is_confined_as_its_program(runtime: Runtime) -> None:
    script = "id -u; grep -E 'CapEff|Seccomp:' /proc/self/status; pwd; exit 9"
    change = {
        "hooks": {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]},
        "process.user": {"uid": 7, "gid": 7},
        "process.cwd": "/tmp",
        "linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    }
    create(runtime, change)
    said = runtime.call("start", "one").stderr
    assert "exit status 9" in said
    for expected in ("stdout: 7\\n", "CapEff:\\t0000000000000000", "Seccomp:\\t2", "/tmp"):
        assert expected in said


def test_a_hook_says_what_keeps_it_from_running(runtime: Runtime) -> None:
    for name in ("createRuntime", "createContainer"):
        write(runtime, {"hooks": {name: [{"path": "/no/hook"}]}})
        assert (
            f"error running {name} hook #0: fork/exec /no/hook: no such file or directory"
            in runtime.try_create("one")[1]
        )
        kill = {"path": "/bin/sh", "args": ["sh", "-c", "kill -SYS $$"]}
        write(runtime, {"hooks": {name: [kill]}})
        assert f"error running {name} hook #0: signal: bad system call" in runtime.try_create("one")[1]


def test_a_failing_hook_after_the_end_is_a_warning(runtime: Runtime) -> None:
    write(runtime, {"hooks": {"poststop": [{"path": "/bin/false"}]}}, "true")
    done = runtime.call("run", "--bundle", str(runtime.directory), "one")
    assert done.returncode == 0
    assert "level=warning" in done.stderr
    assert runtime.status("one") == "gone"


@pytest.mark.parametrize("name", ["createRuntime", "createContainer"])
def test_a_hook_that_takes_too_long_is_ended(runtime: Runtime, name: str) -> None:
    write(runtime, {"hooks": {name: [{"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}]}})
    status, said = runtime.try_create("one")
    assert status == 1
    assert f"error running {name} hook #0: hook ran past specified timeout of 1.0s" in said
    assert not (runtime.directory / "root" / "one").exists()


def receive(path: Path) -> tuple[threading.Thread, list[tuple[bytes, int]]]:
    """One message with one descriptor, whenever it comes to a new socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    received: list[tuple[bytes, int]] = []

    def accept() -> None:
        with listener, listener.accept()[0] as connection:
            data, rights, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
            received.append((data, array.array("i", rights[0][2])[0]))

    thread = threading.Thread(target=accept)
    thread.start()
    return thread, received


def test_a_terminal_has_the_size_named_and_goes_to_the_console_socket(runtime: Runtime) -> None:
    thread, received = receive(runtime.directory / "tty.sock")
    write(runtime, {"process.terminal": True, "process.consoleSize": {"height": 11, "width": 33}}, "stty size; tty")
    runtime.made.add("one")
    words = runtime.command(
        "create", "--bundle", str(runtime.directory), "--console-socket", str(runtime.directory / "tty.sock"), "one"
    )
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=30)
    thread.join(10)
    assert runtime.call("start", "one").returncode == 0
    shown = b""
    master = received[0][1]
    try:
        while chunk := os.read(master, 1000):
            shown += chunk
    except OSError:
        os.close(master)
    assert shown.split() == [b"11", b"33", b"/dev/pts/0"]


def test_a_capability_added_to_an_exec_is_ambient_if_it_is_inherited(runtime: Runtime) -> None:
    sets = {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted")}
    create(
        runtime, {"process.capabilities": sets | {"inheritable": ["CAP_KILL"], "bounding": ["CAP_CHOWN", "CAP_KILL"]}}
    )
    words = ("exec", "--cap", "CAP_KILL", "--cap", "CAP_FOWNER", "one", "grep", "CapAmb", "/proc/self/status")
    assert runtime.call("start", "one").returncode == 0
    done = runtime.call(*words)
    assert done.stdout.split() == ["CapAmb:", f"{1 << 5:016x}"], done


def test_flags_of_an_update_may_follow_the_container(runtime: Runtime) -> None:
    create(runtime, {})
    assert runtime.call("update", "one", "--pids-limit", "77").returncode == 0
    files = [path / "one" / "pids.max" for path in cgroup_directories()]
    assert [file.read_text() for file in files if file.exists()] == ["77\n"]


def test_a_pidfd_goes_to_its_socket(runtime: Runtime) -> None:
    write(runtime, {}, SLEEP)
    runtime.made.add("one")
    thread, received = receive(runtime.directory / "pid.sock")
    flags = ("--pidfd-socket", str(runtime.directory / "pid.sock"))
    words = runtime.command("run", "--detach", "--bundle", str(runtime.directory), *flags, "one")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run(words, check=True, timeout=30, **quiet)  # type: ignore[call-overload]
    thread.join(10)
    pidfd = received[0][1]
    told = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    os.close(pidfd)
    assert f"Pid:\t{state(runtime)['pid']}\n" in told


def test_a_filters_listener_goes_to_its_socket_with_the_state(runtime: Runtime) -> None:
    thread, received = receive(runtime.directory / "agent.sock")
    section = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(runtime.directory / "agent.sock"),
        "listenerMetadata": "mine",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    create(runtime, {"linux.seccomp": section}, SLEEP)
    assert runtime.call("start", "one").returncode == 0
    thread.join(10)
    told, fd = json.loads(received[0][0]), received[0][1]
    assert str(Path(f"/proc/self/fd/{fd}").readlink()) == "anon_inode:seccomp notify"
    os.close(fd)
    assert (told["fds"], told["metadata"], told["pid"]) == (["seccompFd"], "mine", state(runtime)["pid"])
    assert (told["state"]["id"], told["state"]["status"]) == ("one", "created")


def test_a_listener_nobody_hears_fails_the_start(runtime: Runtime) -> None:
    section = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(runtime.directory / "nobody.sock"),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    write(runtime, {"linux.seccomp": section}, SLEEP)
    done = runtime.call("run", "--bundle", str(runtime.directory), "one")
    assert done.returncode == 1
    assert "failed to connect with seccomp agent: linux.seccomp.listenerPath" in done.stderr
    assert runtime.status("one") == "gone"


def test_features_tells_what_a_configuration_may_hold(runtime: Runtime) -> None:
    told = json.loads(runtime.call("features").stdout)
    assert told["hooks"] == list(HOOKS)
    assert {"ro", "rro", "bind", "defaults", "lazytime", "tmpcopyup", "ridmap", "async"} <= set(told["mountOptions"])
    linux = told["linux"]
    assert set(linux["namespaces"]) == {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}
    assert len(linux["capabilities"]) == 41
    assert linux["cgroup"]["v1"] is linux["cgroup"]["v2"] is True
    assert "SCMP_ACT_NOTIFY" in linux["seccomp"]["actions"]
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"} <= set(linux["seccomp"]["archs"])
    assert set(linux["seccomp"]["supportedFlags"]) <= set(linux["seccomp"]["knownFlags"])
    assert linux["mountExtensions"] == {"idmap": {"enabled": True}}


JOINED = {
    "pid": ("--pid", "pid"), "network": ("--net", "net"), "mount": ("--mount", "mnt"), "ipc": ("--ipc", "ipc"),
    "uts": ("--uts", "uts"), "user": ("--user", "user"), "cgroup": ("--cgroup", "cgroup"),
    "time": ("--time", "time"),
}  # fmt: skip


@pytest.mark.parametrize("kind", JOINED)
def test_a_namespace_is_joined_by_its_path(runtime: Runtime, kind: str) -> None:
    flag, file = JOINED[kind]
    words = ["unshare", flag, "--fork", "sh", "-c", "echo ready; exec sleep 1000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        held = f"/proc/{children[0]}/ns/{file}"
        try:
            for map_file in ("uid_map", "gid_map") if kind == "user" else ():
                Path(f"/proc/{children[0]}/{map_file}").write_text("0 100000 65536\n")
            change = with_namespaces({"type": kind, "path": held}, without=f"{kind} user")
            hostname = {"hostname": "joined"} if kind == "uts" else {}
            unmasked = {"linux.maskedPaths": [], "linux.readonlyPaths": []} if kind == "mount" else {}
            create(runtime, {"hostname": None} | change | hostname | unmasked)
            expected = Path(held).readlink()
            assert Path(f"/proc/{state(runtime)['pid']}/ns/{file}").readlink() == expected
            runtime.call("start", "one")
            assert runtime.call("exec", "one", "readlink", f"/proc/self/ns/{file}").stdout.strip() == str(expected)
        finally:
            runtime.call("delete", "--force", "one")
            os.kill(int(children[0]), 9)
