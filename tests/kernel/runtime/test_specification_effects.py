"""What the runtime specification says a container is, read from inside it: each row a configuration and what it shows.

Source: runtime-spec config.md, config-linux.md, runtime-linux.md.
"""

import platform
import resource
from pathlib import Path
from typing import Any

import pytest

from sampan.linux.capabilities import NUMBERS
from sampan.linux.cgroup import hierarchies

from .bundle_config import Change, with_mount, with_namespaces, write
from .conftest import Runtime

MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
TMPFS = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
FLOPPY = {"path": "/dev/f", "type": "b", "major": 7, "minor": 9}
MOUNT_LINE = "grep ' /tmp ' /proc/self/mountinfo | tail -n 1"
V1 = hierarchies().version == 1


def user(**members: object) -> Change:
    return {"process.user": {"uid": 0, "gid": 0} | members}


def held(**sets: list[str]) -> Change:
    return {"process.capabilities": sets}


def mask(*names: str) -> str:
    return f"{sum(1 << NUMBERS[name] for name in names):016x}"


def resources(**members: object) -> Change:
    return {"linux.resources": {"devices": [{"allow": False, "access": "rwm"}]} | members}


def filtered(action: str, **members: object) -> Change:
    return {
        "linux.seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": action} | members],
        }
    }


def in_order(*mounts: dict[str, Any]) -> Change:
    return with_mount(*mounts)


