"""Other processes in a running container."""

import asyncio
import errno
import signal
from typing import Any

import pytest

from sampan.runtime.launch import Ending, MonitorGone, StartFailed


@pytest.fixture
async def running(box: Any, start: Any) -> Any:
    return await start(box.launch("sleep", "1000"))


async def test_an_exec_runs_in_the_containers_namespaces(box: Any, running: Any) -> None:
    client = box.client(framed=False)
    script = "readlink /proc/1/exe; readlink /proc/self/cwd; ls -d /proc/[0-9]* | head -n1; exit 3"
    handle = await running.exec(box.exec(running.pid, "sh", "-c", script, attached=[client.stream]))
    assert await client.read_all() == b"/bin/busybox\n/\n/proc/1\n"
    assert (await handle.wait()).status == 3
    assert await client.stream.done is Ending.FINISHED


async def test_an_exec_has_no_descriptors_but_its_stdio(box: Any, running: Any) -> None:
    client = box.client(framed=False)
    await running.exec(box.exec(running.pid, "ls", "/proc/self/fd", attached=[client.stream]))
    assert await client.read_all() == b"0\n1\n2\n3\n"


async def test_an_execs_input_ends_with_the_clients(box: Any, running: Any) -> None:
    client = box.client(stdin=True, framed=False)
    await running.exec(box.exec(running.pid, "cat", open_stdin=True, attached=[client.stream]))
    await client.write(b"meow")
    client.end_input()
    assert await client.read_all() == b"meow"


async def test_an_exec_may_have_a_terminal(box: Any, running: Any) -> None:
    client = box.client(stdin=True, framed=False)
    launch = box.exec(running.pid, "sh", "-c", "tty; read x; stty size", terminal=True, open_stdin=True,
                      attached=[client.stream])  # fmt: skip
    handle = await running.exec(launch)
    await client.read_until(b"/dev/pts/0")
    await running.resize(10, 20, "e1")
    await client.write(b"\n")
    await client.read_until(b"10 20")
    assert (await handle.wait()).status == 0


async def test_many_execs_run_at_once(box: Any, running: Any) -> None:
    launches = [box.exec(running.pid, "sh", "-c", f"sleep 0.1; exit {n}", exec_id=f"e{n}") for n in range(20)]
    handles = await asyncio.gather(*(running.exec(launch) for launch in launches))
    assert [(await handle.wait()).status for handle in handles] == list(range(20))


async def test_a_missing_program_fails_the_exec_and_nothing_else(box: Any, running: Any) -> None:
    with pytest.raises(StartFailed) as failure:
        await running.exec(box.exec(running.pid, "nosuchthing"))
    assert (failure.value.errno, failure.value.object) == (errno.ENOENT, "nosuchthing")
    assert await running.signal(0)


async def test_a_signal_reaches_the_exec_alone(box: Any, running: Any) -> None:
    handle = await running.exec(box.exec(running.pid, "sleep", "1000"))
    assert await running.signal(signal.SIGTERM, "e1")
    assert (await handle.wait()).status == 128 + signal.SIGTERM
    assert await running.signal(0)
    assert not await running.signal(signal.SIGTERM, "e1")


async def test_execs_end_with_the_container(box: Any, running: Any) -> None:
    handle = await running.exec(box.exec(running.pid, "sleep", "1000"))
    await running.signal(signal.SIGKILL)
    assert (await asyncio.wait_for(handle.wait(), 10)).status == 137
    await asyncio.wait_for(running.drained(), 10)


async def test_a_background_process_keeps_an_exec_no_longer_than_its_grace(box: Any, running: Any) -> None:
    client = box.client(framed=False)
    handle = await running.exec(box.exec(running.pid, "sh", "-c", "sleep 1000 & echo hi", attached=[client.stream]))
    assert (await asyncio.wait_for(handle.wait(), 10)).status == 0
    assert await client.read_all() == b"hi\n"


async def test_an_exec_into_a_container_that_ended_fails(box: Any, start: Any, running: Any) -> None:
    launch = box.exec(running.pid, "true")
    await running.signal(signal.SIGKILL)
    await running.drained()
    with pytest.raises(MonitorGone):
        await running.exec(launch)
    assert not (box.run / "monitor.sock").exists()
