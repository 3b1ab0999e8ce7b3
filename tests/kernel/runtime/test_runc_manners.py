"""What callers of runc find the same here: words, statuses, terminals, mounts that inherit, devices and policies."""

import json
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from .bundle_config import with_mount, with_namespaces, write
from .conftest import PARENT, Runtime, cgroup_directories

SLEEP = "exec sleep 1000"


def started(runtime: Runtime, change: dict[str, object] | None = None, script: str = SLEEP) -> None:
    write(runtime, change or {}, script)
    assert runtime.try_create("one") == (0, "")
    assert runtime.call("start", "one").returncode == 0


def run(runtime: Runtime, change: dict[str, object], script: str) -> "subprocess.CompletedProcess[str]":
    write(runtime, change, script)
    runtime.made.add("one")
    return runtime.call("run", "--bundle", str(runtime.directory), "one")


def test_a_terminal_shown_through_a_pipe_has_plain_newlines(runtime: Runtime) -> None:
    assert run(runtime, {"process.terminal": True}, "echo one; echo two").stdout == "one\ntwo\n"
    started(runtime)
    assert runtime.call("exec", "--tty", "one", "sh", "-c", "tty >/dev/null && echo yes").stdout == "yes\n"


def test_a_terminal_on_a_read_only_dev_has_its_console(runtime: Runtime) -> None:
    write(runtime, {"process.terminal": True}, "test -c /dev/console && echo there")
    config = json.loads((runtime.directory / "config.json").read_text())
    for mount in config["mounts"]:
        if mount["destination"] == "/dev":
            mount["options"].append("ro")
    (runtime.directory / "config.json").write_text(json.dumps(config))
    assert runtime.call("run", "--bundle", str(runtime.directory), "one").stdout == "there\n"


@pytest.mark.parametrize(("options", "mode"), [([], "710"), (["mode=1500"], "1500")])
def test_a_tmpfs_without_a_mode_has_that_of_the_directory_it_covers(
    runtime: Runtime, tmp_path: Path, options: list[str], mode: str
) -> None:
    covered = tmp_path / "rootfs" / "covered"
    covered.mkdir(exist_ok=True)
    covered.chmod(0o710)
    mount = {"destination": "/covered", "type": "tmpfs", "source": "tmpfs", "options": options}
    assert run(runtime, with_mount(mount), "stat -c %a /covered").stdout == f"{mode}\n"


def bind(source: object, destination: str, *more: str) -> dict[str, object]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *more]}


@pytest.mark.parametrize("more", [(), ("rshared",)])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_bind_of_what_is_in_the_root_shows_what_mounts_before_it_put_there(
    runtime: Runtime, tmp_path: Path, more: tuple[str, ...], mapped: bool
) -> None:
    (tmp_path / "tree" / "below").mkdir(parents=True)
    (tmp_path / "tree" / "file").write_text("told\n")
    root = tmp_path / "rootfs"
    mounts = (
        bind(tmp_path / "tree", "/first"),
        bind(root / "first", "/second", *more),
        bind("rootfs/first/below", "/third", *more),
        bind(root / "first" / "file", "/fourth", *more),
    )
    change = with_mount(*mounts)
    if mapped:
        ids = [{"containerID": 0, "hostID": 0, "size": 65536}]
        change |= with_namespaces({"type": "user"}) | {"linux.uidMappings": ids, "linux.gidMappings": ids}
    done = run(runtime, change, "cat /second/file; test -d /third && test -s /fourth && echo there")
    assert done.stdout == "told\nthere\n", done.stderr


