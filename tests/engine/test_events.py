"""Events of the system: which actions are told, with which attributes."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from engine_daemon import IMAGE, Daemon

Told = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def told(client: docker.DockerClient) -> Iterator[Told]:
    """What was told since the test began."""
    began = time.time()

    def since(**filters: str | list[str]) -> list[dict[str, Any]]:
        stream = client.api.events(since=began, until=time.time() + 0.05, filters=filters or None, decode=True)
        return list(stream)

    yield since


def actions(events: list[dict[str, Any]]) -> list[str]:
    return [f"{event['Type']} {event['Action']}" for event in events]


def test_networks_without_links_are_connected_and_disconnected_too(told: Told, run: Callable[..., Container]) -> None:
    run().remove(force=True)
    container_id = told(type="container")[0]["Actor"]["ID"]
    connected, disconnected = told(type="network")
    assert (connected["Action"], disconnected["Action"]) == ("connect", "disconnect")
    assert connected["Actor"]["Attributes"] == {"container": container_id, "name": "none", "type": "null"}


def test_a_volume_s_mount_says_where(client: docker.DockerClient, told: Told, run: Callable[..., Container]) -> None:
    volume = client.volumes.create("told")
    run(volumes={"told": {"bind": "/data", "mode": "ro"}}).remove(force=True)
    volume.remove()
    (mount,) = told(event="mount")
    attributes = mount["Actor"]["Attributes"]
    assert (attributes["destination"], attributes["read/write"]) == ("/data", "false")
    assert (attributes["driver"], attributes["propagation"]) == ("local", "")


def test_a_commit_creates_an_image_and_names_it(
    client: docker.DockerClient, told: Told, run: Callable[..., Container]
) -> None:
    image = run(labels={"a": "b"}).commit("committed")
    client.images.remove("committed")
    created, tagged, *_ = told(type="image")
    assert (created["Action"], created["Actor"]["Attributes"]) == ("create", {"a": "b", "name": image.id})
    assert (tagged["Action"], tagged["Actor"]["Attributes"]["name"]) == ("tag", "committed:latest")


def test_filters_of_a_kind_are_alternatives_and_kinds_are_all_wanted(told: Told, run: Callable[..., Container]) -> None:
    one, two = run(name="one", labels={"x": "1"}), run(name="two")
    assert actions(told(event=["start", "destroy"], container=["one", "two"])) == ["container start"] * 2
    assert actions(told(event="start", label="x=1")) == ["container start"]
    assert actions(told(image=IMAGE, event="create")) == ["container create"] * 2
    assert told(scope="swarm") == told(type="bogus") == told(event="bogus") == []
    one.remove(force=True)
    two.remove(force=True)


def test_a_container_without_links_keeps_its_network_over_a_rename_and_a_restart_of_the_daemon(
    daemon: Daemon, client: docker.DockerClient, run: Callable[..., Container]
) -> None:
    container = run(name="before")
    container.rename("after")
    assert list(client.api.inspect_container("after")["NetworkSettings"]["Networks"]) == ["none"]
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon.start()
    assert list(client.api.inspect_container("after")["NetworkSettings"]["Networks"]) == ["none"]


def test_lists_show_what_runs_unless_asked_for_a_state(daemon: Daemon, run: Callable[..., Container]) -> None:
    ended = run("false", name="ended")
    ended.wait()

    def listed(*filters: str) -> list[str]:
        words = [word for each in filters for word in ("--filter", each)]
        shown = daemon.cli("ps", "--format", "{{json .Names}}", *words).stdout.decode().split()
        return [json.loads(name) for name in shown]

    assert listed("exited=1") == []
    assert listed("status=exited", "exited=1") == ["ended"]
    assert listed("status=exited", "isolation=default") == ["ended"]