EFFECTS: dict[str, tuple[Change, str, str]] = {
    # config.md: unknown properties, other platforms
    "unknown properties are ignored": (
        {"extra": 1, "process.extra": {}, "root.extra": [], "linux.extra": "x", "linux.resources.extra": 1},
        "echo fine",
        "fine",
    ),
    "other platforms' members are ignored": (
        {"windows": {"layerFolders": ["c:\\"]}, "solaris": {"limitpriv": "x"}, "vm": {"kernel": {"path": "/k"}}},
        "echo fine",
        "fine",
    ),
    "null is as left out": ({"hooks": None, "annotations": {}, "process.rlimits": []}, "echo fine", "fine"),
    # config.md "Root"
    "a read-only root": ({"root.readonly": True}, "touch /x 2>/dev/null || echo no", "no"),
    "a root is writable by default": ({"root": {"path": "rootfs"}}, "touch /tmp/w && rm /tmp/w && echo yes", "yes"),
    # config.md "Mounts"
    "mounts are made in their order": (
        in_order(TMPFS, {"destination": "/tmp/in", "type": "tmpfs"}, {"destination": "/tmp/in/in", "type": "tmpfs"}),
        "grep -c ' /tmp/in' /proc/self/mountinfo",
        "2",
    ),
    "mountinfo lists mounts of every kind in their order": (
        {
            "mounts": [
                {"destination": "/data/1", "source": "/usr", "options": ["rbind"]},
                {"destination": "/data/2", "type": "mqueue"},
                {"destination": "/data/3", "source": "config.json", "options": ["bind", "ro"]},
                {"destination": "/proc", "type": "proc"},
                {"destination": "/data/4", "type": "tmpfs"},
                {"destination": "/data/4/5", "source": "/etc", "options": ["rbind", "rprivate"]},
                {"destination": "/sys", "type": "sysfs"},
                {"destination": "/data/6", "source": "/opt", "options": ["bind", "rslave"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup"},
                {"destination": "/data/7", "source": "/usr", "options": ["bind"]},
            ]
        },
        "awk '$5 !~ /.proc.|cgroup.|firmware/ {print $5}' /proc/self/mountinfo | tail -n +2 | tr '\\n' ' '",
        "/data/1 /data/2 /data/3 /proc /data/4 /data/4/5 /sys /data/6 /sys/fs/cgroup /data/7",
    ),
    "a read-only /dev has its devices and mounts": (
        {
            "mounts": [
                {"destination": "/proc", "type": "proc"},
                {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "ro"]},
                {"destination": "/dev/pts", "type": "devpts"},
            ]
        },
        "touch /dev/x 2>/dev/null || ls -d /dev/full /dev/pts/ptmx | tr '\\n' ' '",
        "/dev/full /dev/pts/ptmx",
    ),
    "a path named twice is masked once": (
        {"linux.maskedPaths": ["/data", "/data"]},
        "grep -c ' /data ' /proc/self/mountinfo",
        "1",
    ),
    "a later mount lies over an earlier": (
        in_order(TMPFS | {"options": ["size=1m"]}, TMPFS | {"options": ["size=2m"]}),
        "df -k /tmp | tail -n 1 | awk '{print $2}'",
        "2048",
    ),
    "a relative destination counts from the root": (
        with_mount({"destination": "tmp/rel", "type": "tmpfs"}),
        "grep -c ' /tmp/rel ' /proc/self/mountinfo",
        "1",
    ),
    "a relative source counts from the bundle": (
        with_mount({"destination": "/tmp/c.json", "source": "config.json", "options": ["bind", "ro"]}),
        "grep -c ociVersion /tmp/c.json",
        "1",
    ),
    "tmpcopyup keeps what was there": (
        with_mount({"destination": "/bin", "type": "tmpfs", "options": ["tmpcopyup"]}),
        "touch /bin/new && test -x /bin/busybox && echo both",
        "both",
    ),
    "a mount of proc, sysfs, devpts, mqueue, shm": (
        {},
        "awk '$9 ~ /^(proc|sysfs|devpts|mqueue)$/ {print $5}' /proc/self/mountinfo | grep -v /proc/ | tr '\\n' ' '",
        "/proc /dev/pts /dev/mqueue /sys",
    ),
    "a procfs lies over another, and a file over one that only tells": (
        with_mount(
            {"destination": "/proc", "source": "/proc", "options": ["rbind"]},
            {"destination": "/proc/uptime", "source": "config.json", "options": ["bind"]},
        ),
        "grep -c ociVersion /proc/uptime",
        "1",
    ),
    # config.md "Process"
    "the directory is the one named": ({"process.cwd": "/etc"}, "pwd", "/etc"),
    "the environment is the one named": (
        {"process.env": ["PATH=/bin", "A=1", "B=x y", "A=2"]},
        "env | grep -v PWD | grep -v SHLVL | grep -v HOME | sort | tr '\\n' ,",
        "A=2,B=x y,PATH=/bin,",
    ),
    "a home is found where none is named": ({"process.env": ["PATH=/bin"]}, "echo $HOME", "/"),
    "a home that is named stays": ({"process.env": ["PATH=/bin", "HOME=/data"]}, "echo $HOME", "/data"),
    "a size without a terminal is ignored": ({"process.consoleSize": {"height": 9, "width": 9}}, "tty", "not a tty"),
    "an OOM score": ({"process.oomScoreAdj": 500}, "cat /proc/self/oom_score_adj", "500"),
    "an OOM score of zero": ({"process.oomScoreAdj": 0}, "cat /proc/self/oom_score_adj", "0"),
    "no new privileges": ({"process.noNewPrivileges": True}, "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    "new privileges": ({"process.noNewPrivileges": False}, "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0"),
    "a scheduler": (
        {"process.scheduler": {"policy": "SCHED_BATCH", "nice": 5}},
        "awk '{print $19, $41}' /proc/self/stat",
        "5 3",
    ),
    "a scheduler with a flag": (
        {"process.scheduler": {"policy": "SCHED_OTHER", "nice": -5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}},
        "awk '{print $19}' /proc/1/stat /proc/self/stat | tr '\\n' ' '",
        "-5 0",
    ),
    "an I/O priority": (
        {"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3}},
        "ionice -p $$",
        "best-effort: prio 3",
    ),
    # config.md "User"
    "user and group": (user(uid=7, gid=8), "echo $(id -u) $(id -g) $(id -G)", "7 8 8"),
    "further groups": (user(gid=1, additionalGids=[5, 6]), "id -G", "1 5 6"),
    "a umask": (user(umask=0o27), "umask", "0027"),
    "an empty umask": (user(umask=0), "umask", "0000"),
    # config.md "Linux Process": the five sets
    "five sets of capabilities": (
        held(
            bounding=["CAP_CHOWN", "CAP_KILL", "CAP_SYSLOG"],
            permitted=["CAP_CHOWN", "CAP_KILL"],
            inheritable=["CAP_KILL"],
            ambient=["CAP_KILL"],
            effective=["CAP_CHOWN"],
        )
        | user(uid=5),
        "grep ^Cap /proc/self/status | awk '{print $2}' | tr '\\n' ' '",
        # a user that is not root keeps what is ambient over an exec, and nothing else
        " ".join([mask("CAP_KILL")] * 3 + [mask("CAP_CHOWN", "CAP_KILL", "CAP_SYSLOG"), mask("CAP_KILL")]),
    ),
    "no capabilities": ({"process.capabilities": {}}, "grep -c ^Cap.*00000000000$ /proc/self/status", "5"),
    # config.md "Hostname", "Domainname"
    "a hostname": ({"hostname": "mrsdalloway"}, "hostname", "mrsdalloway"),
    "a domain": ({"domainname": "foobarbaz.test"}, "cat /proc/sys/kernel/domainname", "foobarbaz.test"),
    # config-linux.md "Namespaces"
    "a type that is left out is the runtime's": (with_namespaces(without="ipc"), "readlink /proc/self/ns/ipc", "{ipc}"),
    "a namespace by its path": (
        with_namespaces({"type": "ipc", "path": "/proc/self/ns/ipc"}, without="ipc"),
        "readlink /proc/self/ns/ipc",
        "{ipc}",
    ),
    "a user namespace with its maps": (
        with_namespaces({"type": "user"}) | {"linux.uidMappings": MAP, "linux.gidMappings": MAP},
        "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' ' | tr '\\n' ';'",
        " 0 100000 65536; 0 100000 65536;",
    ),
    "a time namespace with its offsets": (
        with_namespaces({"type": "time"})
        | {"linux.timeOffsets": {"boottime": {"secs": 1000000000}, "monotonic": {"secs": 86400, "nanosecs": 5}}},
        "cut -c 1-2 /proc/uptime; awk '/monotonic/ {print $2, $3}' /proc/self/timens_offsets",
        "10\n86400 5",
    ),
    # config-linux.md "Devices", runtime-linux.md "Dev symbolic links"
    "the default devices": (
        {},
        "cd /dev; stat -c '%t:%T %a' null zero full random urandom tty | tr '\\n' ,",
        "1:3 666,1:5 666,1:7 666,1:8 666,1:9 666,5:0 666,",
    ),
    "the links of /dev": (
        {},
        "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done | tr '\\n' ,",
        "/proc/self/fd,/proc/self/fd/0,/proc/self/fd/1,/proc/self/fd/2,pts/ptmx,",
    ),
    "a device with mode and owner": (
        {"linux.devices": [FLOPPY | {"fileMode": 0o660, "uid": 3, "gid": 4}]},
        "stat -c '%F %t:%T %a %u:%g' /dev/f",
        "block special file 7:9 660 3:4",
    ),
    "a named pipe": ({"linux.devices": [{"path": "/dev/p", "type": "p"}]}, "stat -c %F /dev/p", "fifo"),
    "a device of a directory that is not there": (
        {"linux.devices": [{"path": "/dev/deep/er/null", "type": "c", "major": 1, "minor": 3}]},
        "echo x > /dev/deep/er/null && echo fine",
        "fine",
    ),
    "a device whose path ends in a slash": (
        {"linux.devices": [FLOPPY | {"path": "/dev//g/"}]},
        "stat -c %t:%T /dev/g",
        "7:9",
    ),
    # config-linux.md "Sysctl", "Masked Paths", "Readonly Paths", "Personality"
    "kernel parameters": (
        {"linux.sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096", "net/ipv4/ip_default_ttl": "65"}},
        "cd /proc/sys; cat net/ipv4/ip_forward kernel/msgmax net/ipv4/ip_default_ttl | tr '\\n' ,",
        "1,4096,65,",
    ),
    "a masked file and a masked directory": (
        {"linux.maskedPaths": ["/proc/cpuinfo", "/proc/fs", "/no/such"]},
        "wc -c < /proc/cpuinfo; ls /proc/fs",
        "0",
    ),
    "a read-only path": (
        {"linux.readonlyPaths": ["/proc/sys", "/no/such"]},
        "echo x > /proc/sys/kernel/hostname || echo no",
        "no",
    ),
    "an execution domain": ({"linux.personality": {"domain": "LINUX32"}}, "uname -m", "i686"),
    "the usual execution domain": ({"linux.personality": {"domain": "LINUX"}}, "uname -m", platform.machine()),
    # config-linux.md "Seccomp"
    "a call gives an error": (
        filtered("SCMP_ACT_ERRNO"),
        "mkdir /tmp/x 2>&1",
        "mkdir: can't create directory '/tmp/x': Operation not permitted",
    ),
    "a call gives a chosen error": (
        filtered("SCMP_ACT_ERRNO", errnoRet=22),
        "mkdir /tmp/x 2>&1",
        "mkdir: can't create directory '/tmp/x': Invalid argument",
    ),
    "a call is traced by nobody": (
        filtered("SCMP_ACT_TRACE"),
        "mkdir /tmp/x 2>&1",
        "mkdir: can't create directory '/tmp/x': Function not implemented",
    ),
    "a call ends its process": (filtered("SCMP_ACT_KILL_PROCESS"), "(mkdir /tmp/x) 2>/dev/null; echo $?", "159"),
    "a call ends its thread": (filtered("SCMP_ACT_KILL"), "(mkdir /tmp/x) 2>/dev/null; echo $?", "159"),
    "a call is trapped": (filtered("SCMP_ACT_TRAP"), "(mkdir /tmp/x) 2>/dev/null; echo $?", "159"),
    "a call is logged": (filtered("SCMP_ACT_LOG"), "mkdir /tmp/x && rmdir /tmp/x && echo made", "made"),
    "a call's argument decides": (
        {
            "linux.seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
                "syscalls": [
                    {
                        "names": ["kill"],
                        "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 1, "value": 18, "op": "SCMP_CMP_EQ"}],
                    }
                ],
            }
        },
        "kill -CONT $$ 2>/dev/null || echo no; kill -0 $$ && echo yes",
        "no\nyes",
    ),
    "all is refused but what is listed": (
        {
            "linux.seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["personality"],
                        "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 0, "value": 8, "valueTwo": 8, "op": "SCMP_CMP_MASKED_EQ"}],
                    }
                ],
            }
        },
        "setarch linux32 true 2>/dev/null || echo no",
        "no",
    ),
    "a filter that comes before the capabilities go need not know the newest calls": (
        {
            "process.noNewPrivileges": False,
            "linux.seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["close_range", "openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
            },
        },
        "ls /proc/$$/fd; true",
        "0\n1\n2",
    ),
    # runtime-linux.md "File descriptors"
    "three descriptors are open": ({}, "ls /proc/$$/fd; true", "0\n1\n2"),
}  # fmt: skip
"""What the specification says → the change of the configuration, a script in the container, its output."""