def test_a_file_cannot_be_mounted_on_a_directory(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(runtime, with_mount(bind(tmp_path / "file", "/data")), "true")
    assert 'error mounting to rootfs at "/data": not a directory' in done.stderr.replace("\\", "")


def test_a_memory_limit_too_low_to_start_in_is_told(runtime: Runtime) -> None:
    done = run(runtime, {"linux.resources": {"memory": {"limit": 10000}}}, "true")
    assert "container init was OOM-killed (memory limit too low?)" in done.stderr


def test_a_limit_of_kernel_memory_is_told_to_have_no_effect(runtime: Runtime) -> None:
    done = run(runtime, {"linux.resources": {"memory": {"kernel": 1 << 20}}}, "true")
    assert "Kernel memory settings are ignored" in done.stderr
    assert done.returncode == 0


def test_an_idmap_without_r_stops_at_the_mounts_below(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "tree" / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "tree" / "below"], check=True)
    ids = [{"containerID": 0, "hostID": 5000, "size": 10}]
    try:
        for option, owner in (("idmap", 0), ("ridmap", 5000)):
            mount = {"destination": "/data", "source": str(tmp_path / "tree"), "options": ["rbind", option]}
            change = with_mount(mount | {"uidMappings": ids, "gidMappings": ids})
            assert run(runtime, change, "stat -c %u /data /data/below").stdout.split() == ["5000", str(owner)]
    finally:
        subprocess.run(["umount", tmp_path / "tree" / "below"], check=True)


def test_an_empty_home_at_the_end_is_set_anew(runtime: Runtime) -> None:
    change = {"process.env": ["PATH=/bin", "HOME=/given", "HOME="]}
    assert run(runtime, change, "echo $HOME").stdout == "/\n"


def test_an_ambient_capability_that_is_not_inherited_is_a_warning(runtime: Runtime) -> None:
    sets = {name: ["CAP_CHOWN", "CAP_KILL"] for name in ("bounding", "effective", "permitted", "ambient")}
    done = run(runtime, {"process.capabilities": sets | {"inheritable": ["CAP_KILL"]}}, "true")
    assert done.returncode == 0
    assert "can't raise ambient capability CAP_CHOWN: " in done.stderr
    assert "CAP_KILL" not in done.stderr


def test_a_program_that_does_not_start_is_told_in_runcs_words(runtime: Runtime, tmp_path: Path) -> None:
    script = tmp_path / "rootfs" / "script"
    script.write_text("#!/no/interpreter\n")
    script.chmod(0o755)
    for program, said in (
        ("/nowhere", 'exec: \\"/nowhere\\": stat /nowhere: no such file or directory'),
        ("nowhere", 'exec: \\"nowhere\\": executable file not found in $PATH'),
        ("/tmp", 'exec: \\"/tmp\\": is a directory'),
    ):
        done = run(runtime, {"process.args": [program]}, "")
        assert done.returncode == 1
        assert said in done.stderr
    assert run(runtime, {"process.args": ["/script"]}, "").stderr == "exec /script: no such file or directory\n"
    started(runtime)
    done = runtime.call("exec", "one", "/script")
    assert (done.returncode, done.stderr) == (255, "exec failed: exec /script: no such file or directory\n")
    assert "exec failed: " in runtime.call("exec", "one", "nowhere").stderr


def test_what_a_state_forbids_is_told_in_runcs_words(runtime: Runtime) -> None:
    started(runtime)
    assert "cannot start an already running container" in runtime.call("start", "one").stderr
    assert "container not paused" in runtime.call("resume", "one").stderr
    runtime.call("kill", "one", "KILL")
    deadline = time.monotonic() + 10
    while runtime.status("one") != "stopped":
        assert time.monotonic() < deadline
    assert "cannot start a container that has stopped" in runtime.call("start", "one").stderr
    for command in ("pause", "update"):
        assert "container not running" in runtime.call(command, "one").stderr


@pytest.mark.parametrize("signal", ["TERM", "INT", "HUP"])
def test_what_ends_a_program_ends_one_that_is_only_created(runtime: Runtime, signal: str) -> None:
    write(runtime, {}, SLEEP)
    assert runtime.try_create("one") == (0, "")
    assert runtime.call("kill", "one", signal).returncode == 0
    deadline = time.monotonic() + 10
    while runtime.status("one") != "stopped":
        assert time.monotonic() < deadline


def test_a_program_started_has_the_actions_of_signals_it_should(runtime: Runtime) -> None:
    started(runtime, script="grep SigCgt /proc/self/status; exec sleep 1000")
    deadline = time.monotonic() + 10
    while "SigCgt:\t0000000000000000" not in (runtime.directory / "one.out").read_text():
        assert time.monotonic() < deadline


