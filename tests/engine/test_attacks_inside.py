"""Programs in containers that want out: each tries one known way, as root of an ordinary container.

The names of vulnerabilities are those that other engines had there.
"""

import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import APIError
from docker.models.containers import Container
from engine_daemon import IMAGE, Daemon
from layer_tars import member, tar

Run = Callable[..., Container]
Shell = Callable[..., str]

FORBIDDEN: dict[str, str] = {
    "a module is loaded": "insmod /data/seed",
    "a file system is mounted": "mount -t tmpfs none /tmp",
    "a mounted file system is changed": "mount -o remount,rw /proc/sys",
    "a read-only path is unmounted": "umount /proc/sys",
    "a masked path is unmounted": "umount /proc/kcore",
    "a user namespace is made": "unshare -U true",
    "a mount namespace is made": "unshare -m true",
    "a namespace of the host's is joined": "nsenter -t 1 -m -p true && nsenter -m/proc/1/ns/net true",
    "the host is rebooted": "echo b > /proc/sysrq-trigger",
    "dumps of the host are piped": "echo '|/tmp/x' > /proc/sys/kernel/core_pattern",
    "a helper of the kernel's is named": "echo /tmp/x > /proc/sys/kernel/modprobe",
    "randomisation is turned off": "echo 0 > /proc/sys/kernel/randomize_va_space",
    "a device of the kernel's is switched": "echo 1 > /sys/class/net/lo/ifalias",
    "an event helper is named": "echo /tmp/x > /sys/kernel/uevent_helper",
    "the memory of the host is read": "head -c 1 /proc/kcore | grep -q .",
    "the kernel's messages are read": "head -c 1 /dev/kmsg",
    "a disk is read by a node made for it": "mknod /tmp/disk b $(awk 'END {print $1, $2}' /proc/partitions) && "
    "head -c 1 /tmp/disk",
    "memory is read by a node made for it": "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem",
    "a cgroup's limits are lifted": "for f in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max; "
    "do echo -1 > $f && exit 0; done; exit 1",
    "a program is run when a cgroup empties": "echo /tmp/x > /sys/fs/cgroup/memory/release_agent",
    "an interface is configured": "ip link set lo down",
    "a route is made": "ip route add 192.0.2.0/24 dev lo",
    "other processes' memory is read": "head -c 1 /proc/1/mem",
    "a program gains capabilities": "setpriv --bounding-set +sys_admin true || capsh --has-p=cap_sys_admin",
    "swap is turned off": "swapoff -a && swapoff /dev/zero",
    "quotas and accounting are changed": "swapon /data/seed",
}
"""What is tried → the script, which must fail."""


def test_what_only_the_host_may_do_is_refused(run: Run) -> None:
    victim = run("sleep 600")
    before = time.time()
    done = {what: victim.exec_run(["sh", "-c", script]).exit_code for what, script in FORBIDDEN.items()}
    assert {what for what, status in done.items() if status in (0, None)} == set()
    victim.exec_run("date -s 2001-01-01")
    assert time.time() >= before