@pytest.mark.parametrize("says", EFFECTS)
def test_a_configuration_has_its_effect(runtime: Runtime, says: str) -> None:
    change, script, expected = EFFECTS[says]
    done = run(runtime, change, script)
    own = {"ipc": str(Path("/proc/self/ns/ipc").readlink())}
    assert done.stdout.strip() == expected.replace("{ipc}", own["ipc"]).strip(), done.stderr


def run(runtime: Runtime, change: Change, script: str) -> Any:
    """Run the container to its end."""
    write(runtime, {"root.readonly": False} | dict(change), script)
    runtime.made.add("one")
    return runtime.call("run", "--bundle", str(runtime.directory), "one")


OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ro": (("ro",), ("rw",)), "rw": (("rw",), ("ro",)),
    "nosuid": (("nosuid",), ()), "suid": ((), ("nosuid",)),
    "nodev": (("nodev",), ()), "dev": ((), ("nodev",)),
    "noexec": (("noexec",), ()), "exec": ((), ("noexec",)),
    "noatime": (("noatime",), ("relatime",)), "atime": ((), ("noatime",)),
    "nodiratime": (("nodiratime",), ()), "diratime": ((), ("nodiratime",)),
    "relatime": (("relatime",), ()), "norelatime": ((), ("noatime",)),
    "strictatime": ((), ("relatime", "noatime")), "nostrictatime": (("relatime",), ()),
    "nosymfollow": (("nosymfollow",), ()), "symfollow": ((), ("nosymfollow",)),
    "sync": (("sync",), ()), "async": ((), ("sync",)),
    "dirsync": (("dirsync",), ()), "lazytime": (("lazytime",), ()), "nolazytime": ((), ("lazytime",)),
    "silent": (("rw",), ()), "loud": (("rw",), ()), "defaults": (("rw",), ("noexec",)),
    "iversion": (("rw",), ()), "noiversion": (("rw",), ()), "mand": (("rw",), ()), "nomand": (("rw",), ()),
    "remount": (("rw",), ()),
    "size=64k": (("size=64k",), ()), "mode=700": (("mode=700",), ()),
    "private": ((), ("shared:", "master:", "unbindable")), "rprivate": ((), ("shared:", "master:", "unbindable")),
    "shared": (("shared:",), ()), "rshared": (("shared:",), ()),
    "slave": ((), ("shared:",)), "rslave": ((), ("shared:",)),
    "unbindable": (("unbindable",), ()), "runbindable": (("unbindable",), ()),
}  # fmt: skip
"""Option → words the mount's line must have, must not have. Source: config.md "Linux mount options"."""


