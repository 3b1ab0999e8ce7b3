"""Every action that an operation tells of, in order, with its attributes: the table of docs/operations.md."""

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from engine_daemon import IMAGE, Daemon, wait_for

Client = docker.DockerClient
Told = Callable[[], list[dict[str, Any]]]
LABELS = {"l": "v"}
OF_CONTAINER = {"image", "name", "l"}
TICK = ["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"]


@pytest.fixture
def told(client: Client) -> Iterator[Told]:
    """What was told since the last time that it was asked for."""
    since = [time.time()]

    def news() -> list[dict[str, Any]]:
        until = time.time() + 0.01
        found = list(client.api.events(since=since[0], until=until, decode=True))
        since[0] = until
        return found

    yield news


@pytest.fixture
def container(run: Callable[..., Container], told: Told) -> Container:
    made = run(TICK, name="told", labels=LABELS)
    told()
    return made


def rows(events: list[dict[str, Any]]) -> list[tuple[str, set[str]]]:
    """Type and action, and the names of the attributes."""
    return [(f"{event['Type']} {event['Action']}", set(event["Actor"]["Attributes"])) for event in events]


def archive(**files: bytes) -> bytes:
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, content in files.items():
                about = tarfile.TarInfo(name)
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
        return buffer.getvalue()


def detached(container: Container) -> None:
    """An exec whose client types the detach keys."""
    api = container.client.api
    exec_id = api.exec_create(container.id, "cat", stdin=True, tty=True, detach_keys="ctrl-x")["Id"]
    connection = api.exec_start(exec_id, tty=True, socket=True)
    connection._sock.sendall(b"\x18")
    assert connection._sock.recv(1024) is not None
    with suppress(OSError):
        connection._sock.close()


ENDED = [
    ("network disconnect", {"container", "name", "type"}),
    ("container die", OF_CONTAINER | {"exitCode", "execDuration"}),
]
BEGUN = [("network connect", {"container", "name", "type"}), ("container start", OF_CONTAINER)]
SIGNAL = ("container kill", OF_CONTAINER | {"signal"})
EXEC = OF_CONTAINER | {"execID"}

OPERATIONS: tuple[tuple[str, Callable[[Container], object], list[tuple[str, set[str]]]], ...] = (
    ("top", lambda c: c.top(), [("container top", OF_CONTAINER)]),
    ("resize", lambda c: c.resize(10, 20), [("container resize", OF_CONTAINER | {"height", "width"})]),
    ("export", lambda c: list(c.export()), [("container export", OF_CONTAINER)]),
    ("get archive", lambda c: list(c.get_archive("/bin/sh")[0]), [("container archive-path", OF_CONTAINER)]),
    ("put archive", lambda c: c.put_archive("/tmp", archive(file=b"")), [("container extract-to-dir", OF_CONTAINER)]),
    ("rename", lambda c: c.rename("renamed"), [("container rename", OF_CONTAINER | {"oldName"})]),
    ("update", lambda c: c.update(cpu_shares=512), [("container update", OF_CONTAINER)]),
    ("pause", lambda c: c.pause(), [("container pause", OF_CONTAINER)]),
    ("unpause", lambda c: c.unpause(), [("container unpause", OF_CONTAINER)]),
    ("signal", lambda c: c.kill("CONT"), [SIGNAL]),
    ("exec", lambda c: c.exec_run("true"),
     [("container exec_create: true ", EXEC), ("container exec_start: true ", EXEC),
      ("container exec_die", EXEC | {"exitCode"})]),
    ("exec with arguments", lambda c: c.exec_run(["sh", "-c", "exit 4"]),
     [("container exec_create: sh -c exit 4", EXEC), ("container exec_start: sh -c exit 4", EXEC),
      ("container exec_die", EXEC | {"exitCode"})]),
    ("restart", lambda c: c.restart(timeout=5),
     [SIGNAL, *ENDED, ("container stop", OF_CONTAINER), *BEGUN, ("container restart", OF_CONTAINER)]),
    ("stop", lambda c: c.stop(timeout=5), [SIGNAL, *ENDED, ("container stop", OF_CONTAINER)]),
    ("start", lambda c: c.start(), BEGUN),
    ("remove", lambda c: c.remove(force=True), [SIGNAL, *ENDED, ("container destroy", OF_CONTAINER)]),
)  # fmt: skip


