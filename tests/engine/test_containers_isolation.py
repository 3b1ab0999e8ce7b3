"""What a container may see and do: namespaces, capabilities, seccomp, devices, limits."""

from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container

Run = Callable[..., Container]
Shell = Callable[..., str]


def test_own_namespaces_by_default(run: Run, shell: Shell) -> None:
    container = run()
    for kind in ("pid", "net", "ipc", "mnt", "uts", "cgroup"):
        assert shell(container, f"readlink /proc/self/ns/{kind}") != str(Path(f"/proc/self/ns/{kind}").readlink()), kind
    assert shell(container, "cat /proc/1/comm") == "sleep"


def test_host_namespaces_when_asked(run: Run, shell: Shell) -> None:
    container = run("sleep 60", pid_mode="host", ipc_mode="host", uts_mode="host", network_mode="host")
    for kind in ("pid", "net", "ipc", "uts"):
        assert shell(container, f"readlink /proc/self/ns/{kind}") == str(Path(f"/proc/self/ns/{kind}").readlink()), kind


def test_namespaces_of_another_container(run: Run, shell: Shell) -> None:
    donor = run("sleep 60", name="donor", ipc_mode="shareable")
    shell(donor, "echo shared > /dev/shm/file")
    other = run("sleep 60", pid_mode="container:donor", ipc_mode="container:donor", network_mode="container:donor")
    assert shell(other, "cat /dev/shm/file") == "shared"
    for kind in ("pid", "net", "ipc"):
        assert shell(other, f"readlink /proc/self/ns/{kind}") == shell(donor, f"readlink /proc/self/ns/{kind}")


def test_a_private_ipc_is_not_shared(run: Run) -> None:
    run("sleep 60", name="private")
    with pytest.raises(APIError, match=r"failed to join IPC namespace: container [0-9a-f]{64}: non-shareable IPC"):
        run("sleep 60", ipc_mode="container:private")


def test_capabilities_are_docker_s(run: Run, shell: Shell) -> None:
    assert shell(run(), "grep CapEff /proc/self/status").split()[1] == "00000000a80425fb"
    assert shell(run("sleep 60", cap_drop=["ALL"]), "grep CapEff /proc/self/status").split()[1] == "0" * 16
    added = run("sleep 60", cap_drop=["ALL"], cap_add=["NET_ADMIN"])
    assert shell(added, "grep CapEff /proc/self/status").split()[1] == f"{1 << 12:016x}"


def test_seccomp_filters_unless_unconfined(run: Run, shell: Shell) -> None:
    assert shell(run(), "grep Seccomp: /proc/self/status").split()[1] == "2"
    free = run("sleep 60", security_opt=["seccomp=unconfined"])
    assert shell(free, "grep Seccomp: /proc/self/status").split()[1] == "0"
    assert run().exec_run("unshare -U true").exit_code != 0


def test_a_seccomp_profile_of_the_client_counts(run: Run) -> None:
    profile = '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}'
    container = run("sleep 60", security_opt=[f"seccomp={profile}"])
    assert container.exec_run("mkdir /tmp/no").exit_code != 0
    assert container.exec_run("touch /tmp/yes").exit_code == 0


def test_no_new_privileges(run: Run, shell: Shell) -> None:
    container = run("sleep 60", security_opt=["no-new-privileges"])
    assert shell(container, "grep NoNewPrivs /proc/self/status").split()[1] == "1"


def test_masked_and_read_only_paths(run: Run, shell: Shell) -> None:
    container = run()
    assert shell(container, "wc -c < /proc/interrupts") == "0"
    assert container.exec_run("sh -c 'echo 1 > /proc/sys/kernel/panic'").exit_code != 0
    assert container.exec_run("touch /sys/x").exit_code != 0


def test_the_privileged_see_the_devices(run: Run, shell: Shell) -> None:
    container = run("sleep 60", privileged=True)
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    assert shell(container, "grep CapEff /proc/self/status").split()[1] == own.split()[1]
    assert shell(container, "test -e /dev/kmsg && echo yes") == "yes"
    assert shell(container, "mkdir /tmp/m && mount -t tmpfs none /tmp/m && echo mounted") == "mounted"