CALLS = {
    "add_key": 248, "bpf": 321, "clone3": 435, "finit_module": 313, "init_module": 175, "kexec_load": 246,
    "keyctl": 250,
    "mount_setattr": 442, "move_mount": 429, "open_by_handle_at": 304, "open_tree": 428, "perf_event_open": 298,
    "pivot_root": 155, "quotactl": 179, "reboot": 169, "request_key": 249, "setns": 308, "swapon": 167, "unshare": 272,
    "userfaultfd": 323, "fsopen": 430, "io_uring_setup": 425, "acct": 163, "settimeofday": 164, "iopl": 172,
}  # fmt: skip
PROBE = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(int count, char **words)
{
    for (int i = 1; i < count; i++) {
        errno = 0;
        long result = syscall(atol(words[i]), -1L, 0L, 0L, 0L, 0L, 0L);
        printf("%s %ld %d\\n", words[i], result, errno);
    }
}
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that makes the system calls of these numbers with useless arguments."""
    directory = tmp_path_factory.mktemp("probe")
    (directory / "probe.c").write_text(PROBE)
    compiler = "musl-gcc" if Path("/usr/bin/musl-gcc").exists() else "gcc"
    subprocess.run([compiler, "-static", "-o", directory / "probe", directory / "probe.c"], check=True)
    return directory / "probe"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_calls_that_programs_do_not_need_are_filtered(client: docker.DockerClient, probe: Path) -> None:
    volumes = {str(probe): {"bind": "/probe", "mode": "ro"}}
    words = ["/probe", *map(str, CALLS.values())]
    output = client.containers.run(IMAGE, words, remove=True, volumes=volumes, network_mode="none").decode()
    found = {int(number): (int(result), int(error)) for number, result, error in map(str.split, output.splitlines())}
    allowed = {name for name, number in CALLS.items() if found[number][0] != -1 or found[number][1] not in (1, 38)}
    assert allowed == set()


def test_a_user_cannot_become_root(run: Run, shell: Shell, daemon: Daemon, tmp_path: Path) -> None:
    container = run(cap_drop=["SETUID", "SETGID"])
    assert container.exec_run("su app -s /bin/true").exit_code != 0
    private = run(security_opt=["no-new-privileges"])
    shell(private, "cp /bin/busybox /tmp/id && chmod 4755 /tmp/id")
    assert shell(private, "/tmp/id -u", user="app") == "1000"
    assert shell(run("sleep 60", name="usual"), "cp /bin/busybox /tmp/id && chmod 4755 /tmp/id; true") == ""


def test_a_user_has_no_capabilities_and_gains_none_by_exec(run: Run, shell: Shell) -> None:
    for container in (run(user="1000"), run()):
        status = shell(container, "grep ^Cap /proc/self/status", user="1000").split()
        held = dict(zip(status[::2], status[1::2], strict=True))
        assert {held[name] for name in ("CapInh:", "CapPrm:", "CapEff:", "CapAmb:")} == {"0" * 16}


def test_nothing_of_the_hosts_is_open_in_a_program(run: Run, shell: Shell) -> None:
    container = run(["sh", "-c", "sleep 60 & wait"])
    for pid in ("1", "self"):
        listed = shell(container, f"for f in /proc/{pid}/fd/*; do readlink $f; done; true")
        assert all(one.startswith(("pipe:", "/dev/null", "socket:", "/proc/")) for one in listed.splitlines()), listed


def test_a_working_directory_by_a_leaked_descriptor_leads_nowhere(  # CVE-2024-21626
    client: docker.DockerClient, run: Run, tmp_path: Path
) -> None:
    """Whatever descriptor of the runtime's is named, no file of the host's is behind it."""
    (tmp_path / "seen").write_text("secret")
    climb = "../" * 12
    script = ["sh", "-c", f"pwd; cat {climb}{tmp_path}/seen"]
    victim = run()
    for number in range(3, 20):
        directory = f"/proc/self/fd/{number}"
        with pytest.raises(APIError):
            client.containers.run(IMAGE, script, remove=True, working_dir=directory, network_mode="none")
        done = victim.exec_run(script, workdir=directory)
        assert done.exit_code != 0, number
        assert b"secret" not in done.output
    for made in client.containers.list(all=True):
        made.remove(force=True)


def test_the_runtimes_program_cannot_be_overwritten(run: Run, shell: Shell) -> None:  # CVE-2019-5736
    """An interpreter line makes the runtime execute itself; the file behind it is looked for meanwhile."""
    container = run()
    shell(container, "printf '#!/proc/self/exe\\n' > /bin/trap && chmod 755 /bin/trap")
    before = Path("/proc/self/exe").stat().st_mtime
    watcher = (
        "i=0; while [ $i -lt 300 ]; do for p in /proc/[0-9]*; do case $(readlink $p/exe) in *sampan*) "
        "echo x > $p/exe && echo written;; esac; done 2>/dev/null; i=$((i+1)); done"
    )
    api = container.client.api
    watching = api.exec_create(container.id, ["sh", "-c", watcher])["Id"]
    stream = api.exec_start(watching, stream=True)
    for _ in range(10):
        container.exec_run("/bin/trap")
    assert b"written" not in b"".join(stream)
    assert container.exec_run("true").exit_code == 0
    assert Path("/proc/self/exe").stat().st_mtime == before


def test_processes_that_enter_cannot_be_traced_or_looked_into(run: Run, shell: Shell) -> None:
    """While an exec is on its way in, its descriptors and memory are nobody's business."""
    container = run()
    look = "readlink $p/fd/*; readlink $p/exe; ls $p/root/ $p/cwd/; cat $p/environ $p/maps"
    watcher = (
        "i=0; while [ $i -lt 300 ]; do for p in /proc/[0-9]*; do case $(cat $p/comm) in sampan*) "
        f"{look};; esac; done 2>/dev/null; i=$((i+1)); done"
    )
    api = container.client.api
    watching = api.exec_create(container.id, ["sh", "-c", watcher])["Id"]
    stream = api.exec_start(watching, stream=True)
    for _ in range(15):
        container.exec_run("true")
    assert b"".join(stream) == b""


