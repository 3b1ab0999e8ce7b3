"""What a container may see and do, on the real kernel."""

from pathlib import Path

import msgspec
import pytest

from sampan.linux.cgroup import hierarchies
from sampan.oci.runtime_spec import IDMapping, Memory, Mount, Namespace, Pids, Seccomp, SeccompSyscall, User
from sampan.runtime.commands.spec import example
from sampan.runtime.seccomp_default import default_profile

from .conftest import Runtime, confined, limited


def status_of(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_the_program_has_exactly_the_capabilities_of_its_spec(runtime: Runtime) -> None:
    status = status_of(runtime.run("cat /proc/self/status").stdout)
    wanted = f"{1 << 5 | 1 << 10 | 1 << 29:016x}"
    assert [status[name] for name in ("CapBnd", "CapPrm", "CapEff")] == [wanted] * 3
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert status["NoNewPrivs"] == "1"


def test_it_is_the_first_process_and_alone(runtime: Runtime) -> None:
    assert runtime.run("echo $$; hostname; ls /proc | grep -c '^[0-9]'").stdout.split()[:2] == ["1", "sampan"]


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filtered_call_gives_eperm(runtime: Runtime, no_new_privileges: bool) -> None:
    refuse = Seccomp("SCMP_ACT_ALLOW", syscalls=[SeccompSyscall(["mkdir", "mkdirat"], "SCMP_ACT_ERRNO", 1)])
    done = runtime.run("mkdir /tmp/x", seccomp=refuse, process={"no_new_privileges": no_new_privileges})
    assert "Operation not permitted" in done.stderr


def test_the_default_profile_forbids_mounts_and_lets_a_shell_run(runtime: Runtime) -> None:
    done = runtime.run("echo fine; unshare -m true; cat /proc/self/status", seccomp=default_profile([]))
    assert done.stdout.startswith("fine")
    assert "Operation not permitted" in done.stderr
    assert status_of(done.stdout)["Seccomp"] == "2"


def test_masked_and_read_only_paths(runtime: Runtime) -> None:
    done = runtime.run(
        "cat /etc/secret; ls /data; echo 1 > /proc/sys/kernel/hostname; touch /x", masked_paths=["/data"]
    )
    assert done.stdout == ""
    assert done.stderr.count("Read-only file system") == 2


def test_devices_not_on_the_list_are_refused(runtime: Runtime) -> None:
    capabilities = example().process.capabilities  # type: ignore[union-attr]
    more = msgspec.structs.replace(
        capabilities, **{name: ["CAP_MKNOD"] for name in ("bounding", "effective", "permitted")}
    )
    script = "mknod /dev/mem1 c 1 1 && cat /dev/mem1; head -c 1 /dev/zero | wc -c; echo > /dev/null && echo null"
    done = runtime.run(script, process={"capabilities": more})
    assert "Operation not permitted" in done.stderr
    assert done.stdout.split() == ["1", "null"]


def test_memory_over_the_limit_kills(runtime: Runtime) -> None:
    limits = limited(memory=Memory(limit=16 << 20, swap=16 << 20))
    done = runtime.run("head -c 64m /dev/zero | tail -c 64m > /dev/null; echo $?", resources=limits)
    assert "137" in done.stdout or done.returncode == 137


def test_tasks_over_the_limit_cannot_be_made(runtime: Runtime) -> None:
    done = runtime.run("sleep 1 & sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait", resources=limited(pids=Pids(3)))
    assert "can't fork" in done.stderr


def test_the_cgroup_is_the_root_of_its_own_view(runtime: Runtime) -> None:
    lines = runtime.run("cat /proc/self/cgroup").stdout.splitlines()
    assert {line.split(":", 2)[2] for line in lines} == {"/"}


def test_the_cgroup_tree_shows_the_containers_own_limit(runtime: Runtime) -> None:
    file = "memory/memory.limit_in_bytes" if hierarchies().version == 1 else "memory.max"
    done = runtime.run(f"cat /sys/fs/cgroup/{file}", resources=limited(memory=Memory(limit=32 << 20)))
    assert done.stdout.strip() == str(32 << 20)


def test_root_of_a_user_namespace_is_nobody_outside(runtime: Runtime, tmp_path: Path) -> None:
    maps = [IDMapping(0, 100000, 65536)]
    tmp_path.joinpath("out").mkdir(mode=0o777)
    tmp_path.joinpath("out").chmod(0o777)
    spec = confined(["sh", "-c", "id -u; touch /data/mine; echo > /dev/null"])
    assert spec.linux is not None
    linux = msgspec.structs.replace(
        spec.linux, namespaces=[*spec.linux.namespaces, Namespace("user")], uid_mappings=maps, gid_mappings=maps
    )
    mounts = [*spec.mounts, Mount("/data", "bind", str(tmp_path / "out"), ["rbind"])]
    runtime.write(msgspec.structs.replace(spec, linux=linux, mounts=mounts))
    runtime.made.add("one")
    done = runtime.call("run", "--bundle", str(tmp_path), "one")
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert (tmp_path / "out" / "mine").stat().st_uid == 100000


def test_an_idmapped_mount_shows_other_owners(runtime: Runtime, tmp_path: Path) -> None:
    tmp_path.joinpath("out").mkdir()
    spec = confined(["sh", "-c", "stat -c %u /data"], process={"no_new_privileges": False})
    mount = Mount(
        "/data", "bind", str(tmp_path / "out"), ["bind", "idmap"], [IDMapping(0, 5000, 10)], [IDMapping(0, 5000, 10)]
    )
    runtime.write(msgspec.structs.replace(spec, mounts=[*spec.mounts, mount]))
    runtime.made.add("one")
    done = runtime.call("run", "--bundle", str(tmp_path), "one")
    assert done.stdout.split() == ["5000"]


def test_recursive_read_only_reaches_mounts_below(runtime: Runtime, tmp_path: Path) -> None:
    spec = confined(["sh", "-c", "touch /dev/shm/x; touch /data/x"])
    mounts = [*spec.mounts, Mount("/data", "bind", "/dev", ["rbind", "rro"])]
    runtime.write(msgspec.structs.replace(spec, mounts=mounts))
    runtime.made.add("one")
    done = runtime.call("run", "--bundle", str(tmp_path), "one")
    assert done.stderr.count("Read-only file system") == 1


def test_no_descriptor_of_the_runtime_reaches_the_program(runtime: Runtime) -> None:
    assert runtime.run("ls /proc/self/fd").stdout.split() == ["0", "1", "2", "3"]  # 3 is that of ls itself


@pytest.mark.parametrize("options", [[], ["--no-pivot"]], ids=str)
def test_no_unmasked_proc_can_be_mounted_in_a_namespace_of_ones_own(runtime: Runtime, options: list[str]) -> None:
    script = "mkdir /dev/shm/proc; unshare -Urmpf mount -t proc proc /dev/shm/proc; echo $?"
    runtime.write(confined(["sh", "-c", script], process={"user": User(1000, 1000)}))
    runtime.made.add("one")
    done = runtime.call("run", *options, "--bundle", str(runtime.directory), "one")
    assert "permission denied (are you root?)" in done.stderr
    assert done.stdout.strip() != "0"
