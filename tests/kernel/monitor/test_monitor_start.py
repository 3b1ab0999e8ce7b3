"""A container's process is made, runs and ends: status, log, failures, isolation."""

import asyncio
import errno
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from sampan.linux.pidfd import wait_ended
from sampan.runtime import plan as p
from sampan.runtime.launch import Ending, Exit, LogFile, StartFailed
from sampan.runtime.monitor import Monitor, read_exit
from sampan.runtime.plan_encoding import encode
from sampan.runtime.protocol import Message


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


async def run(start: Any, launch: Any) -> Exit:
    """Run to the end of all output."""
    monitor = await start(launch)
    ended = await asyncio.wait_for(monitor.wait(), 10)
    await asyncio.wait_for(monitor.drained(), 10)
    return ended


async def test_output_goes_to_the_log_by_stream(box: Any, start: Any) -> None:
    ended = await run(start, box.launch("sh", "-c", "echo out; echo err >&2"))
    assert ended.status == 0
    assert {(line["stream"], line["log"]) for line in entries(box.log)} == {("stdout", "out\n"), ("stderr", "err\n")}


@pytest.mark.parametrize("status", [0, 1, 77, 255])
async def test_the_exit_status_is_told_and_recorded(box: Any, start: Any, status: int) -> None:
    ended = await run(start, box.launch("sh", "-c", f"exit {status}"))
    assert ended.status == status
    assert read_exit(box.state, box.run) == ended


async def test_a_signal_ends_the_process_with_128_and_its_number(box: Any, start: Any) -> None:
    monitor = await start(box.launch("sleep", "100", plan=box.plan(["sleep", "100"])))
    assert await monitor.signal(signal.SIGKILL)
    ended = await monitor.wait()
    assert (ended.status, ended.signal) == (137, signal.SIGKILL)
    await monitor.drained()
    assert not await monitor.signal(signal.SIGTERM)


async def test_a_missing_program_fails_the_start_with_its_name(box: Any, start: Any) -> None:
    with pytest.raises(StartFailed) as failure:
        await start(box.launch("nosuchthing"))
    assert (failure.value.step, failure.value.errno, failure.value.object) == ("execute", errno.ENOENT, "nosuchthing")


async def test_a_program_without_execute_permission_fails_with_eacces(box: Any, start: Any) -> None:
    (box.root / "plain").write_text("text")
    with pytest.raises(StartFailed) as failure:
        await start(box.launch("/plain"))
    assert failure.value.errno == errno.EACCES


async def test_a_program_of_no_known_format_fails_with_enoexec(box: Any, start: Any) -> None:
    (box.root / "plain").write_text("text")
    (box.root / "plain").chmod(0o755)
    with pytest.raises(StartFailed) as failure:
        await start(box.launch("/plain"))
    assert failure.value.errno == errno.ENOEXEC


async def test_a_log_that_cannot_be_opened_fails_the_start(box: Any, start: Any) -> None:
    with pytest.raises(StartFailed) as failure:
        await asyncio.wait_for(start(box.launch("true", log_file=LogFile(box.state / "missing/log"))), 10)
    assert (failure.value.step, failure.value.errno) == ("monitor", errno.ENOENT)


async def test_a_failing_operation_names_itself_and_its_object(box: Any, start: Any) -> None:
    plan = box.plan(["true"], inside=[p.MakeMount(200, "nosuchfs", "", 0)])
    with pytest.raises(StartFailed) as failure:
        await start(box.launch(plan=plan))
    assert (failure.value.step, failure.value.errno) == ("make_mount", errno.ENODEV)
    assert "nosuchfs" in failure.value.object


async def test_the_program_has_no_descriptors_but_its_stdio(box: Any, start: Any) -> None:
    await run(start, box.launch("ls", "/proc/self/fd"))
    # 3 is ls's own, on the directory it lists
    assert [line["log"] for line in entries(box.log)] == ["0\n", "1\n", "2\n", "3\n"]


async def test_the_program_is_pid_1_and_sees_nobody_else(box: Any, start: Any) -> None:
    await run(start, box.launch("sh", "-c", "echo $$; cd /proc; ls -d [0-9]* | cat; readlink /proc/self/cwd"))
    lines = [line["log"].strip() for line in entries(box.log)]
    assert lines[0] == "1" and lines[1] == "1" and len(lines) <= 5


async def test_the_host_is_not_visible_after_pivot_root(box: Any, start: Any) -> None:
    await run(start, box.launch("sh", "-c", "ls /; cat /proc/self/mounts"))
    text = "".join(line["log"] for line in entries(box.log))
    assert "busybox" not in text and "/work" not in text
    assert text.count(" / ") == 1


async def test_the_program_cannot_be_overwritten_through_proc_exe(box: Any, start: Any) -> None:
    """While it is still ours (a pause in the plan) nobody, root of the host included, can write to it."""
    refused: list[int] = []

    async def paused(name: str, pid: int) -> None:
        assert name == "look"
        assert "/memfd:sampan-monitor" in str(Path(f"/proc/{pid}/exe").readlink())
        for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
            try:
                fd = os.open(f"/proc/{pid}/exe", flags)
                try:
                    os.write(fd, b"x")
                finally:
                    os.close(fd)
            except OSError as error:
                refused.append(error.errno or 0)

    monitor = await start(box.launch(plan=box.plan(["true"], inside=[p.Pause("look")])), paused)
    await monitor.drained()
    assert len(refused) == 2 and set(refused) <= {errno.ETXTBSY, errno.EPERM}


