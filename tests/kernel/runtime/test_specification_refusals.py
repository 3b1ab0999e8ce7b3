"""Configurations that the runtime specification forbids or no host could satisfy: a clear error, nothing made.

Source: runtime-spec config.md, config-linux.md ("MUST generate an error"), runtime.md "Create".
"""

import json
from typing import Any

import pytest

from .bundle_config import Change, with_mount, with_namespaces, write
from .conftest import Runtime, cgroup_directories

MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
SECCOMP: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW"}


def seccomp(**members: object) -> Change:
    return {"linux.seccomp": SECCOMP | members}


def rule(**members: object) -> Change:
    return seccomp(syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"} | members])


def limits(*entries: tuple[str, int, int]) -> Change:
    return {"process.rlimits": [{"type": type_, "soft": soft, "hard": hard} for type_, soft, hard in entries]}


def device(**members: object) -> Change:
    return {"linux.devices": [{"path": "/dev/test", "type": "c", "major": 1, "minor": 3} | members]}


REFUSED: dict[str, tuple[Change, str]] = {
    # config.md "Specification version"
    "a version must be given": ({"ociVersion": None}, "ociVersion"),
    "a version is semantic": ({"ociVersion": "1.0"}, "ociVersion"),
    "a version has no words": ({"ociVersion": "1.latest.0"}, "ociVersion"),
    "a later major version is another specification": ({"ociVersion": "2.0.0"}, "ociVersion"),
    # config.md "Root"
    "a root must be given": ({"root": None}, "root"),
    "a root has a path": ({"root": {"readonly": True}}, "root"),
    "the root's directory must exist": ({"root.path": "nowhere"}, "rootfs"),
    "the root is a directory": ({"root.path": "config.json"}, "rootfs"),
    # config.md "Mounts"
    "a mount needs a destination": (with_mount({"type": "tmpfs"}), "destination"),
    "a bind's source must exist": (with_mount({"destination": "/x", "source": "/no/x", "options": ["bind"]}), "/no/x"),
    "a file system must be known": (with_mount({"destination": "/tmp", "type": "nofs"}), "nofs"),
    "a mount has a type or is a bind": (with_mount({"destination": "/tmp", "source": "x"}), "type"),
    "an option must be the file system's": (
        with_mount({"destination": "/tmp", "type": "tmpfs", "options": ["frobnicate"]}),
        "frobnicate",
    ),
    "a bind has no options of a file system": (
        with_mount({"destination": "/tmp", "source": "/tmp", "options": ["bind", "frobnicate"]}),
        "filesystem-specific options applied: frobnicate",
    ),
    "no new file system is mapped": (
        with_mount({"destination": "/tmp", "type": "tmpfs", "uidMappings": MAP, "gidMappings": MAP}),
        "only supported for bind-mounts",
    ),
    "CPUs to run on are a list": ({"process.execCPUAffinity": {"initial": "0", "final": "x"}}, "execCPUAffinity"),
    "nice is of its range": ({"process.scheduler": {"policy": "SCHED_OTHER", "nice": 50}}, "scheduler.nice: 50"),
    "a priority is of real time": ({"process.scheduler": {"policy": "SCHED_BATCH", "priority": 1}}, "priority"),
    "a run time has a deadline": ({"process.scheduler": {"policy": "SCHED_OTHER", "runtime": 5}}, "SCHED_DEADLINE"),
    "a memory policy's mode needs nodes": ({"linux.memoryPolicy": {"mode": "MPOL_BIND"}}, "at least one node"),
    "a memory policy's mode has no nodes": (
        {"linux.memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}},
        "requires 0 nodes but got 1",
    ),
    "both maps of a mount, or none": (
        with_mount({"destination": "/tmp", "source": "/tmp", "options": ["bind", "idmap"], "uidMappings": MAP}),
        "gidMappings",
    ),
    "an idmap needs a map": (
        with_mount({"destination": "/tmp", "source": "/tmp", "options": ["bind", "idmap"]}),
        "idmap",
    ),
    "a recursive idmap needs a map": (
        with_mount({"destination": "/tmp", "source": "/tmp", "options": ["rbind", "ridmap"]}),
        "idmap",
    ),
    "nothing lies inside of procfs": (
        with_mount({"destination": "/proc/sys/net", "source": "/tmp", "options": ["bind"]}),
        "procfs",
    ),
    "nothing but procfs is /proc": (with_mount({"destination": "//proc/", "type": "tmpfs"}), "of type proc"),
    # config.md "Process"
    "a directory must be given": ({"process.cwd": None}, "Cwd"),
    "the directory is absolute": ({"process.cwd": "tmp"}, "absolute"),
    "a program must be given": ({"process.args": []}, "args"),
    "a program must exist": ({"process.args": ["/no/program"]}, "no such file"),
    "an argument has no NUL": ({"process.args": ["sh", "a\0b"]}, "NUL"),
    "a variable has no NUL": ({"process.env": ["A=a\0B=b"]}, "NUL"),
    "a limit's type is the kernel's": (limits(("RLIMIT_PATIENCE", 1, 1)), "RLIMIT_PATIENCE"),
    "a limit is given once": (limits(("RLIMIT_NOFILE", 9, 9), ("RLIMIT_NOFILE", 9, 9)), "twice"),
    "a soft limit is below the hard": (limits(("RLIMIT_NOFILE", 20, 10)), "limit"),
    "a limit has both values": ({"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 1}]}, "hard"),
    "AppArmor must be there": ({"process.apparmorProfile": "acme"}, "AppArmor"),
    "SELinux must be there": ({"process.selinuxLabel": "system_u:system_r:svirt_t:s0"}, "SELinux"),
    "a policy must be known": ({"process.scheduler": {"policy": "SCHED_LUCK"}}, "SCHED_LUCK"),
    "a scheduler's flag must be known": (
        {"process.scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}},
        "SCHED_FLAG_X",
    ),
    "a class must be known": ({"process.ioPriority": {"class": "IOPRIO_CLASS_X", "priority": 1}}, "IOPRIO_CLASS_X"),
    "a priority is 0 to 7": ({"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, "priority"),
    "an OOM score is 1000 at most": ({"process.oomScoreAdj": 1001}, "oom"),
    "a user is a number": ({"process.user": {"uid": "root", "gid": 0}}, "uid"),
    "a user is not negative": ({"process.user": {"uid": -1, "gid": 0}}, "uid"),
    "a user has 32 bits": ({"process.user": {"uid": 1 << 32, "gid": 0}}, "uid"),
    "a group has 32 bits": ({"process.user": {"uid": 0, "gid": 1 << 32}}, "gid"),
    "a further group has 32 bits": ({"process.user": {"uid": 0, "gid": 0, "additionalGids": [-5]}}, "additionalGids"),
    "a umask has nine bits": ({"process.user": {"uid": 0, "gid": 0, "umask": 0o7777}}, "umask"),
    # config.md "Hostname", "Domainname", "Hooks", "Annotations"
    "the host's name stays": ({"hostname": "x"} | with_namespaces(without="uts"), "UTS"),
    "the host's domain stays": ({"hostname": None, "domainname": "x"} | with_namespaces(without="uts"), "UTS"),
    "a hook's path is absolute": ({"hooks": {"createRuntime": [{"path": "bin/true"}]}}, "path"),
    "a hook has a path": ({"hooks": {"poststop": [{"args": ["x"]}]}}, "path"),
    "a hook's time is positive": ({"hooks": {"poststart": [{"path": "/bin/true", "timeout": 0}]}}, "timeout"),
    "a hook's time is not negative": ({"hooks": {"prestart": [{"path": "/bin/true", "timeout": -1}]}}, "timeout"),
    "an annotation has a name": ({"annotations": {"": "x"}}, "annotation"),
    "an annotation is a string": ({"annotations": {"x": 1}}, "annotations"),
    # config-linux.md "Namespaces", "User namespace mappings", "Offset for Time Namespace"
    "a namespace is given once": (with_namespaces({"type": "pid"}), "pid"),
    "a namespace's type must be known": (with_namespaces({"type": "thought"}), "thought"),
    "a namespace's path is absolute": (with_namespaces({"type": "ipc", "path": "ns/ipc"}, without="ipc"), "absolute"),
    "a namespace's path must exist": (with_namespaces({"type": "ipc", "path": "/no/ipc"}, without="ipc"), "/no/ipc"),
    "a namespace's path is of its type": (
        with_namespaces({"type": "ipc", "path": "/proc/self/ns/uts"}, without="ipc"),
        "namespace",
    ),
    "a namespace's path is a namespace": (
        with_namespaces({"type": "ipc", "path": "/etc/passwd"}, without="ipc"),
        "namespace",
    ),
    "maps need a user namespace": ({"linux.uidMappings": MAP, "linux.gidMappings": MAP}, "user namespace"),
    "a user namespace needs maps": (with_namespaces({"type": "user"}), "mapping"),
    "a map has 32 bits": (
        with_namespaces({"type": "user"})
        | {"linux.uidMappings": [{"containerID": 0, "hostID": 1 << 33, "size": 1}], "linux.gidMappings": MAP},
        "mapping",
    ),
    "offsets need a time namespace": ({"linux.timeOffsets": {"boottime": {"secs": 1}}}, "time namespace"),
    "an offset's clock must be known": (
        with_namespaces({"type": "time"}) | {"linux.timeOffsets": {"realtime": {"secs": 1}}},
        "realtime",
    ),
    # config-linux.md "Devices"
    "a device's type must be known": (device(type="x"), "type"),
    "a device's path is absolute": (device(path="dev/test"), "absolute"),
    "a device has a number": ({"linux.devices": [{"path": "/dev/test", "type": "c"}]}, "major"),
    "a device is not put over another file": (device(path="/bin/busybox"), "/bin/busybox"),
    "a rule's type must be known": ({"linux.resources": {"devices": [{"allow": True, "type": "q"}]}}, "type"),
    "a rule's access must be known": (
        {"linux.resources": {"devices": [{"allow": True, "type": "c", "access": "xy"}]}},
        "access",
    ),
    # config-linux.md "Control groups"
    "a processor must exist": ({"linux.resources": {"cpu": {"cpus": "4000"}}}, "cpuset.cpus"),
    "a page size must exist": ({"linux.resources": {"hugepageLimits": [{"pageSize": "3KB", "limit": 1}]}}, "hugetlb"),
    "a device of RDMA has a limit": ({"linux.resources": {"rdma": {"mlx5_1": {}}}}, "rdma"),
    "a weight is given for its device": (
        {"linux.resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}},
        "weight",
    ),
    "a control is a file's name": ({"linux.resources": {"unified": {"../cgroup.procs": "1"}}}, "unified"),
    "the root's cgroup is not a container's": ({"linux.cgroupsPath": "/"}, "cgroup"),
    "a cgroup does not climb out": ({"linux.cgroupsPath": "/../.."}, "cgroup"),
    "resctrl must be there": ({"linux.intelRdt": {"closID": "x"}}, "intelRdt"),
    # config-linux.md "Sysctl"
    "the host's parameters stay": ({"linux.sysctl": {"kernel.panic": "1"}}, "kernel.panic"),
    "the host's network stays": (
        {"linux.sysctl": {"net.ipv4.ip_forward": "1"}} | with_namespaces(without="network"),
        "network namespace",
    ),
    "a parameter does not climb out": ({"linux.sysctl": {"net/../kernel/panic": "1"}}, "sysctl"),
    # config-linux.md "Seccomp"
    "an action must be known": (seccomp(defaultAction="SCMP_ACT_SHOUT"), "SCMP_ACT_SHOUT"),
    "a rule's action must be known": (rule(action="SCMP_ACT_SHOUT"), "SCMP_ACT_SHOUT"),
    "an errno needs an action that gives it": (rule(action="SCMP_ACT_KILL", errnoRet=1), "errnoRet"),
    "a default errno needs an action that gives it": (seccomp(defaultErrnoRet=1), "defaultErrnoRet"),
    "a rule has names": (rule(names=[]), "names"),
    "a comparison must be known": (rule(args=[{"index": 0, "value": 1, "op": "SCMP_CMP_X"}]), "SCMP_CMP_X"),
    "a call has six arguments": (rule(args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]), "index"),
    "an architecture must be known": (seccomp(architectures=["SCMP_ARCH_PDP11"]), "SCMP_ARCH_PDP11"),
    "a filter's flag must be known": (seccomp(flags=["SECCOMP_FILTER_FLAG_X"]), "SECCOMP_FILTER_FLAG_X"),
    "a listener's words need a listener": (seccomp(listenerMetadata="x"), "listenerMetadata"),
    "a notification needs a listener": (rule(action="SCMP_ACT_NOTIFY"), "listenerPath"),
    "a filter does not notify of everything": (
        seccomp(defaultAction="SCMP_ACT_NOTIFY", listenerPath="/no/socket"),
        "SCMP_ACT_NOTIFY",
    ),
    # config-linux.md, its end
    "a propagation must be known": ({"linux.rootfsPropagation": "viral"}, "viral"),
    "a masked path is absolute": ({"linux.maskedPaths": ["proc/kcore"]}, "absolute"),
    "a read-only path is absolute": ({"linux.readonlyPaths": ["proc/sys"]}, "absolute"),
    "a mount label needs SELinux": ({"linux.mountLabel": "system_u:object_r:svirt_t:s0"}, "SELinux"),
    "an execution domain must be known": ({"linux.personality": {"domain": "XENIX"}}, "XENIX"),
    "an execution domain has no flags": ({"linux.personality": {"domain": "LINUX", "flags": ["X"]}}, "flags"),
}
"""What the specification says → the change of the configuration, a word of the error."""


@pytest.mark.parametrize("says", REFUSED)
def test_a_configuration_is_refused_and_nothing_is_made(runtime: Runtime, says: str) -> None:
    change, word = REFUSED[says]
    write(runtime, change)
    status, said = runtime.try_create("one")
    assert status == 1
    assert word.lower() in said.lower()
    assert "Traceback" not in said
    assert not (runtime.directory / "root" / "one").exists()
    assert not any((directory / "one").exists() for directory in cgroup_directories())


def test_a_file_that_is_no_json_is_refused(runtime: Runtime) -> None:
    for text in ("", "{", "[]", json.dumps({"ociVersion": 1}), '{"process": []}', "\xff"):
        (runtime.directory / "config.json").write_text(text, encoding="latin-1")
        status, said = runtime.try_create("one")
        assert status == 1
        assert "config.json" in said
        assert "Traceback" not in said


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_procfs_and_sysfs_are_not_mounted_where_a_link_of_the_root_leads(runtime: Runtime, name: str) -> None:
    (runtime.directory / "other" / "elsewhere").mkdir(parents=True)
    (runtime.directory / "other" / name).symlink_to("/elsewhere")
    write(runtime, {"root.path": "other"})
    status, said = runtime.try_create("one")
    assert status == 1
    assert f"/{name} must be mounted on ordinary directory" in said
    assert not any((runtime.directory / "other" / "elsewhere").iterdir())