def test_processes_of_what_has_stopped_are_none(runtime: Runtime) -> None:
    started(runtime, script="true")
    deadline = time.monotonic() + 10
    while runtime.status("one") != "stopped":
        assert time.monotonic() < deadline
    assert runtime.call("ps", "--format", "json", "one").stdout == "[]\n"
    assert len(runtime.call("ps", "one").stdout.splitlines()) == 1


def test_a_root_that_is_not_there_cannot_be_listed(runtime: Runtime) -> None:
    done = runtime.call("list")
    assert done.returncode == 1
    assert "no such file or directory" in done.stderr


def test_activated_sockets_come_before_preserved_descriptors(runtime: Runtime, tmp_path: Path) -> None:
    write(runtime, {}, "echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4")
    (tmp_path / "three").write_text("three\n")
    (tmp_path / "four").write_text("four\n")
    command = " ".join(runtime.command("run", "--preserve-fds", "1", "--bundle", str(tmp_path), "one"))
    script = f"export LISTEN_FDS=1 LISTEN_PID=$$; exec {command} 3<{tmp_path}/three 4<{tmp_path}/four"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "1 1\nthree\nfour\n", done.stderr
    missing = runtime.call("run", "--preserve-fds", "7", "--bundle", str(tmp_path), "one")
    assert missing.returncode == 1
    assert "unable to stat preserved-fd" in missing.stderr


