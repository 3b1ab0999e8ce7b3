"""Texts the kernel writes about cgroups."""

from sampan.linux.cgroup import BlkioEntry, keyed, parse_mountinfo
from sampan.linux.cgroup1 import parse_blkio
from sampan.linux.cgroup2 import parse_io_stat, parse_pressure

SINGLE = """\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""


def test_controllers_beside_a_unified_mount_are_version_1() -> None:
    found = parse_mountinfo(SINGLE)
    assert found.version == 1
    assert found.controllers == {"cpu": "/sys/fs/cgroup/cpu", "name=systemd": "/sys/fs/cgroup/systemd"}
    assert found.unified == "/sys/fs/cgroup/unified"


def test_controllers_mounted_together_share_a_mount() -> None:
    found = parse_mountinfo("1 2 0:1 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n")
    assert found.controllers == {"cpu": "/cg/cpu,cpuacct", "cpuacct": "/cg/cpu,cpuacct"}


def test_a_lone_unified_mount_is_version_2() -> None:
    assert parse_mountinfo("1 2 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n").version == 2


def test_lines_of_other_forms_are_skipped() -> None:
    assert keyed("a 1\nb 2 3\nc max\n") == {"a": 1}


def test_block_counters_of_both_versions_read_alike() -> None:
    expected = [BlkioEntry(8, 0, "read", 5), BlkioEntry(8, 0, "write", 7)]
    assert parse_blkio("8:0 Read 5\n8:0 Write 7\nTotal 12\n") == expected
    assert parse_io_stat("8:0 rbytes=5 wbytes=7 rios=1\n", {"rbytes": "read", "wbytes": "write"}) == expected


def test_pressure_has_some_and_full() -> None:
    text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4\n"
    pressure = parse_pressure(text)
    assert (pressure.some.avg10, pressure.some.total, pressure.full.total) == (1.5, 9, 4)
