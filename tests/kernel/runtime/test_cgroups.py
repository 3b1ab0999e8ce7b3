"""Cgroups of the host's version, and the device program of version 2 wherever a cgroup2 is mounted."""

import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.errors import EngineError, InvalidParameter
from sampan.linux import device_filter
from sampan.linux.cgroup import Cgroup, hierarchies
from sampan.linux.device_filter import DeviceRule
from sampan.oci.runtime_spec import CPU, BlockIO, DeviceCgroup, Memory, Pids, Resources, ThrottleDevice
from sampan.runtime.cgroups import open_cgroup, prepare_cgroup, update

PARENT = f"/sampan-test-cgroups-{os.getpid()}"
VERSION = hierarchies().version


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup, gone afterwards with its parent."""
    made = prepare_cgroup(f"{PARENT}/one", Resources())
    yield made
    made.remove()
    open_cgroup(PARENT).remove()
    assert not any(Path(directory).exists() for directory in open_cgroup(PARENT).directories())


def inside(cgroup: Cgroup, *words: str) -> "subprocess.Popen[bytes]":
    """A process moved into the cgroup before it does anything: it waits for a line."""
    process = subprocess.Popen(
        ["sh", "-c", 'read -r go && "$@"', "sh", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    cgroup.join(process.pid)
    return process


def test_limits_are_in_the_kernels_files(cgroup: Cgroup) -> None:
    update(
        cgroup,
        Resources(memory=Memory(limit=64 << 20), cpu=CPU(shares=1024, quota=50000, period=100000), pids=Pids(9)),
    )
    files = (
        {"memory.limit_in_bytes": str(64 << 20), "cpu.shares": "1024", "cpu.cfs_quota_us": "50000", "pids.max": "9"}
        if VERSION == 1
        else {"memory.max": str(64 << 20), "cpu.weight": "100", "cpu.max": "50000 100000", "pids.max": "9"}
    )
    assert {name: cgroup.read(name) for name in files} == files


def test_memory_and_swap_can_be_raised_and_lowered(cgroup: Cgroup) -> None:
    for limit in (64 << 20, 256 << 20, 32 << 20):
        update(cgroup, Resources(memory=Memory(limit=limit, swap=limit)))
        assert cgroup.stats().memory.limit == limit


def test_a_throttle_is_set_for_a_real_device(cgroup: Cgroup) -> None:
    device = next(path for path in Path("/sys/class/block").iterdir() if not (path / "partition").exists())
    major, minor = map(int, (device / "dev").read_text().split(":"))
    update(cgroup, Resources(block_io=BlockIO(throttle_read_bps_device=[ThrottleDevice(major, minor, 1 << 20)])))
    file = "blkio.throttle.read_bps_device" if VERSION == 1 else "io.max"
    assert f"{major}:{minor}" in cgroup.read(file)


def test_a_refused_value_is_named_with_its_file(cgroup: Cgroup) -> None:
    with pytest.raises(InvalidParameter, match=r'cannot write "4000".*cpuset\.cpus'):
        update(cgroup, Resources(cpu=CPU(cpus="4000")))


def test_a_failed_preparation_leaves_nothing() -> None:
    with pytest.raises(InvalidParameter):
        prepare_cgroup(f"{PARENT}/two", Resources(cpu=CPU(cpus="4000")))
    assert not open_cgroup(f"{PARENT}/two").exists()
    open_cgroup(PARENT).remove()


def test_frozen_processes_stand_still_and_can_be_killed(cgroup: Cgroup) -> None:
    process = inside(cgroup, "true")
    cgroup.freeze()
    assert cgroup.frozen()
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    assert process.poll() is None
    cgroup.kill()
    assert process.wait(10) == -9


def test_removing_kills_what_is_inside(cgroup: Cgroup) -> None:
    process = inside(cgroup, "sleep", "1000")
    assert cgroup.pids() == [process.pid]
    cgroup.remove()
    assert process.wait(10) == -9


def test_running_out_of_memory_is_counted_and_told(cgroup: Cgroup) -> None:
    update(cgroup, Resources(memory=Memory(limit=16 << 20, swap=16 << 20)))
    watch = cgroup.oom_watch()
    process = inside(cgroup, "sh", "-c", "head -c 64m /dev/zero | tail -c 64m")
    process.communicate(b"go\n", timeout=30)
    assert cgroup.oom_kills() >= 1
    assert select.select([watch], [], [], 5)[0] == [watch]
    os.close(watch)


def test_usage_counts_time_memory_and_tasks(cgroup: Cgroup) -> None:
    process = inside(cgroup, "sleep", "1000")
    usage = cgroup.stats()
    assert usage.pids.current == 1
    assert usage.cpu.total > 0 or usage.memory.usage >= 0
    assert usage.memory.limit is None
    assert bool(usage.pressure) == (VERSION == 2)
    cgroup.kill()
    process.wait(10)


def test_devices_of_the_list_are_allowed_and_no_others() -> None:
    made = prepare_cgroup(f"{PARENT}/one", Resources(devices=[DeviceCgroup(False), DeviceCgroup(True, "c", 1, 1, "r")]))
    process = inside(made, "sh", "-c", "echo x > /dev/null && echo null; head -c 1 /dev/kmsg")
    output = process.communicate(b"go\n", timeout=30)[0].decode()
    made.remove()
    open_cgroup(PARENT).remove()
    assert output.startswith("null")
    assert "Operation not permitted" in output


def test_a_cgroup_that_is_there_and_frozen_is_refused() -> None:
    made = prepare_cgroup(f"{PARENT}/cold")
    made.freeze()
    with pytest.raises(EngineError, match="unexpectedly frozen"):
        prepare_cgroup(f"{PARENT}/cold")
    made.thaw()
    made.remove()
    open_cgroup(PARENT).remove()


@pytest.mark.parametrize("denied", [False, True])
def test_what_is_denied_after_everything_was_allowed_is_denied(denied: bool) -> None:
    rules = [DeviceCgroup(True), DeviceCgroup(False, "c", 1, 11)][: 2 if denied else 1]
    made = prepare_cgroup(f"{PARENT}/most", Resources(devices=rules))
    process = inside(made, "sh", "-c", "head -c 1 /dev/kmsg")
    output = process.communicate(b"go\n", timeout=30)[0].decode()
    made.remove()
    open_cgroup(PARENT).remove()
    assert ("Operation not permitted" in output) == denied


def test_the_program_of_version_2_decides_by_type_number_and_access() -> None:
    unified = hierarchies().unified
    assert unified, "no cgroup2 is mounted: the device program cannot be tried"
    directory = Path(unified) / f"sampan-test-devices-{os.getpid()}"
    directory.mkdir()
    rules = [
        DeviceRule(False),
        DeviceRule(True, "c", 1, 3, "r"),
        DeviceRule(True, "c", 1, 5),
        DeviceRule(False, "c", 1, 8),
    ]
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            "read -r go; true < /dev/null && echo r; true > /dev/null || echo no; "
            "true < /dev/zero && echo z; true < /dev/random || echo no",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        device_filter.install(str(directory), [DeviceRule(True)])
        device_filter.install(str(directory), rules)  # in place of the first
        (directory / "cgroup.procs").write_text(str(process.pid))
        output = process.communicate(b"go\n", timeout=30)[0].decode()
    finally:
        process.kill()
        process.wait()
        directory.rmdir()
    assert output.split() == ["r", "no", "z", "no"]
