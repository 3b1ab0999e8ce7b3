"""The daemon under a service manager: sockets that it is given, the states that it tells, its unit files."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_daemon import Daemon, own_subnet, prepared, wait_for

UNITS = Path(__file__).parents[2] / "src" / "sampan" / "share" / "systemd"
SHORT = 100_000
"""Microseconds of the watchdog in these tests."""


class Manager:
    """The manager's end: what it was told, in order, and how far a test has looked."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.path, self.listens = path, threading.Event()
        self._heard: queue.Queue[list[str]] = queue.Queue()
        self.listens.set()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while data := self._socket.recv(4096):
            self.listens.wait()
            self._heard.put(data.decode().split("\n"))

    def until(self, state: str) -> list[list[str]]:
        """All that is told up to a state."""
        told: list[list[str]] = []
        while not told or state not in told[-1]:
            told.append(self._heard.get(timeout=20))
        return told


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Manager:
    """Who is told."""
    return Manager(tmp_path_factory.mktemp("manager") / "notify")


@pytest.fixture(scope="module")
def daemon(daemon_root: Path, manager: Manager) -> Iterator[Daemon]:
    """A daemon that a manager started."""
    environment = (f"NOTIFY_SOCKET={manager.path}", f"WATCHDOG_USEC={SHORT}")
    with own_subnet() as subnet:
        yield from prepared(Daemon(daemon_root, subnet, launcher=("env", *environment)))


def test_the_manager_hears_of_every_state(daemon: Daemon, manager: Manager) -> None:
    daemon.stop()
    manager.until("STOPPING=1")
    daemon.start()
    assert daemon.process is not None
    assert manager.until(f"MAINPID={daemon.process.pid}")[-1:] == [["READY=1", f"MAINPID={daemon.process.pid}"]]
    manager.until("WATCHDOG=1")
    manager.until("WATCHDOG=1")
    before = time.monotonic_ns() // 1000
    daemon.process.send_signal(signal.SIGHUP)
    _, stamp = manager.until("RELOADING=1")[-1]
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    manager.until("READY=1")
    daemon.process.send_signal(signal.SIGTERM)
    manager.until("STOPPING=1")
    daemon.process.wait(20)
    daemon.start()


def test_a_manager_that_takes_nothing_holds_up_nobody(daemon: Daemon, manager: Manager) -> None:
    manager.listens.clear()
    try:
        wait_for(lambda: "the service manager takes nothing: it was not told WATCHDOG=1" in daemon.log, 60)
        assert daemon.answers()
    finally:
        manager.listens.set()


def test_a_watchdog_of_another_process_is_none_of_ours(daemon: Daemon, manager: Manager) -> None:
    daemon.stop()
    daemon.launcher, before = (*daemon.launcher, "WATCHDOG_PID=1"), daemon.launcher
    daemon.start()
    assert daemon.process is not None
    manager.until(f"MAINPID={daemon.process.pid}")
    daemon.stop()
    assert ["WATCHDOG=1"] not in manager.until("STOPPING=1")
    daemon.launcher = before
    daemon.start()


PASS = """
import os, socket, sys
paths, names = sys.argv[1].split(","), sys.argv[2]
kept = []
for number, path in enumerate(paths, 3):
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    kept.append(listening)
    os.dup2(listening.fileno(), number + 20)
for number in range(len(paths)):
    os.dup2(number + 23, number + 3)
    os.set_inheritable(number + 3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(paths)), LISTEN_FDNAMES=names)
os.execvp(sys.argv[3], sys.argv[3:])
"""


@pytest.fixture
def activated(tmp_path: Path) -> "Iterator[Callable[..., subprocess.Popen[bytes]]]":
    """Start a daemon with sockets it is given: ``activated("fd://", a="<path>", b="<path>")``."""
    started: list[subprocess.Popen[bytes]] = []
    with own_subnet() as subnet:

        def start(host: str, **sockets: Path) -> "subprocess.Popen[bytes]":
            given = (",".join(map(str, sockets.values())), ":".join(sockets))
            roots = ("--data-root", str(tmp_path / "data"), "--exec-root", str(tmp_path / "run"))
            command = (sys.executable, "-m", "sampan.daemon.main", *roots, "-H", host, "--bip", f"{subnet}.1/24")
            with (tmp_path / "log").open("ab") as log:
                started.append(subprocess.Popen([sys.executable, "-c", PASS, *given, *command], stderr=log))
            return started[-1]

        yield start
        for process in started:
            process.terminate()
            process.wait(20)


def ping(path: Path) -> bool:
    """Whether the API answers at a socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in connection.recv(200)
        except OSError:
            return False


def test_all_sockets_that_were_passed_are_served_and_outlive_the_daemon(
    activated: "Callable[..., subprocess.Popen[bytes]]", tmp_path: Path
) -> None:
    process = activated("fd://", api=tmp_path / "one", more=tmp_path / "two")
    wait_for(lambda: ping(tmp_path / "one"), 20)
    assert ping(tmp_path / "two")
    process.terminate()
    process.wait(20)
    assert (tmp_path / "one").is_socket()


def test_a_socket_is_chosen_by_its_name(activated: "Callable[..., subprocess.Popen[bytes]]", tmp_path: Path) -> None:
    activated("fd://more", api=tmp_path / "one", more=tmp_path / "two")
    wait_for(lambda: ping(tmp_path / "two"), 20)
    assert not ping(tmp_path / "one")


def test_a_name_that_no_socket_has_is_refused(
    activated: "Callable[..., subprocess.Popen[bytes]]", tmp_path: Path
) -> None:
    process = activated("fd://other", api=tmp_path / "one")
    assert process.wait(30) == 1
    assert "no sockets found via socket activation named 'other'" in (tmp_path / "log").read_text()


def test_the_unit_files_are_sound(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/usr/bin/env sampan", sys.executable)
        (tmp_path / unit.name).write_text(text)
    units = sorted(str(path) for path in tmp_path.iterdir())
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert (checked.returncode, checked.stderr) == (0, "")
