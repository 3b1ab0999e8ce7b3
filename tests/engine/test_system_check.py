"""``sampan system check`` on the data root of a real daemon: refused while it runs, clean after it is killed."""

import io
import signal
import subprocess
import sys
from typing import Any

CHECK = (sys.executable, "-m", "sampan.cli.main", "system", "check", "--data-root")


def check(daemon: Any, *flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*CHECK, str(daemon.root / "data"), *flags], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_running_daemons_data_root_is_left_alone(daemon: Any) -> None:
    refused = check(daemon, "--repair")
    assert refused.returncode == 1
    assert "a daemon is using" in refused.stderr


def test_after_a_kill_nothing_is_damaged(daemon: Any, client: Any, run: Any) -> None:
    dockerfile = io.BytesIO(b"FROM busybox:latest\nRUN echo built > /built\n")
    client.images.build(fileobj=dockerfile, tag="built:1", rm=True)
    client.volumes.create("kept")
    client.networks.create("own", driver="bridge")
    runs, stopped = run("sleep 60", volumes=["kept:/kept"]), client.containers.create("built:1", "cat /built")
    try:
        daemon.stop(signal.SIGKILL)
        found = check(daemon)
        assert found.returncode == 0, found.stdout
        assert "damaged" not in found.stdout
        daemon.start()
        assert client.containers.get(runs.id).status == "running"
        assert client.containers.get(stopped.id).status == "created"
    finally:
        runs.remove(force=True)
        stopped.remove(force=True)
        client.networks.get("own").remove()
        client.volumes.get("kept").remove()


def test_a_broken_blob_is_repaired_and_the_image_works_on(daemon: Any, client: Any, run: Any) -> None:
    daemon.stop()
    layer = max((daemon.root / "data" / "content" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    with layer.open("r+b") as file:
        file.write(b"damage")
    assert check(daemon).returncode == 1
    assert check(daemon, "--repair").returncode == 0
    assert check(daemon).returncode == 0
    daemon.start()
    assert run("true").wait()["StatusCode"] == 0
