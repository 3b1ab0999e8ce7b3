"""Namespaces by the specification's names, and the numbers of clone(2).

Source: namespaces(7), include/uapi/linux/sched.h.
"""

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

FLAGS = {
    "user": CLONE_NEWUSER,
    "mount": CLONE_NEWNS,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}
"""The specification's names."""

FILES = {"user": "user", "mount": "mnt", "uts": "uts", "ipc": "ipc", "network": "net", "pid": "pid"} | {
    "cgroup": "cgroup",
    "time": "time",
}
"""Names in /proc/<pid>/ns."""
