"""The daemon goes and comes back; the monitor stays."""

import asyncio
import signal
from typing import Any

from sampan.runtime.launch import Ending
from sampan.runtime.monitor import Monitor, read_execs, read_exit


async def again(box: Any, start: Any) -> Monitor:
    monitor = await Monitor.reconnect(box.run, box.state)
    assert monitor is not None
    start.monitors.append(monitor)
    return monitor


async def test_a_new_connection_finds_the_container(box: Any, start: Any) -> None:
    first = await start(box.launch("cat", open_stdin=True))
    second = await again(box, start)
    assert (second.pid, second.started_at) == (first.pid, first.started_at)


async def test_the_container_goes_on_without_a_daemon(box: Any, start: Any) -> None:
    client = box.client(stdin=True, framed=False)
    first = await start(
        box.launch("sh", "-c", "cat; exit 4", open_stdin=True, stdin_once=True, attached=[client.stream])
    )
    first._channel.close()  # what a SIGKILL of the daemon does
    await client.write(b"hello")
    assert await client.read_until(b"hello")
    second = await again(box, start)
    client.end_input()
    assert (await asyncio.wait_for(second.wait(), 10)).status == 4
    await asyncio.wait_for(second.drained(), 10)
    assert '"log":"hello"' in box.log.read_text()


async def test_an_end_nobody_saw_is_on_disk(box: Any, start: Any) -> None:
    first = await start(box.launch("sh", "-c", "sleep 0.1; exit 6"))
    first._channel.close()
    await asyncio.wait_for(first.drained(), 10)
    assert await Monitor.reconnect(box.run, box.state) is None
    exit_ = read_exit(box.state, box.run)
    assert exit_ is not None and exit_.status == 6


async def test_running_execs_are_found_by_their_id(box: Any, start: Any) -> None:
    first = await start(box.launch("sleep", "1000"))
    await first.exec(box.exec(first.pid, "sleep", "1000", exec_id="long"))
    await first.exec(box.exec(first.pid, "sh", "-c", "sleep 0.1; exit 8", exec_id="short"))
    first._channel.close()
    await asyncio.sleep(0.3)
    second = await again(box, start)
    assert set(second.execs) == {"long", "short"}
    assert (await asyncio.wait_for(second.execs["short"].wait(), 10)).status == 8
    assert await second.signal(signal.SIGKILL, "long")
    assert (await asyncio.wait_for(second.execs["long"].wait(), 10)).status == 137


async def test_the_client_of_an_exec_that_was_not_started_is_let_go_when_the_daemon_dies(box: Any, start: Any) -> None:
    first = await start(box.launch("sleep", "1000"))
    client = box.client(stdin=True, framed=False)
    await first._attach(client.stream, 77)
    client.theirs.close()
    first._channel.close()
    assert await asyncio.wait_for(client.read(), 10) == b""
    second = await again(box, start)
    assert not second.execs
    await second.signal(signal.SIGKILL)
    await asyncio.wait_for(second.drained(), 10)


async def test_an_execs_end_is_told_until_it_is_forgotten(box: Any, start: Any) -> None:
    first = await start(box.launch("sleep", "1000"))
    handle = await first.exec(box.exec(first.pid, "sh", "-c", "exit 3"))
    assert (await asyncio.wait_for(handle.wait(), 10)).status == 3
    first._channel.close()  # heard, but not recorded
    second = await again(box, start)
    assert (await asyncio.wait_for(second.execs["e1"].wait(), 10)).status == 3
    await second.forget(second.execs["e1"])
    assert not second.execs
    await second.resize(24, 80)  # answered, so what was said before is heard
    second._channel.close()
    third = await again(box, start)
    assert not third.execs


async def test_execs_that_nobody_recorded_are_written_down_when_the_monitor_goes(box: Any, start: Any) -> None:
    first = await start(box.launch("sleep", "0.4"))
    await first.exec(box.exec(first.pid, "sh", "-c", "exit 5", exec_id="unseen"))
    seen = await first.exec(box.exec(first.pid, "sh", "-c", "exit 6", exec_id="seen"))
    await asyncio.wait_for(seen.wait(), 10)
    await first.forget(seen)
    first._channel.close()
    await asyncio.wait_for(first.drained(), 10)
    assert read_execs(box.run) == {"unseen": 5}


async def test_a_reconnected_daemon_attaches_and_execs(box: Any, start: Any) -> None:
    first = await start(box.launch("cat", open_stdin=True))
    first._channel.close()
    second = await again(box, start)
    client, other = box.client(stdin=True, framed=False), box.client(framed=False)
    await second.attach(client.stream)
    await client.write(b"x\n")
    await client.read_until(b"x\n")
    await second.exec(box.exec(second.pid, "echo", "exec", attached=[other.stream]))
    assert await other.read_all() == b"exec\n"
    assert await other.stream.done is Ending.FINISHED


async def test_two_daemons_hear_the_same_end(box: Any, start: Any) -> None:
    first = await start(box.launch("sleep", "1000"))
    second = await again(box, start)
    await first.signal(signal.SIGKILL)
    assert await first.wait() == await second.wait()
