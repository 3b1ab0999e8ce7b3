"""One daemon for all clients, found by them as their users tell them: DOCKER_HOST."""

import os
from collections.abc import Iterator
from contextlib import closing

import docker
import pytest
from engine_daemon import Daemon, own_subnet, prepared


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the busybox image."""
    assert os.geteuid() == 0, "these tests need root"
    with own_subnet() as subnet:
        yield from prepared(Daemon(tmp_path_factory.mktemp("clients"), subnet))


@pytest.fixture(autouse=True)
def environment(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clients talk to the daemon and leave it as they found it."""
    monkeypatch.setenv("DOCKER_HOST", daemon.url)
    monkeypatch.setenv("DOCKER_CONFIG", str(daemon.root / "config"))
    yield
    with closing(daemon.client()) as client:
        left = [container.name for container in client.containers.list(all=True)]
        left += [network.name for network in client.networks.list(filters={"type": "custom"})]
        left += [volume.name for volume in client.volumes.list()]
        client.containers.prune()
        for container in client.containers.list():
            container.remove(force=True, v=True)
        client.networks.prune()
        client.volumes.prune(filters={"all": True})
    assert not left


@pytest.fixture
def client(daemon: Daemon) -> Iterator[docker.DockerClient]:
    """docker-py, to look at what another client did."""
    with closing(daemon.client()) as made:
        yield made
