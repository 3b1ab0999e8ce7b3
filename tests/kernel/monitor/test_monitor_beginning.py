"""A process that begins before the rest of its plan is known."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from sampan.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS
from sampan.runtime import plan as p
from sampan.runtime.launch import StartFailed
from sampan.runtime.monitor import Monitor
from sampan.runtime.under_way import UnderWay

ALL = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
PROC = ("proc", "proc", 0xE)


def begin(box: Any, start: Any) -> tuple[UnderWay, Monitor, int]:
    """A process that has made its procfs, into the slot before the one returned."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    slots = p.Slots()
    rest = slots.give(theirs.detach())
    made = p.MakeMount(slots.take(), *PROC)
    operations = (p.Clone(ALL), made, p.ReadPlan(rest, slots.next))
    plan = p.Plan(operations, tuple(slots.fds), owned=tuple(slots.fds))
    monitor = Monitor.prepare(start.zygote, "test", box.run, box.state)
    return UnderWay(monitor, box.launch(plan=plan), ours), monitor, slots.next


def rest_of(box: Any, first: int, arguments: Sequence[str], last: Sequence[p.Operation] = ()) -> p.Plan:
    """What ``Box.plan`` does, but with the procfs that is made already."""
    slots = p.Slots(first)
    whole = box.plan(arguments, slots=slots, last=[*last, p.DieWithParent()])
    operations = [
        p.TakeSlot(one.slot, first - 1) if isinstance(one, p.MakeMount) and one.filesystem == "proc" else one
        for one in whole.operations
        if not isinstance(one, p.Clone)
    ]
    return p.Plan(tuple(operations), tuple(slots.fds))


async def test_the_rest_is_done_when_it_comes(box: Any, start: Any) -> None:
    process, monitor, first = begin(box, start)
    await asyncio.sleep(0.05)
    await process.complete(rest_of(box, first, ["sh", "-c", "test -d /proc/1/fd && exit 7"]))
    assert (await asyncio.wait_for(monitor.wait(), 10)).status == 7
    await process.abandon()
    await monitor.close()


async def test_a_rest_that_came_at_once_is_read_later(box: Any, start: Any) -> None:
    process, monitor, first = begin(box, start)
    await process.complete(rest_of(box, first, ["true"]))
    assert (await asyncio.wait_for(monitor.wait(), 10)).status == 0
    await monitor.close()


async def test_an_abandoned_process_ends_and_leaves_nothing(box: Any, start: Any) -> None:
    process, monitor, _ = begin(box, start)
    await asyncio.sleep(0.05)
    await asyncio.wait_for(process.abandon(), 10)
    await asyncio.wait_for(monitor.drained(), 10)
    assert not list(box.run.iterdir())


@pytest.mark.parametrize("damaged", [p.Plan((p.Pause("hook"),)), p.Plan(()), p.Plan((p.TakeSlot(9, 200),))])
async def test_a_rest_that_cannot_be_done_fails_the_start(box: Any, start: Any, damaged: p.Plan) -> None:
    process, monitor, _ = begin(box, start)
    with pytest.raises(StartFailed) as failure:
        await process.complete(damaged)
    assert failure.value.errno in {errno.EPROTO, errno.EBADF}
    await asyncio.wait_for(monitor.drained(), 10)


@pytest.mark.parametrize("told", [True, False])
async def test_a_program_waits_until_it_is_told(box: Any, start: Any, told: bool) -> None:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    process, monitor, first = begin(box, start)
    slots = p.Slots(first)
    ready = slots.give(reading)
    whole = rest_of(box, slots.next, ["true"], last=[p.WaitSlot(ready)])
    taken = [p.TakeSlot(one.slot, first - 1) if isinstance(one, p.TakeSlot) else one for one in whole.operations]
    completing = asyncio.create_task(process.complete(p.Plan(tuple(taken), tuple(slots.fds), owned=(reading,))))
    await asyncio.sleep(0.1)
    assert not completing.done()
    if told:
        os.write(writing, b"1")
    os.close(writing)
    if told:
        await asyncio.wait_for(completing, 10)
        assert (await asyncio.wait_for(monitor.wait(), 10)).status == 0
    else:
        with pytest.raises(StartFailed) as failure:
            await asyncio.wait_for(completing, 10)
        assert failure.value.errno == errno.ECANCELED
    await asyncio.wait_for(monitor.drained(), 10)
    await monitor.close()