@pytest.mark.parametrize("option", OPTIONS)
def test_a_mount_option_has_its_effect(runtime: Runtime, option: str) -> None:
    wanted, unwanted = OPTIONS[option]
    words = words_of(run(runtime, with_mount(TMPFS | {"options": [option]}), MOUNT_LINE).stdout)
    assert all(has(words, word) for word in wanted), words
    assert not any(has(words, word) for word in unwanted), words


RECURSIVE = (
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "atime", "nodiratime", "diratime",
    "relatime", "norelatime", "strictatime", "nostrictatime", "nosymfollow", "symfollow",
)  # fmt: skip


@pytest.mark.parametrize("option", RECURSIVE)
def test_a_recursive_option_reaches_the_mounts_below(runtime: Runtime, option: str) -> None:
    wanted, unwanted = OPTIONS[option]
    below = [
        {"destination": "/data", "source": "/dev", "options": ["rbind", f"r{option}"]},
    ]
    script = "grep ' /data/shm ' /proc/self/mountinfo || grep ' /data/pts ' /proc/self/mountinfo"
    words = words_of(run(runtime, with_mount(*below), script).stdout)
    if option not in {"diratime", "dev", "suid", "exec", "symfollow"}:
        assert all(has(words, word) for word in wanted), words
    assert not any(has(words, word) for word in unwanted), words


