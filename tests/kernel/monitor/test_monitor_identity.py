"""Who the process is: users, capabilities, limits, seccomp, user namespaces, cgroups."""

import asyncio
import errno
import json
import os
import resource
import struct
from pathlib import Path
from typing import Any

import pytest

from sampan.runtime import plan as p
from sampan.runtime.launch import StartFailed

NEWNS, NEWUSER, NEWPID, NEWCGROUP = 0x20000, 0x10000000, 0x20000000, 0x2000000
CHOWN, SETUID, NET_BIND = 1 << 0, 1 << 7, 1 << 10


@pytest.fixture
def output(box: Any, start: Any) -> Any:
    """What a shell script prints in a container that got further operations last."""

    async def run(script: str, *last: p.Operation, **options: Any) -> str:
        monitor = await start(box.launch(plan=box.plan(["sh", "-c", script], last=last, **options)))
        await asyncio.wait_for(monitor.drained(), 10)
        return "".join(json.loads(line)["log"] for line in box.log.read_text().splitlines())

    return run


def status(text: str) -> dict[str, str]:
    return dict(line.replace("\t", "").split(":", 1) for line in text.splitlines())


async def test_user_group_and_groups(output: Any) -> None:
    assert await output("id", p.SetIds(12, 34, p.group_bytes([34, 56]))) == "uid=12 gid=34 groups=34,56\n"


async def test_another_user_opens_its_stdout_again(output: Any) -> None:
    text = await output("echo one >/proc/self/fd/1; echo two >/proc/self/fd/2", p.SetStdio(12), p.SetIds(12, 34))
    assert sorted(text.split()) == ["one", "two"]


async def test_capabilities_are_exactly_those_given(output: Any) -> None:
    keep = CHOWN | SETUID | NET_BIND
    seen = status(
        await output("cat /proc/self/status", p.DropBounding(keep), p.SetIds(0, 0), p.SetCapabilities(keep, keep, 0))
    )
    assert (int(seen["CapBnd"], 16), int(seen["CapPrm"], 16), int(seen["CapEff"], 16)) == (keep, keep, keep)
    assert (int(seen["CapInh"], 16), int(seen["CapAmb"], 16)) == (0, 0)


async def test_another_user_has_no_capability_unless_ambient(output: Any) -> None:
    keep = CHOWN | NET_BIND
    operations = (p.DropBounding(keep), p.SetIds(12, 34), p.SetCapabilities(NET_BIND, NET_BIND, NET_BIND, NET_BIND))
    seen = status(await output("cat /proc/self/status", *operations))
    assert (int(seen["CapEff"], 16), int(seen["CapAmb"], 16)) == (NET_BIND, NET_BIND)


async def test_limits_umask_and_no_new_privileges(output: Any) -> None:
    operations = (p.SetLimit(resource.RLIMIT_NOFILE, 100, 200), p.SetUmask(0o27), p.NoNewPrivileges())
    text = await output("ulimit -n; ulimit -Hn; umask; cat /proc/self/status", *operations)
    assert text.split()[:3] == ["100", "200", "0027"] and "NoNewPrivs:\t1" in text


async def test_the_oom_score_is_set_by_either_side(output: Any) -> None:
    assert await output("cat /proc/self/oom_score_adj", stage=[p.SetOomScore(300)]) == "300\n"


async def test_scheduling_affinity_and_io_priority(output: Any) -> None:
    operations = (p.SetAffinity(b"\x01"), p.SetScheduler(3), p.SetIoPriority(3 << 13))
    text = await output("cat /proc/self/status; cat /proc/self/sched | head -n 100", *operations)
    assert "Cpus_allowed_list:\t0\n" in text


async def test_a_seccomp_filter_is_installed(output: Any) -> None:
    # load the call's number; mkdir (83 on x86_64) fails with EPERM, all others pass
    program = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in ((0x20, 0, 0, 0), (0x15, 0, 1, 83), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000))
    )
    text = await output("mkdir /x 2>&1 | cat; cat /proc/self/status", p.Seccomp(0, program))
    assert "Operation not permitted" in text and "Seccomp:\t2" in text


async def test_the_working_directory_must_lie_in_the_root(box: Any, start: Any) -> None:
    """CVE-2024-21626: a host directory that is still open must not become the container's working directory."""
    outside = os.open("/", os.O_PATH | os.O_DIRECTORY)
    failures = set()
    for number in range(3, 24):
        slots = p.Slots()
        slots.give(outside)
        plan = box.plan(["true"], slots=slots, last=[p.ChangeDirectory(f"/proc/self/fd/{number}")])
        try:
            await (await start(box.launch(plan=plan))).drained()
        except StartFailed as failure:
            assert failure.step == "change_directory"
            failures.add(failure.errno)
    os.close(outside)
    assert errno.EXDEV in failures


async def test_a_new_user_namespace_maps_its_root(box: Any, start: Any) -> None:
    slots = p.Slots()
    script = "id -u; cat /proc/self/uid_map; stat -c %u /bin/busybox"
    plain = box.plan(["sh", "-c", script]).operations
    rest = [operation for operation in plain if not isinstance(operation, p.Clone | p.MakeNode)]
    box.root.chmod(0o755)
    for parent in box.root.parents:
        parent.chmod(parent.stat().st_mode | 0o111)
    operations = (
        p.SetOomScore(10),
        p.Clone(NEWUSER | NEWNS | NEWPID | 0x4000000 | 0x8000000 | 0x40000000),
        p.MapIds("0 100000 65536", "0 100000 65536"),
        p.SetIds(0, 0),
        p.SetOomScore(300, by_parent=1),
        *rest,
    )
    monitor = await start(box.launch(plan=p.Plan(operations, tuple(slots.fds))))
    await asyncio.wait_for(monitor.drained(), 10)
    lines = [json.loads(line)["log"].split() for line in box.log.read_text().splitlines()]
    assert lines[:2] == [["0"], ["0", "100000", "65536"]]
    assert lines[2] == ["65534"]  # the host's root, not mapped here: this test did not map the mount


async def test_the_child_joins_cgroups_by_itself(box: Any, start: Any) -> None:
    pids = Path("/sys/fs/cgroup/pids")
    if not (pids / "tasks").exists():
        pytest.fail("no v1 pids controller is mounted at /sys/fs/cgroup/pids")
    group = pids / f"sampan-test-{os.getpid()}"
    group.mkdir()
    try:
        slots = p.Slots()
        tasks = os.open(group / "tasks", os.O_WRONLY)
        slot = slots.give(tasks)
        plan = box.plan(["sh", "-c", "cat /proc/self/cgroup"], slots=slots,
                        last=[p.WriteSlot(slot, b"0"), p.Unshare(NEWCGROUP)])  # fmt: skip
        monitor = await start(box.launch(plan=p.Plan(plan.operations, plan.fds, owned=(tasks,))))
        await asyncio.wait_for(monitor.drained(), 10)
        text = "".join(json.loads(line)["log"] for line in box.log.read_text().splitlines())
        assert ":pids:/\n" in text
    finally:
        group.rmdir()


async def test_out_of_memory_is_read_from_the_cgroups_file(box: Any, start: Any, tmp_path: Path) -> None:
    (tmp_path / "events").write_text("low 0\nmax 3\noom 1\noom_kill 1\n")
    monitor = await start(box.launch("true", oom_events=tmp_path / "events"))
    assert (await monitor.wait()).oom_killed
