"""The monitor killed at every system call of every operation: the container has ended, and that is all.

For each operation the monitor's system calls are counted in a run that is left alone; then it is done again and the
monitor is killed before chosen ones (``SAMPAN_FAULTS`` of them, 5 by default; ``all`` takes each). The daemon goes on,
says that the container ended, keeps no zombie and no leftover, and the container starts again. Counts are printed.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import docker
import pytest
import requests
from docker.errors import APIError
from engine_daemon import IMAGE, Daemon, monitors_of, wait_for
from monitor_steps import Tracer

pytestmark = pytest.mark.timeout(900)
WANTED = os.environ.get("SAMPAN_FAULTS", "5")


class Operation(NamedTuple):
    """``act`` is done on a container that runs (or, when ``starts``, on one that does not yet)."""

    act: Callable[[docker.DockerClient, Any], object]
    starts: bool = False
    command: tuple[str, ...] = ("sleep", "600")
    terminal: bool = False


def attached(client: docker.DockerClient, container: Any) -> None:
    connection = client.api.attach_socket(container.id, params={"stdin": 1, "stdout": 1, "stream": 1})
    with closing(connection):
        connection._sock.sendall(b"hello\n")
        connection._sock.settimeout(2)
        connection._sock.recv(100)


def followed(client: docker.DockerClient, container: Any) -> None:
    for _, line in zip(range(20), container.logs(stream=True, follow=True), strict=False):
        assert line


def executed(client: docker.DockerClient, container: Any) -> None:
    container.exec_run(["sh", "-c", "echo out; exit 3"])


def exec_with_terminal(client: docker.DockerClient, container: Any) -> None:
    container.exec_run(["sh", "-c", "stty size"], tty=True, stdin=True)


LOOP = ("sh", "-c", "while :; do echo line; usleep 1000; done")
OPERATIONS = {
    "start": Operation(lambda _, container: container.start(), starts=True),
    "start with a terminal": Operation(lambda _, container: container.start(), starts=True, terminal=True),
    "exec": Operation(executed),
    "exec with a terminal": Operation(exec_with_terminal),
    "attach": Operation(attached, command=("cat",)),
    "attach to a terminal": Operation(attached, command=("cat",), terminal=True),
    "resize": Operation(lambda _, container: container.resize(40, 100), terminal=True),
    "stop": Operation(lambda _, container: container.stop(timeout=0)),
    "signal": Operation(lambda _, container: container.kill("USR1")),
    "logs": Operation(followed, command=LOOP),
    "restart": Operation(lambda _, container: container.restart(timeout=0)),
}
TALLY: dict[str, int] = {}
LOST: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def counts(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the suite prints."""
    yield
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(f"\nmonitors killed: {sum(TALLY.values())} {TALLY}, things lost: {len(LOST)}")


def make(client: docker.DockerClient, operation: Operation) -> Any:
    container = client.containers.create(
        IMAGE, list(operation.command), tty=operation.terminal, stdin_open=True, network_mode="none",
        stop_signal="SIGKILL", labels={"mine": "yes"},
    )  # fmt: skip
    if not operation.starts:
        container.start()
    return container


def follow(daemon: Daemon, container: Any, operation: Operation, step: int) -> Tracer:
    if operation.starts:
        return Tracer.follow("zygote", zygote_of(daemon), step)
    return Tracer.follow("monitor", monitors_of(daemon.root)[container.id], step)


def children(daemon: Daemon) -> dict[int, list[str]]:
    """Processes whose parent is the daemon: the words of /proc/<pid>/stat after the name."""
    assert daemon.process is not None
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            words = path.read_text().rpartition(")")[2].split()
            if int(words[1]) == daemon.process.pid:
                found[int(path.parent.name)] = words
    return found


def zygote_of(daemon: Daemon) -> int:
    for pid in children(daemon):
        if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1] == b"zygote":
            return pid
    raise AssertionError("no zygote")


def zombies(daemon: Daemon) -> list[int]:
    return [(pid, Path(f"/proc/{pid}/comm").read_text()) for pid, words in children(daemon).items() if words[0] == "Z"]


def act(client: docker.DockerClient, container: Any, operation: Operation) -> None:
    """The operation, and what its client may be told when the monitor dies in the middle of it."""
    with suppress(APIError, OSError, requests.RequestException):
        operation.act(client, container)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_monitor_killed_at_any_step_ends_its_container_and_nothing_else(
    daemon: Daemon, client: docker.DockerClient, run: Callable[..., Any], name: str
) -> None:
    operation = OPERATIONS[name]
    other = run("sleep 600", stop_signal="SIGKILL")
    container = make(client, operation)
    tracer = follow(daemon, container, operation, 0)
    operation.act(client, container)
    total = tracer.seen()
    assert total > 2
    container.remove(force=True)
    for step in chosen(min(total, 400)):
        container = make(client, operation)
        killing = follow(daemon, container, operation, step)
        working = threading.Thread(target=act, args=(client, container, operation))
        working.start()
        working.join(20)
        assert not working.is_alive(), f"step {step} of {total}: the client waits for ever"
        killing.seen()
        settled(daemon, client, container, f"step {step} of {total}")
        TALLY[name] = TALLY.get(name, 0) + 1
        container.remove(force=True)
    other.reload()
    assert other.status == "running"
    assert other.exec_run("true").exit_code == 0


def settled(daemon: Daemon, client: docker.DockerClient, container: Any, where: str) -> None:
    """The API and the host agree about the container, and it can be started."""

    def agrees() -> bool:
        container.reload()
        live = container.status == "running"
        return live == (container.id in monitors_of(daemon.root)) and not zombies(daemon)

    try:
        wait_for(agrees)
    except AssertionError:
        LOST.append(where)
        found = (container.status, container.id in monitors_of(daemon.root), zombies(daemon))
        raise AssertionError(f"{where}: status, monitor, zombies are {found}") from None
    if container.status != "running":
        container.start()
        container.reload()
    assert container.status == "running", where


def chosen(total: int) -> list[int]:
    """The steps to kill at."""
    wanted = total if WANTED == "all" else min(int(WANTED), total)
    return sorted({1 + at * (total - 1) // max(1, wanted - 1) for at in range(wanted)})