def words_of(line: str) -> set[str]:
    """The words of a line of mountinfo: attributes, propagation, and the file system's options."""
    assert line, "no such mount"
    fields = line.split()
    dash = fields.index("-")
    attributes, system = set(fields[5].split(",")), set(fields[dash + 3].split(","))
    return attributes | set(fields[6:dash]) | (system - {"ro", "rw"})


def has(words: set[str], word: str) -> bool:
    """Whether a word is there; one that ends in a colon has a number behind it."""
    return word in words if not word.endswith(":") else any(one.startswith(word) for one in words)


PROPAGATIONS = {"shared": "shared:", "slave": "", "private": "", "unbindable": "unbindable"}


@pytest.mark.parametrize("value", PROPAGATIONS)
def test_the_root_has_its_propagation(runtime: Runtime, value: str) -> None:
    done = run(
        runtime, {"linux.rootfsPropagation": value}, "grep ' / / ' /proc/self/mountinfo || cat /proc/self/mountinfo"
    )
    line = done.stdout.splitlines()[0]
    assert has(words_of(line), PROPAGATIONS[value]) if PROPAGATIONS[value] else "shared:" not in line


LIMITS = {
    "CPU": "cpu time", "FSIZE": "file size", "DATA": "data size", "STACK": "stack size", "CORE": "core file size",
    "RSS": "resident set", "NPROC": "processes", "NOFILE": "open files", "MEMLOCK": "locked memory",
    "AS": "address space", "LOCKS": "file locks", "SIGPENDING": "pending signals", "MSGQUEUE": "msgqueue size",
    "NICE": "nice priority", "RTPRIO": "realtime priority", "RTTIME": "realtime timeout",
}  # fmt: skip


NUMBERS_BY_HAND = {"LOCKS": 10}


def below_ours(number: int) -> tuple[int, int]:
    """Soft and hard values that need no rights to raise a limit."""
    hard = resource.getrlimit(number)[1]
    hard = 50_000_000 + number if hard == resource.RLIM_INFINITY else hard
    return hard * 4 // 5, hard


def test_every_resource_limit_is_set(runtime: Runtime) -> None:
    values = {name: below_ours(getattr(resource, f"RLIMIT_{name}", NUMBERS_BY_HAND.get(name, 0))) for name in LIMITS}
    limits = [{"type": f"RLIMIT_{name}", "soft": soft, "hard": hard} for name, (soft, hard) in values.items()]
    done = run(runtime, {"process.rlimits": limits}, "cat /proc/self/limits")
    shown = done.stdout
    assert shown, done
    for name, said in LIMITS.items():
        line = next(line for line in shown.splitlines() if said in line.lower())
        assert tuple(map(int, line[26:68].split()[:2])) == values[name], line


