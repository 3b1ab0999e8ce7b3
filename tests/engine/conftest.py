"""A real daemon for each test module, on its own roots, driven over its socket by docker-py and the docker CLI.

An autouse fixture compares what the host has before and after each test: mounts, links, processes of ours, cgroups and
the daemon's open files. A difference that stays fails the test.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from engine_daemon import IMAGE, PATIENCE, Daemon, monitors_of, own_subnet, prepared, wait_for
from fault_surroundings import Surroundings


@pytest.fixture(scope="module")
def daemon_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the daemon's roots and socket are; a module may put them elsewhere."""
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def daemon_arguments() -> tuple[str, ...]:
    """Flags of the daemon; a module may want others."""
    return ("--add-runtime", "runc=runc")


@pytest.fixture(scope="module")
def surroundings(daemon_root: Path) -> Surroundings:
    """The daemon's clock and its disk, for modules whose ``daemon_launcher`` is theirs."""
    return Surroundings(daemon_root)


@pytest.fixture(scope="module")
def daemon_launcher() -> tuple[str, ...]:
    """What stands before the daemon's command; a module may want ``surroundings.launcher``."""
    return ()


@pytest.fixture(scope="module")
def daemon(daemon_root: Path, daemon_arguments: tuple[str, ...], daemon_launcher: tuple[str, ...]) -> Iterator[Daemon]:
    """A daemon with the busybox image."""
    assert os.geteuid() == 0, "these tests need root"
    with own_subnet() as subnet:
        yield from prepared(Daemon(daemon_root, subnet, daemon_arguments, launcher=daemon_launcher))


@pytest.fixture
def refusal_to_start(tmp_path: Path) -> Callable[..., str]:
    """What a daemon with these flags says before it ends instead of starting."""

    def start(*arguments: str) -> str:
        with own_subnet() as subnet:
            stray = Daemon(tmp_path, subnet, arguments)
            with pytest.raises(AssertionError):
                stray.start()
            return stray.log

    return start


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    """A docker-py client; what the test leaves behind is removed."""
    with closing(daemon.client()) as made:
        yield made
    with closing(daemon.client()) as cleaner:
        for container in cleaner.containers.list(all=True):
            try:
                container.remove(force=True, v=True)
            except APIError as error:
                assert error.status_code in (404, 409), error
        wait_for(lambda: not cleaner.containers.list(all=True))


@pytest.fixture
def run(client: docker.DockerClient) -> Callable[..., Container]:
    """Start a detached busybox container without network: ``run("sleep 60", name=…)``."""

    def start(command: str | list[str] = "sleep 60", **options: object) -> Container:
        options.setdefault("network_mode", "none")
        return client.containers.run(IMAGE, command, detach=True, **options)

    return start


@pytest.fixture
def shell() -> Callable[..., str]:
    """Output of a script run in a container; its failure fails the test."""

    def execute(container: Container, script: str, **options: object) -> str:
        result = container.exec_run(["sh", "-c", script], **options)
        assert result.exit_code == 0, result.output
        return result.output.decode().strip()

    return execute


@pytest.fixture
def eventually() -> Callable[..., None]:
    """``wait_for``."""
    return wait_for


@dataclass(frozen=True)
class Census:
    """What the host holds that could leak."""

    mounts: int
    links: frozenset[str]
    run_directories: frozenset[str]
    monitors: frozenset[int]
    cgroups: frozenset[str]
    fds: int


def census(daemon: Daemon) -> Census:
    """Count now."""
    assert daemon.process is not None
    run = daemon.root / "run" / "containers"
    cgroups = Path("/sys/fs/cgroup/memory/sampan")
    known = {path.name for path in (daemon.root / "data" / "containers").iterdir()}
    return Census(
        mounts=Path("/proc/self/mountinfo").read_text().count(str(daemon.root)),
        links=frozenset(path.name for path in Path("/sys/class/net").glob("veth*")),
        run_directories=frozenset(path.name for path in run.iterdir()),
        monitors=frozenset(monitors_of(daemon.root).values()),
        cgroups=frozenset(path.name for path in cgroups.iterdir() if path.name in known)
        if cgroups.is_dir()
        else frozenset(),
        fds=len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir())),
    )


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest, daemon: Daemon) -> Iterator[None]:
    """The host has after the test what it had before."""
    before, starts = census(daemon), daemon.started
    yield
    if "client" in request.fixturenames and daemon.started == starts:
        with closing(daemon.client()) as cleaner:
            for container in cleaner.containers.list(all=True):
                container.remove(force=True, v=True)
        deadline = time.monotonic() + PATIENCE
        while (after := census(daemon)) and leaks(before, after) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not leaks(before, after)


SPARE_FDS = 12
"""Files the daemon may keep: caches, prepared namespaces, idle connections, threads' own."""


def leaks(before: Census, after: Census) -> list[str]:
    """What is there now and was not."""
    found = []
    if after.run_directories - before.run_directories:
        found.append(f"run directories {sorted(after.run_directories - before.run_directories)}")
    if after.monitors - before.monitors:
        found.append(f"monitors {sorted(after.monitors - before.monitors)}")
    if after.cgroups - before.cgroups:
        found.append(f"cgroups {sorted(after.cgroups - before.cgroups)}")
    if after.mounts > before.mounts:
        found.append(f"{after.mounts - before.mounts} mounts")
    if after.fds > before.fds + SPARE_FDS:
        found.append(f"{after.fds - before.fds} open files")
    return found


@pytest.fixture
def network(client: docker.DockerClient) -> Iterator[Callable[..., Any]]:
    """Make a network that is removed after its containers."""
    made: list[Any] = []

    def create(name: str, **options: Any) -> Any:
        made.append(client.networks.create(name, **options))
        return made[-1]

    yield create
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    for one in made:
        try:
            one.remove()
        except NotFound:
            continue