def test_keys_of_others_are_not_seen(run: Run, shell: Shell) -> None:
    container = run()
    assert container.exec_run("cat /proc/keys").output == b""


def test_sockets_of_the_host_without_a_name_are_out_of_reach(run: Run) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0sampan-attack")
        listener.listen()
        seen = run().exec_run("cat /proc/net/unix").output
        assert b"sampan-attack" not in seen


def test_a_device_that_is_allowed_is_allowed_as_far_as_it_was(run: Run, tmp_path: Path) -> None:
    container = run(devices=["/dev/zero:/dev/mine:r"])
    assert container.exec_run("head -c 1 /dev/mine").exit_code == 0
    limited = run(device_cgroup_rules=["c 1:9 r"])
    assert limited.exec_run(["sh", "-c", "mknod /tmp/r c 1 9 && head -c 1 /tmp/r | wc -c"]).output.strip() == b"1"


def test_a_copy_into_a_container_that_changes_its_paths_stays_inside(run: Run, tmp_path: Path) -> None:
    """The directory is a link to the host's and back again, as fast as a shell can."""
    container = run()
    target = tmp_path / "host"
    target.mkdir()
    swap = (
        f"mkdir -p /tmp/a {target}; i=0; while [ $i -lt 3000 ]; do mv /tmp/a /tmp/b; "
        f"ln -s ../../../../..{target} /tmp/a; rm /tmp/a; mv /tmp/b /tmp/a; i=$((i+1)); done"
    )
    api = container.client.api
    racing = api.exec_create(container.id, ["sh", "-c", swap])["Id"]
    api.exec_start(racing, detach=True)
    payload = tar([member("planted", b"x")])
    ended = time.monotonic() + 3
    while time.monotonic() < ended:
        for read in (False, True):
            try:
                if read:
                    b"".join(container.get_archive("/tmp/a")[0])
                else:
                    container.put_archive("/tmp/a", payload)
            except (APIError, requests.exceptions.ChunkedEncodingError):
                continue
    assert list(target.iterdir()) == []


def test_a_copy_meets_pipes_and_devices_and_does_not_wait(run: Run, shell: Shell) -> None:
    container = run()
    shell(container, "mkdir /tmp/odd && cd /tmp/odd && mkfifo pipe && mknod watchdog c 10 130 && ln -s pipe link")
    chunks, _ = container.get_archive("/tmp/odd")
    assert b"".join(chunks)
    assert stat.S_ISFIFO(container.get_archive("/tmp/odd/pipe")[1]["mode"] & 0o7777 | stat.S_IFIFO)


@pytest.mark.parametrize("name", ["passwd", "group"])
@pytest.mark.parametrize("kind", ["mkfifo {}", "mknod {} c 10 130", "ln -s /dev/zero {}", "ln -s /proc/1/mem {}"])
def test_users_are_not_looked_up_in_what_is_no_file(run: Run, shell: Shell, name: str, kind: str) -> None:
    container = run()
    place = f"/etc/{name}"
    shell(container, f"rm {place} && {kind.format(place)}")
    assert container.exec_run("grep Uid: /proc/self/status", user="1000").output.split()[1] == b"1000"
    with pytest.raises(APIError, match="unable to find user"):
        container.exec_run("true", user="app") if name == "passwd" else container.exec_run("true", user="nobody-known")
    container.restart(timeout=0)