def test_a_limit_may_be_infinite(runtime: Runtime) -> None:
    limit = {"type": "RLIMIT_CORE", "soft": (1 << 64) - 1, "hard": (1 << 64) - 1}
    shown = run(runtime, {"process.rlimits": [limit]}, "grep core /proc/self/limits").stdout
    assert shown.split()[4:6] == ["unlimited", "unlimited"]


def test_a_capability_nobody_knows_is_a_warning(runtime: Runtime) -> None:
    change = held(**{name: ["CAP_CHOWN", "CAP_TIME_TRAVEL"] for name in ("bounding", "effective", "permitted")})
    done = run(runtime, change, "grep CapEff /proc/self/status")
    assert done.stdout.split()[1] == mask("CAP_CHOWN")
    assert "level=warning" in done.stderr
    assert "CAP_TIME_TRAVEL" in done.stderr


CONTROLS: dict[str, tuple[dict[str, Any], str, str]] = {
    "memory": ({"memory": {"limit": 64 << 20}}, "memory/memory.limit_in_bytes", str(64 << 20)),
    "reservation": ({"memory": {"reservation": 32 << 20}}, "memory/memory.soft_limit_in_bytes", str(32 << 20)),
    "swappiness": ({"memory": {"swappiness": 10}}, "memory/memory.swappiness", "10"),
    "oom": ({"memory": {"limit": 64 << 20, "disableOOMKiller": True}}, "memory/memory.oom_control",
            "oom_kill_disable 1"),
    "shares": ({"cpu": {"shares": 500}}, "cpu/cpu.shares", "500"),
    "quota": ({"cpu": {"quota": 30000, "period": 60000}}, "cpu/cpu.cfs_quota_us", "30000"),
    "period": ({"cpu": {"quota": 30000, "period": 60000}}, "cpu/cpu.cfs_period_us", "60000"),
    "cpus": ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset/cpuset.cpus", "0"),
    "pids": ({"pids": {"limit": 50}}, "pids/pids.max", "50"),
    "no limit of pids": ({"pids": {"limit": -1}}, "pids/pids.max", "max"),
}  # fmt: skip


@pytest.mark.skipif(not V1, reason="the files are those of cgroup v1; v2 has its own machine (tests/conformance)")
@pytest.mark.parametrize("name", CONTROLS)
def test_a_limit_is_in_the_containers_cgroup(runtime: Runtime, name: str) -> None:
    limits, file, expected = CONTROLS[name]
    shown = run(runtime, resources(**limits), f"cat /sys/fs/cgroup/{file}").stdout
    assert expected in shown.splitlines(), shown


ONE, ALL = {"type": "c", "major": 10, "minor": 200}, {"type": "c", "major": 10}


@pytest.mark.parametrize(
    ("rules", "denied"),
    [
        ([{"allow": True, **ONE}, {"allow": False, **ALL}], True),
        ([{"allow": False, **ALL}, {"allow": True, **ONE}], False),
        ([{"allow": True, **ALL}, {"allow": False, **ALL, "access": "r"}], True),
        ([{"allow": True, "type": "a", "major": 10, "minor": 200, "access": "r"}], False),
        ([{"allow": True, "type": "a", "major": 10, "minor": 201, "access": "r"}], True),
    ],
)
def test_the_rules_of_devices_count_in_their_order(
    runtime: Runtime, rules: list[dict[str, object]], denied: bool
) -> None:
    whole = [{"allow": False, "access": "rwm"}, *({"access": "rwm"} | rule for rule in rules)]
    change = {
        "linux.resources": {"devices": whole},
        "linux.devices": [{"path": "/dev/tun", "type": "c", "major": 10, "minor": 200}],
    }
    done = run(runtime, change, "head -c 1 /dev/tun")
    assert ("Operation not permitted" in done.stderr) == denied, done.stderr


@pytest.mark.skipif(not V1, reason="the program of cgroup v2 can say it")
def test_what_a_device_list_cannot_say_is_refused(runtime: Runtime) -> None:
    rules = [{"allow": True, **ALL, "access": "rwm"}, {"allow": False, **ONE, "access": "r"}]
    done = run(runtime, {"linux.resources": {"devices": rules}}, "true")
    assert "c 10:200 is part of c 10:*, which an earlier rule allows" in done.stderr
