"""Plans performed for a command line: the caller's stdio, create and start apart, hooks, kept descriptors."""

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sampan.linux.unix_socket import listen_beneath
from sampan.runtime import plan as p
from sampan.runtime.launch import StartFailed
from sampan.runtime.spawn import spawn, start_created


@pytest.fixture
def output(tmp_path: Path) -> Any:
    """A file for stdout and stderr, and what was written to it."""

    class Output:
        file = open(tmp_path / "output", "w+b")  # noqa: SIM115  (closed below)

        @property
        def stdio(self) -> tuple[int, int, int]:
            return 0, self.file.fileno(), self.file.fileno()

        def text(self) -> str:
            return (tmp_path / "output").read_text()

    yield Output()
    Output.file.close()


def test_the_callers_stdio_is_the_processs(box: Any, output: Any) -> None:
    ended = spawn(box.plan(["sh", "-c", "echo out; echo err >&2; exit 3"]), stdio=output.stdio, wait=True).wait()
    assert ended.status == 3
    assert output.text() == "out\nerr\n"


def test_a_created_process_waits_for_start(box: Any, output: Any) -> None:
    slots = p.Slots()
    with listen_beneath(box.run, "start.sock") as listener:
        slot = slots.give(listener.fileno())
        plan = box.plan(["sh", "-c", "echo started"], slots=slots, last=[p.WaitStart(slot)])
        spawned = spawn(plan, stdio=output.stdio)
    assert spawned.created
    left = [str(path.readlink()) for path in Path(f"/proc/{spawned.pid}/fd").iterdir()]
    assert sum(name.startswith("socket:") for name in left) == 2  # the listener, and the link whose other end is gone
    pidfd = os.pidfd_open(spawned.pid)
    assert output.text() == ""
    start_created(box.run, "start.sock")
    _wait(pidfd)
    assert output.text() == "started\n"


def test_a_failure_after_start_is_told_to_start(box: Any, output: Any) -> None:
    slots = p.Slots()
    with listen_beneath(box.run, "start.sock") as listener:
        slot = slots.give(listener.fileno())
        plan = box.plan(["/bin/missing"], slots=slots, last=[p.WaitStart(slot)])
        spawn(plan, stdio=output.stdio)
    with pytest.raises(StartFailed) as failure:
        start_created(box.run, "start.sock")
    assert (failure.value.step, failure.value.errno, failure.value.object) == ("execute", errno.ENOENT, "/bin/missing")


def test_a_created_process_can_be_killed(box: Any, output: Any) -> None:
    slots = p.Slots()
    with listen_beneath(box.run, "start.sock") as listener:
        plan = box.plan(["true"], slots=slots, last=[p.WaitStart(slots.give(listener.fileno()))])
        spawned = spawn(plan, stdio=output.stdio)
    pidfd = os.pidfd_open(spawned.pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _wait(pidfd)
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        start_created(box.run, "start.sock")


def test_find_program_fails_before_the_wait(box: Any, output: Any) -> None:
    plan = box.plan(["nosuchthing"], last=[p.FindProgram("nosuchthing", ("PATH=/bin",)), p.WaitStart(9)])
    with pytest.raises(StartFailed) as failure:
        spawn(plan, stdio=output.stdio)
    assert (failure.value.step, failure.value.errno) == ("find_program", errno.ENOENT)


def test_pauses_report_the_pid_in_order(box: Any, output: Any) -> None:
    seen: list[tuple[str, bool]] = []

    def paused(name: str, pid: int) -> None:
        seen.append((name, Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()))

    spawn(box.plan(["true"], inside=[p.Pause("one"), p.Pause("two")]), paused, stdio=output.stdio, wait=True).wait()
    assert seen == [("one", True), ("two", True)]


def test_hooks_run_where_the_child_is_and_get_the_state(box: Any, output: Any) -> None:
    hook = p.RunHook(
        "/bin/sh",
        ("sh", "-c", "cat; echo $WHERE; hostname >&2; exit 3"),
        ("WHERE=inside", "PATH=/bin"),
        b"{state ",
        b"}\n",
        name="test hook #0",
    )
    with pytest.raises(StartFailed) as failure:
        spawn(box.plan(["true"], last=[p.SetHostname("boxed"), hook]), stdio=output.stdio)
    said = "test hook #0: exit status 3, stdout: {state 1}\ninside\n, stderr: boxed\n"
    assert (failure.value.object, str(failure.value)) == (said, f"error running {said}")
    assert output.text() == ""


@pytest.mark.parametrize(("script", "number"), [("exit 7", errno.ECHILD), ("sleep 9", errno.ETIMEDOUT)])
def test_a_failing_hook_fails_the_start(box: Any, output: Any, script: str, number: int) -> None:
    hook = p.RunHook("/bin/sh", ("sh", "-c", script), ("PATH=/bin",), b"", b"", 200)
    with pytest.raises(StartFailed) as failure:
        spawn(box.plan(["true"], last=[hook]), stdio=output.stdio)
    assert (failure.value.step, failure.value.errno) == ("run_hook", number)


def test_kept_descriptors_become_three_and_up(box: Any, output: Any, tmp_path: Path) -> None:
    slots = p.Slots()
    (tmp_path / "kept").write_text("kept!")
    with open(tmp_path / "kept") as kept:
        slots.give(kept.fileno())
        plan = box.plan(["true"], slots=slots)
        last = p.Execute("sh", ("sh", "-c", "cat <&3; ls /proc/self/fd"), ("PATH=/bin",), keep=1)
        spawn(p.Plan((*plan.operations[:-1], last), plan.fds), stdio=output.stdio, wait=True).wait()
    assert output.text() == "kept!0\n1\n2\n3\n4\n"


def test_a_terminals_master_comes_back(box: Any, output: Any) -> None:
    spawned = spawn(box.plan(["tty"], terminal=True), stdio=output.stdio, wait=True)
    assert spawned.console is not None
    text = os.read(spawned.console, 100)
    os.close(spawned.console)
    assert text == b"/dev/pts/0\r\n"
    assert spawned.wait().status == 0


def _wait(pidfd: int) -> None:
    import select

    from sampan.linux.pidfd import has_ended

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(10_000)
    assert has_ended(pidfd)
    os.close(pidfd)
