"""Settings of the daemon that act on the machine or on all containers: each has its effect."""

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import docker
import pytest
from engine_daemon import IMAGE, Daemon, wait_for


@pytest.fixture(scope="module")
def daemon_arguments() -> tuple[str, ...]:
    """No firewall rules, containers that end with the daemon, and a preference when memory runs out."""
    return ("--iptables=false", "--ip6tables=false", "--live-restore=false", "--oom-score-adjust=300")


def test_without_iptables_no_rules_are_made_and_published_ports_answer_all_the_same(
    daemon: Daemon, client: docker.DockerClient
) -> None:
    before = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve = "echo published > /tmp/index.html; httpd -f -p 80 -h /tmp"
    client.containers.run(IMAGE, ["sh", "-c", serve], detach=True, ports={"80/tcp": ("127.0.0.1", port)})

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                return bool(answer.read() == b"published\n")
        except OSError:
            return False

    wait_for(answers)
    assert subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout == before


def test_the_kernel_knows_whom_to_end_first(daemon: Daemon) -> None:
    assert daemon.process is not None
    assert Path(f"/proc/{daemon.process.pid}/oom_score_adj").read_text() == "300\n"


def test_without_live_restore_a_daemon_that_ends_stops_its_containers_and_policies_hold(
    daemon: Daemon, client: docker.DockerClient
) -> None:
    trap = ["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"]
    always = client.containers.run(IMAGE, trap, detach=True, restart_policy={"Name": "always"}, network_mode="none")
    never = client.containers.run(IMAGE, trap, detach=True, network_mode="none")
    pid = never.client.api.inspect_container(never.id)["State"]["Pid"]
    daemon.stop()
    assert not Path(f"/proc/{pid}").exists()
    daemon.start()
    again = daemon.client()
    wait_for(lambda: again.containers.get(always.id).status == "running")
    ended = again.containers.get(never.id)
    assert (ended.status, ended.attrs["State"]["ExitCode"]) == ("exited", 5)
    again.close()


def test_a_signal_asks_for_the_stacks_and_ends_nothing(daemon: Daemon) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: "stacks written to" in daemon.log)
    (written,) = (daemon.root / "run").glob("stacks-*.log")
    assert "Thread MainThread" in written.read_text()
    assert daemon.cli("version").returncode == 0


def test_default_log_options_that_are_none_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    roots = ("--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "run"), "-H", f"unix://{tmp_path}/s")
    command = [str(Path(sys.executable).with_name("sampan")), "daemon", *roots, "--pidfile", str(tmp_path / "pid")]
    ran = subprocess.run([*command, "--log-opt", "nope=1"], check=False, capture_output=True, text=True, timeout=20)
    assert ran.returncode != 0
    assert "failed to set log opts: unknown log opt 'nope' for json-file log driver" in ran.stdout + ran.stderr
