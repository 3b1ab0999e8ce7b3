"""testcontainers: containers for the length of a test, waited for in its ways."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcontainers.core import config, wait_strategies
from testcontainers.core.container import DockerContainer
from testcontainers.core.image import DockerImage
from testcontainers.core.network import Network

SERVER = "mkdir -p /www; echo served > /www/index.html; echo up; exec httpd -f -p 80 -h /www"


@pytest.fixture(autouse=True)
def no_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own reaper is an image of Docker Hub."""
    monkeypatch.setattr(config.testcontainers_config, "ryuk_disabled", True)


@pytest.fixture
def server() -> Iterator[DockerContainer]:
    """A web server on port 80, answering."""
    made = DockerContainer("busybox").with_command(["sh", "-c", SERVER]).with_exposed_ports(80)
    made.with_kwargs(init=True).waiting_for(wait_strategies.HttpWaitStrategy(80).for_status_code(200))
    with made as running:
        yield running


def test_a_mapped_port_leads_into_the_container(server: DockerContainer) -> None:
    url = f"http://{server.get_container_host_ip()}:{server.get_exposed_port(80)}/"
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"served\n"
    assert server.get_logs() == (b"up\n", b"")


@pytest.mark.parametrize(
    "strategy",
    [
        wait_strategies.LogMessageWaitStrategy("up"),
        wait_strategies.HealthcheckWaitStrategy(),
        wait_strategies.ContainerStatusWaitStrategy(),
        wait_strategies.PortWaitStrategy(80),
    ],
    ids=lambda strategy: type(strategy).__name__,
)
def test_a_container_is_waited_for(strategy: wait_strategies.WaitStrategy) -> None:
    made = DockerContainer("busybox").with_command(["sh", "-c", SERVER]).with_exposed_ports(80).waiting_for(strategy)
    with made.with_kwargs(init=True, healthcheck={"test": ["CMD", "true"], "interval": 100_000_000}) as running:
        result = running.exec(["sh", "-c", "echo inside; exit 3"])
    assert (result.exit_code, result.output) == (3, b"inside\n")


def test_containers_meet_by_their_aliases() -> None:
    with Network() as network:
        one = DockerContainer("busybox").with_command(["sh", "-c", SERVER]).with_kwargs(init=True)
        one.with_network(network).with_network_aliases("web").waiting_for(wait_strategies.LogMessageWaitStrategy("up"))
        two = DockerContainer("busybox").with_command(["sleep", "60"]).with_kwargs(init=True).with_network(network)
        with one, two:
            assert two.exec(["sh", "-c", "until wget -qO- http://web; do sleep 0.1; done"]).output.endswith(b"served\n")


def test_files_go_in_and_come_out(tmp_path: Path) -> None:
    made = DockerContainer("busybox").with_command(["sleep", "60"]).with_kwargs(init=True)
    with made.with_copy_into_container(b"given", "/tmp/given") as running:
        running.copy_from_container("/tmp/given", tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"given"


def test_an_image_is_built_for_the_test(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nARG WORD\nRUN echo $WORD > /word\nCMD cat /word\n")
    with DockerImage(path=tmp_path, tag="tested:latest", buildargs={"WORD": "said"}) as image:
        made = DockerContainer(str(image)).waiting_for(wait_strategies.LogMessageWaitStrategy("said"))
        with made as running:
            assert running.get_logs()[0] == b"said\n"
