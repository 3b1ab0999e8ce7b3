"""``sampan system check`` on the data root of a real daemon: refused while it runs, clean after it is killed."""

import io
import signal
import subprocess
import sys
from pathlib import Path
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


def test_what_a_dead_daemon_left_on_the_host_is_taken_away(daemon: Any, client: Any, run: Any, network: Any) -> None:
    web, one = network("web"), run("sleep 60", network_mode="bridge", stop_signal="SIGKILL")
    bridge = Path("/sys/class/net", f"br-{web.id[:12]}")
    daemon.stop(signal.SIGKILL)
    try:
        refused = clean(daemon)
        assert (refused.returncode, "containers run on network bridge" in refused.stderr) == (1, True)
        daemon.start()
        one.remove(force=True)
        daemon.stop(signal.SIGKILL)
        cleaned = clean(daemon)
        assert cleaned.returncode == 0, cleaned.stderr
        assert f"removed: bridge {bridge.name}" in cleaned.stdout
        (table,) = (line.split()[-1] for line in cleaned.stdout.splitlines() if "table" in line)
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, check=True, text=True).stdout
        assert (bridge.exists(), table in tables) == (False, False)
    finally:
        if daemon.process is None:
            daemon.start()
    assert bridge.exists()


def clean(daemon: Any) -> "subprocess.CompletedProcess[str]":
    words = [*CHECK[:-2], "clean", "--data-root", str(daemon.root / "data")]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