def test_a_device_can_be_given(run: Run, shell: Shell) -> None:
    container = run("sleep 60", devices=["/dev/zero:/dev/mine:r"])
    assert shell(container, "head -c 4 /dev/mine | wc -c") == "4"
    with pytest.raises(APIError, match="error gathering device information"):
        run("sleep 60", devices=["/dev/nosuch"])


def test_limits_reach_the_cgroup(run: Run, shell: Shell) -> None:
    container = run("sleep 60", mem_limit="64m", pids_limit=32, cpu_shares=512, nano_cpus=500_000_000, cpuset_cpus="0")
    for file, value in (
        ("memory/memory.limit_in_bytes", str(64 << 20)),
        ("pids/pids.max", "32"),
        ("cpu/cpu.shares", "512"),
        ("cpu/cpu.cfs_quota_us", "50000"),
        ("cpuset/cpuset.cpus", "0"),
    ):
        assert shell(container, f"cat /sys/fs/cgroup/{file}") == value, file


def test_ulimits_sysctls_and_oom_score(run: Run, shell: Shell) -> None:
    limit = docker.types.Ulimit(name="nofile", soft=100, hard=200)
    container = run(
        "sleep 60", ulimits=[limit], sysctls={"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"}, oom_score_adj=500
    )
    assert shell(container, "ulimit -n") == "100"
    assert shell(container, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax").split() == ["1", "9000"]
    assert shell(container, "cat /proc/1/oom_score_adj") == "500"


def test_names_of_the_machine(run: Run, shell: Shell) -> None:
    container = run("sleep 60", hostname="web", domainname="example.org", network_mode="bridge",
                    extra_hosts={"other": "10.0.0.9"}, dns=["10.0.0.53"])  # fmt: skip
    assert shell(container, "hostname") == "web"
    assert shell(container, "cat /etc/hostname") == "web"
    hosts = shell(container, "cat /etc/hosts")
    assert "10.0.0.9\tother" in hosts
    assert "web" in hosts
    assert "10.0.0.53" in shell(container, "cat /etc/resolv.conf")


def test_init_reaps(run: Run, shell: Shell) -> None:
    container = run("sleep 60", init=True)
    assert shell(container, "cat /proc/1/comm") != "sleep"
    shell(container, "(sleep 0.1 &) ; sleep 0.4; ! ps | grep -q ' [Z] '")


def test_no_second_init_comes_into_a_shared_pid_namespace(run: Run, shell: Shell) -> None:
    run("sleep 60", name="first", init=True)
    second = run("sleep 61", init=True, pid_mode="container:first")
    names = [process[-1] for process in second.top(ps_args="-o pid,args")["Processes"]]
    assert names == ["sleep 61"]


def test_no_descriptor_of_the_host_leaks(run: Run, shell: Shell) -> None:
    listed = shell(run(), "ls -l /proc/1/fd | grep -c -e '->'")
    assert listed == "3"


def test_the_engine_s_program_cannot_be_overwritten(run: Run) -> None:
    container = run("sleep 60", init=True)
    result = container.exec_run(["sh", "-c", "echo broken > /proc/1/exe"])
    assert result.exit_code != 0


def test_the_working_directory_is_made_for_the_user(run: Run, shell: Shell) -> None:
    container = run("sleep 60", working_dir="/new/dir", user="app")
    assert shell(container, "stat -c %u:%a /new/dir") == "1000:755"


def test_an_unknown_user_is_refused(client: docker.DockerClient, run: Run) -> None:
    with pytest.raises(APIError, match="unable to find user ghost: no matching entries in passwd file"):
        run("sleep 60", user="ghost")


def test_a_cgroup_parent_is_used(client: docker.DockerClient, run: Run) -> None:
    container = run("sleep 60", cgroup_parent="/sampan-test-parent")
    pid = client.api.inspect_container(container.id)["State"]["Pid"]
    assert f"/sampan-test-parent/{container.id}" in Path(f"/proc/{pid}/cgroup").read_text()
    container.remove(force=True)
    for controller in Path("/sys/fs/cgroup").iterdir():
        parent = controller / "sampan-test-parent"
        if parent.is_dir():
            parent.rmdir()