def test_operations_on_a_container(container: Container, told: Told) -> None:
    for name, operation, expected in OPERATIONS:
        operation(container)
        found = rows(told())
        assert (name, found) == (name, expected)


def test_an_exec_that_its_client_leaves_is_told_as_detached(client: Client, container: Container) -> None:
    detached(container)
    wait_for(lambda: ("container exec_detach", EXEC) in rows(of_container(client, container)))


def test_images_and_what_makes_them(client: Client, container: Container, told: Told) -> None:
    image = container.commit("committed", "1")
    names = {"name", "l"}
    assert rows(told()) == [
        ("container pause", OF_CONTAINER),
        ("image create", names),
        ("image tag", names),
        ("container commit", OF_CONTAINER | {"comment", "imageID", "imageRef"}),
        ("container unpause", OF_CONTAINER),
    ]
    assert image.tag("other")
    saved = b"".join(image.save(named=True))
    assert rows(told()) == [("image tag", names), ("image save", names)]
    client.images.remove("other")
    client.images.load(saved)
    client.images.remove("committed:1")
    assert [action for action, _ in rows(told())] == ["image untag", "image load", "image untag", "image delete"]
    client.images.prune()
    assert rows(told()) == [("image prune", {"reclaimed"})]


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_build_creates_an_image_and_names_it(daemon: Daemon, client: Client, told: Told, version: str) -> None:
    context = archive(Dockerfile=f"FROM {IMAGE}\nLABEL x=y\n".encode())
    told()
    answer = client.api._post(client.api._url("/build"), params={"t": "built", "version": version}, data=context)
    assert answer.status_code == 200, answer.text
    assert rows(told()) == [("image create", {"name", "x"}), ("image tag", {"name", "x"})]
    client.images.remove("built")
    client.api.prune_builds()
    assert rows(told())[-1] == ("builder prune", {"reclaimed"})


def test_networks_and_volumes(client: Client, run: Callable[..., Container], told: Told) -> None:
    client.networks.create("told")
    client.volumes.create("told")
    assert rows(told()) == [("network create", {"name", "type"}), ("volume create", {"driver"})]
    user = run(network_mode="bridge", volumes=["told:/data"])
    mounted = ("volume mount", {"container", "destination", "driver", "propagation", "read/write"})
    assert mounted in rows(told())
    network = client.networks.get("told")
    network.connect(user)
    network.disconnect(user)
    assert [action for action, _ in rows(told())] == ["network connect", "network disconnect"]
    user.remove(force=True)
    assert ("volume unmount", {"container", "driver"}) in rows(told())
    client.networks.prune()
    client.volumes.prune(filters={"all": True})
    assert rows(told()) == [
        ("network destroy", {"name", "type"}),
        ("network prune", {"reclaimed"}),
        ("volume destroy", {"driver"}),
        ("volume prune", {"reclaimed"}),
    ]


def test_a_prune_of_containers(client: Client, told: Told) -> None:
    client.containers.create(IMAGE, "true", labels=LABELS)
    told()
    client.containers.prune()
    assert rows(told()) == [("container destroy", OF_CONTAINER), ("container prune", {"reclaimed"})]


def test_want_of_memory_and_health(client: Client, run: Callable[..., Container], told: Told) -> None:
    hungry = run(["sh", "-c", "a=x; while :; do a=$a$a; done"], mem_limit="8m", memswap_limit="8m", labels=LABELS)
    hungry.wait()
    wait_for(lambda: ("container oom", OF_CONTAINER) in rows(of_container(client, hungry)))
    check = {"test": ["CMD", "true"], "interval": 10**8}
    well = client.containers.run(IMAGE, "sleep 60", detach=True, healthcheck=check, labels=LABELS)
    wait_for(lambda: ("container health_status: healthy", OF_CONTAINER) in rows(of_container(client, well)))


def of_container(client: Client, container: Container) -> list[dict[str, Any]]:
    return list(client.api.events(since=0, until=time.time() + 0.01, filters={"container": container.id}, decode=True))