def test_events_are_compact_and_tell_of_want_of_memory(runtime: Runtime) -> None:
    started(runtime, {"linux.resources": {"memory": {"limit": 16 << 20, "swap": 16 << 20}}})
    told = runtime.call("events", "--stats", "one").stdout
    assert told.startswith('{"type":"stats","id":"one","data":{"cpu":{"usage":{"total":')
    assert {"hugetlb", "intel_rdt", "network_interfaces"} <= set(json.loads(told)["data"])
    with subprocess.Popen(runtime.command("events", "--interval", "50ms", "one"), stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        assert b'"type":"stats"' in watcher.stdout.readline()
        runtime.call("exec", "one", "sh", "-c", "x=$(cat /dev/zero | tr '\\0' x)")
        while (line := watcher.stdout.readline()) and b'"type":"oom"' not in line:
            continue
        assert line == b'{"type":"oom","id":"one"}\n'
        runtime.call("delete", "--force", "one")
        assert watcher.wait(10) == 0


@pytest.mark.parametrize(("interval", "said"), [("0s", "greater than 0"), ("-1s", "greater than 0"), ("x", "parse")])
def test_an_interval_of_events_is_a_duration(runtime: Runtime, interval: str, said: str) -> None:
    started(runtime)
    done = runtime.call("events", "--interval", interval, "one")
    assert done.returncode == 1
    assert said in done.stderr


def test_limits_are_changed_by_flags(runtime: Runtime) -> None:
    started(runtime)
    for words, file, value in (
        (("--pids-limit", "0"), "pids.max", "1"),
        (("--pids-limit", "-1"), "pids.max", "max"),
        (("--cpu-quota", "20000"), "cpu.cfs_quota_us", "20000"),
        (("--cpu-period", "50000", "--cpu-quota", "5000"), "cpu.cfs_period_us", "50000"),
        (("--cpu-quota", "-1"), "cpu.cfs_quota_us", "-1"),
        (("--cpu-share", "300"), "cpu.shares", "300"),
        (("--memory", "32M", "--memory-swap", "64M"), "memory.limit_in_bytes", str(32 << 20)),
    ):
        assert runtime.call("update", *words, "one").stderr == ""
        found = [path / "one" / file for path in cgroup_directories() if (path / "one" / file).exists()]
        assert [path.read_text().strip() for path in found] in ([value], []), words
    assert "minimum allowed cpu-shares" in runtime.call("update", "--cpu-share", "1", "one").stderr
    assert "l3 cache schema is not enabled" in runtime.call("update", "--l3-cache-schema", "x", "one").stderr


def test_a_period_is_refused_by_its_quota_no_matter_their_order(runtime: Runtime) -> None:
    started(runtime, {"linux.resources": {"cpu": {"quota": 500000, "period": 1000000}}})
    assert runtime.call("update", "--cpu-period", "10000", "--cpu-quota", "3000", "one").stderr == ""


def test_an_exec_joins_a_cgroup_below(runtime: Runtime) -> None:
    started(runtime)
    top = [path / "one" for path in cgroup_directories()]
    for path in top:
        (path / "sub").mkdir()
    done = runtime.call("exec", "--cgroup", "sub", "one", "cat", "/proc/self/cgroup")
    paths = {line.split(":", 2)[2] for line in done.stdout.splitlines() if not line.startswith("0::")} or {"/sub"}
    assert paths == {"/sub"}, done.stderr
    for path, said in (("..", "bad sub cgroup path"), ("none", "no such file or directory")):
        done = runtime.call("exec", "--cgroup", path, "one", "true")
        assert done.returncode == 255
        assert said in done.stderr
    assert "unknown controller what" in runtime.call("exec", "--cgroup", "what:/", "one", "true").stderr
    for path in top:
        (path / "sub").rmdir()


def test_a_network_device_moves_in_with_its_addresses(runtime: Runtime) -> None:
    subprocess.run(["ip", "link", "add", "sampan-dev0", "type", "veth", "peer", "sampan-dev1"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "10.254.254.1/24", "dev", "sampan-dev0"], check=True)
        done = run(runtime, {"linux.netDevices": {"sampan-dev0": {"name": "inside0"}}}, "ip address show inside0")
        assert "inet 10.254.254.1/24" in done.stdout, done.stderr
        assert "UP" in done.stdout.splitlines()[0]
    finally:
        subprocess.run(["ip", "link", "delete", "sampan-dev1"], check=False, stderr=subprocess.DEVNULL)
    done = run(runtime, {"linux.netDevices": {"sampan-none": {}}}, "true")
    assert "linux.netDevices: cannot move sampan-none: the host has no such device" in done.stderr
    shared = with_namespaces(without="network") | {"linux.netDevices": {"sampan-none": {}}}
    assert "unable to move network devices without a NET namespace" in run(runtime, shared, "true").stderr


def test_memory_comes_from_the_nodes_named(runtime: Runtime) -> None:
    policy = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    shown = "head -n 1 /proc/self/numa_maps"
    if not Path("/proc/self/numa_maps").exists():
        assert "set_memory_policy" in run(runtime, {"linux.memoryPolicy": policy}, "true").stderr
        return
    assert "bind=static:0" in run(runtime, {"linux.memoryPolicy": policy}, shown).stdout
    for wrong, said in (({"mode": "BIND"}, "policy mode"), ({"mode": "MPOL_BIND", "flags": ["X"]}, "policy flag")):
        assert f"invalid memory {said}" in run(runtime, {"linux.memoryPolicy": wrong}, "true").stderr


def test_the_example_for_a_user_maps_that_user(runtime: Runtime) -> None:
    (runtime.directory / "config.json").unlink(missing_ok=True)
    assert runtime.call("spec", "--rootless", "--bundle", str(runtime.directory)).returncode == 0
    told = json.loads((runtime.directory / "config.json").read_text())
    assert told["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert "resources" not in told["linux"]
    assert {"type": "network"} not in told["linux"]["namespaces"]
    assert not [option for mount in told["mounts"] for option in mount.get("options", ()) if option.startswith("gid=")]
    again = runtime.call("spec", "--bundle", str(runtime.directory))
    assert "File config.json exists. Remove it first" in again.stderr
    assert stat.S_ISREG((runtime.directory / "config.json").stat().st_mode)


def test_letters_that_are_no_access_mean_nothing(runtime: Runtime) -> None:
    rules = [{"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwa"}]
    assert (
        run(runtime, {"linux.resources": {"devices": rules}, "linux.cgroupsPath": f"{PARENT}/one"}, "true").stderr == ""
    )
