"""Containers of other OCI runtimes under our monitor."""

import asyncio
import errno
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.runtime import plan as p
from sampan.runtime.launch import ExecLaunch, External, StartFailed

PATH = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin",)


class Runtime:
    """One OCI runtime with a state directory of its own, and a bundle of the box."""

    def __init__(self, program: str, box: Any) -> None:
        assert shutil.which(program), f"package {program} is missing"
        self.program, self.box, self.name = program, box, f"sampan-test-{box.root.parent.name}"
        self.bundle: Path = box.root.parent

    def configure(self, *arguments: str, terminal: bool = False) -> None:
        subprocess.run(["runc", "spec"], cwd=self.bundle, check=True)
        config = json.loads((self.bundle / "config.json").read_text())
        config["process"] |= {"args": arguments, "terminal": terminal}
        config["process"]["rlimits"] = []
        config["root"] = {"path": "root"}
        (self.bundle / "config.json").write_text(json.dumps(config))

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "--root", str(self.bundle / "state-of-runtime"), *arguments]

    def plan(self, *arguments: str) -> p.Plan:
        command = self.command(*arguments)
        return p.Plan((p.Clone(0), p.SetStdio(0), p.Execute(command[0], tuple(command), PATH)))

    def create(self, console: Path | None = None) -> p.Plan:
        more = ("--console-socket", str(console)) if console else ()
        return self.plan(
            "create", "--bundle", str(self.bundle), "--pid-file", str(self.box.run / "pid"), *more, self.name
        )

    def __call__(self, *arguments: str) -> None:
        subprocess.run(self.command(*arguments), check=True, capture_output=True)


@pytest.fixture
def runtime(box: Any) -> Iterator[Runtime]:
    runtime = Runtime("runc", box)  # crun 1.8 refuses hosts whose cgroups are partly v1 and partly v2
    yield runtime
    subprocess.run(runtime.command("delete", "--force", runtime.name), check=False, capture_output=True)


async def test_output_status_and_exec_of_a_container_of_another_runtime(box: Any, start: Any, runtime: Any) -> None:
    runtime.configure("sh", "-c", "echo hello; read x; exit 5")
    client, other = box.client(stdin=True, framed=False), box.client(framed=False)
    monitor = await start(
        box.launch(plan=runtime.create(), external=External(box.run / "pid"), open_stdin=True, attached=[client.stream])
    )
    runtime("start", runtime.name)
    await client.read_until(b"hello")
    process = box.run / "process.json"
    process.write_text(json.dumps({"args": ["sh", "-c", "echo inside; exit 3"], "cwd": "/", "env": ["PATH=/bin"],
                                   "user": {"uid": 0, "gid": 0}}))  # fmt: skip
    plan = runtime.plan(
        "exec", "--detach", "--process", str(process), "--pid-file", str(box.run / "exec-pid"), runtime.name
    )
    external = External(box.run / "exec-pid")
    handle = await monitor.exec(ExecLaunch(exec_id="e", plan=plan, attached=[other.stream], external=external))
    assert await other.read_all() == b"inside\n"
    assert (await handle.wait()).status == 3
    await client.write(b"\n")
    assert (await asyncio.wait_for(monitor.wait(), 10)).status == 5
    await monitor.drained()
    assert "hello" in box.log.read_text()


async def test_a_terminal_of_another_runtime(box: Any, start: Any, runtime: Any) -> None:
    runtime.configure("tty", terminal=True)
    client = box.client(framed=False)
    console = Path(f"/tmp/{runtime.name[-60:]}.sock")
    try:
        await start(
            box.launch(plan=runtime.create(console), external=External(box.run / "pid", console), terminal=True,
                       open_stdin=True, attached=[client.stream])
        )  # fmt: skip
        runtime("start", runtime.name)
        assert await client.read_all() == b"/dev/pts/0\r\n"
    finally:
        console.unlink(missing_ok=True)


async def test_a_runtime_that_fails_fails_the_start(box: Any, start: Any, runtime: Any) -> None:
    with pytest.raises(StartFailed) as failure:
        await start(box.launch(plan=runtime.create(), external=External(box.run / "pid")))
    assert failure.value.errno == errno.ECHILD and "exit status 1" in failure.value.object