async def test_an_error_during_a_pause_ends_the_child_and_is_raised(box: Any, start: Any) -> None:
    pids: list[int] = []

    async def paused(name: str, pid: int) -> None:
        pids.append(pid)
        raise LookupError("no network")

    with pytest.raises(LookupError, match="no network"):
        await start(box.launch(plan=box.plan(["true"], inside=[p.Pause("network")])), paused)
    assert not Path(f"/proc/{pids[0]}").exists()


async def test_killing_the_monitor_kills_its_container(box: Any, start: Any) -> None:
    monitor = await start(box.launch("sleep", "100"))
    pidfd = os.pidfd_open(monitor.pid)
    status = Path(f"/proc/{monitor.pid}/status").read_text()
    parent = int(next(line for line in status.splitlines() if line.startswith("PPid")).split()[1])
    os.kill(parent, signal.SIGKILL)
    ended = await asyncio.wait_for(monitor.wait(), 10)
    assert ended.status == 137
    await asyncio.wait_for(wait_ended(pidfd), 10)
    os.close(pidfd)
    assert read_exit(box.state, box.run) is None


async def test_the_program_ignores_and_blocks_no_signal(box: Any, start: Any) -> None:
    await run(start, box.launch("cat", "/proc/self/status"))
    lines = dict(line["log"].split(":\t") for line in entries(box.log))
    assert int(lines["SigIgn"], 16) == int(lines["SigBlk"], 16) == 0


async def test_a_start_that_is_cancelled_leaves_nothing(box: Any, start: Any) -> None:
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def paused(_name: str, pid: int) -> None:
        seen.set_result(os.pidfd_open(pid))
        await asyncio.Event().wait()

    client = box.client()
    plan = box.plan(["sleep", "1000"], inside=[p.Pause("network")])
    starting = asyncio.create_task(start(box.launch(plan=plan, attached=[client.stream]), paused))
    pidfd = await seen
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.wait_for(wait_ended(pidfd), 10)
    os.close(pidfd)
    assert await client.stream.done is Ending.LOST


async def test_a_damaged_plan_fails_the_start(box: Any, start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode(box.plan(["true"]).operations)
    for damaged in (b"", whole[:20], whole[:-8], b"XXXX" + whole[4:], whole[:16] + b"\xff\xff" + whole[18:]):
        monkeypatch.setattr("sampan.runtime.monitor.encode", lambda _operations, damaged=damaged: damaged)
        with pytest.raises(StartFailed) as failure:
            await start(box.launch("true"))
        assert failure.value.errno == errno.EPROTO


async def test_the_engines_init_forwards_signals_and_passes_the_status_on(box: Any, start: Any) -> None:
    script = "trap 'exit 9' TERM; echo ready; while true; do sleep 0.05; done"
    client = box.client()
    plan = box.plan(["sh", "-c", script], last=[p.DieWithParent(), p.Reap()])
    monitor = await start(box.launch(plan=plan, attached=[client.stream]))
    await client.read_until(b"ready")
    await monitor.signal(signal.SIGTERM)
    assert (await asyncio.wait_for(monitor.wait(), 10)).status == 9


async def test_the_engines_init_reaps_orphans(box: Any, start: Any) -> None:
    script = "(sleep 0.05 &); sleep 0.3; for s in /proc/[0-9]*/stat; do cat $s; done"
    await run(start, box.launch(plan=box.plan(["sh", "-c", script], last=[p.Reap()])))
    assert not [line for line in entries(box.log) if ") Z " in line["log"]]
    assert any("(sampan-init)" in line["log"] for line in entries(box.log))


async def test_a_monitor_that_gets_no_container_is_dismissed(box: Any, start: Any) -> None:
    monitor = Monitor.prepare(start.zygote, "test", box.run, box.state)
    await asyncio.wait_for(monitor.dismiss(), 10)
    await asyncio.wait_for(monitor.drained(), 10)
    await monitor.dismiss()
    assert not list(box.run.iterdir())


async def test_a_prepared_monitor_starts_what_it_is_given_later(box: Any, start: Any) -> None:
    monitor = Monitor.prepare(start.zygote, "test", box.run, box.state)
    await asyncio.sleep(0.05)
    await monitor.launch(box.launch("sh", "-c", "exit 7"))
    assert (await asyncio.wait_for(monitor.wait(), 10)).status == 7
    await asyncio.wait_for(monitor.drained(), 10)
    await monitor.close()


async def test_a_prepared_monitor_ends_with_its_daemon(box: Any, start: Any) -> None:
    connection = start.zygote.monitor("test")
    born, fds, *_ = socket.recv_fds(connection, 4096, 1)
    assert born
    connection.close()
    await asyncio.wait_for(wait_ended(fds[0]), 10)
    os.waitpid(Message.decode(born).v[0], 0)  # noqa: ASYNC222  (it ended: this only reaps)
    os.close(fds[0])
