"""Create, list, inspect, rename and remove: containers that need not run."""

import threading
from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.models.containers import Container

Run = Callable[..., Container]


def test_a_created_container_shows_what_was_asked(client: docker.DockerClient) -> None:
    made = client.containers.create(
        "busybox", ["echo", "hi"], name="asked", environment={"A": "b"}, labels={"tier": "front"}, mem_limit="64m",
        hostname="web", user="app", working_dir="/srv", network_mode="none",
    )  # fmt: skip
    shown = client.api.inspect_container(made.id)
    assert (shown["Name"], shown["Path"], shown["Args"]) == ("/asked", "echo", ["hi"])
    assert shown["State"]["Status"] == "created"
    assert shown["Config"]["Env"][0] == "A=b"
    assert shown["Config"]["Hostname"] == "web"
    assert shown["HostConfig"]["Memory"] == 64 << 20
    assert shown["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert shown["State"]["StartedAt"] == "0001-01-01T00:00:00Z"


def test_a_name_can_be_used_once(client: docker.DockerClient) -> None:
    first = client.containers.create("busybox", "true", name="taken", network_mode="none")
    with pytest.raises(APIError) as refused:
        client.containers.create("busybox", "true", name="taken", network_mode="none")
    assert refused.value.status_code == 409
    assert f'The container name "/taken" is already in use by container "{first.id}"' in refused.value.explanation


def test_a_name_is_made_up_when_none_is_given(client: docker.DockerClient) -> None:
    made = client.containers.create("busybox", "true", network_mode="none")
    trait, underscore, surname = made.name.partition("_")
    assert trait and underscore and surname


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ({"image": "nosuch"}, 404, "No such image: nosuch"),
        ({"name": "a b"}, 400, "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
        ({"mem_limit": "1m"}, 400, "Minimum memory limit allowed is 6MB"),
        ({"volumes_from": ["nosuch"]}, 400, "No such container: nosuch"),
        ({"cap_add": ["FLY"]}, 400, 'unknown capability: "CAP_FLY"'),
        ({"command": None}, 400, "no command specified"),
        ({"volumes": ["/a:/b:nonsense"]}, 500, "invalid mode"),
        ({"pid_mode": "container:nosuch"}, 400, "No such container: nosuch"),
        ({"links": {"nosuch": "db"}}, 400, "could not get container for nosuch: No such container: nosuch"),
        ({"tmpfs": {"/x": "bogus"}}, 400, 'invalid tmpfs option "bogus"'),
        ({"tmpfs": {"/x": "size=1m,colour=red"}}, 400, 'invalid tmpfs option "colour"'),
    ],
)
def test_a_request_without_sense_makes_nothing(
    client: docker.DockerClient, options: dict[str, Any], status: int, sentence: str
) -> None:
    asked = {"image": "busybox", "command": "true", "network_mode": "none", **options}
    with pytest.raises(APIError) as refused:
        client.containers.create(**asked)
    assert refused.value.status_code == status
    assert sentence in str(refused.value.explanation)
    assert client.containers.list(all=True) == []


def test_lists_are_filtered(client: docker.DockerClient) -> None:
    first = client.containers.create("busybox", "true", name="first", labels={"tier": "a"}, network_mode="none")
    second = client.containers.create("busybox", "true", name="second", labels={"tier": "b"}, network_mode="none")
    for filters, names in (
        ({"name": "fir"}, ["first"]),
        ({"label": "tier=b"}, ["second"]),
        ({"label": "tier"}, ["second", "first"]),
        ({"id": first.id[:12]}, ["first"]),
        ({"status": "created"}, ["second", "first"]),
        ({"status": "running"}, []),
        ({"since": first.id}, ["second"]),
        ({"before": second.id}, ["first"]),
        ({"ancestor": "busybox"}, ["second", "first"]),
        ({"ancestor": "other"}, []),
        ({"network": "none"}, ["second", "first"]),
    ):
        assert [each.name for each in client.containers.list(all=True, filters=filters)] == names, filters
    assert client.containers.list() == []
    assert [each.name for each in client.containers.list(limit=1)] == ["second"]
    with pytest.raises(APIError, match="invalid filter"):
        client.containers.list(filters={"colour": "red"})


def test_a_prefix_finds_a_container(client: docker.DockerClient) -> None:
    made = client.containers.create("busybox", "true", name="prefix", network_mode="none")
    assert client.containers.get(made.id[:6]).id == made.id
    with pytest.raises(NotFound, match="No such container: nosuch"):
        client.containers.get("nosuch")


def test_whose_network_is_shared_may_be_made_later(client: docker.DockerClient, run: Run) -> None:
    made = client.containers.create("busybox", "true", network_mode="container:later")
    with pytest.raises(APIError, match="joining network namespace of container: No such container: later"):
        made.start()
    run("sleep 60", name="later")
    made.start()
    assert made.wait()["StatusCode"] == 0


def test_renaming_frees_the_old_name(client: docker.DockerClient) -> None:
    made = client.containers.create("busybox", "true", name="before", network_mode="none")
    made.rename("after")
    client.containers.create("busybox", "true", name="before", network_mode="none")
    assert client.containers.get("after").id == made.id
    with pytest.raises(APIError, match="already in use"):
        made.rename("before")
    with pytest.raises(APIError, match=r"Invalid container name \(/a b\)"):
        made.rename("a b")


def test_two_clients_removing_one_container_remove_it_once(client: docker.DockerClient, run: Run) -> None:
    container = run("sleep 60", name="both")
    outcomes: list[int] = []

    def remove() -> None:
        try:
            client.api.remove_container(container.id, force=True)
            outcomes.append(204)
        except APIError as error:
            outcomes.append(error.status_code)

    threads = [threading.Thread(target=remove) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 204 in outcomes
    assert set(outcomes) <= {204, 404, 409}


def test_prune_removes_what_is_stopped(client: docker.DockerClient, run: Run) -> None:
    stays = run("sleep 60")
    goes = client.containers.create("busybox", "true", network_mode="none")
    kept = client.containers.create("busybox", "true", labels={"keep": "1"}, network_mode="none")
    report = client.containers.prune(filters={"label!": ["keep"]})
    assert report["ContainersDeleted"] == [goes.id]
    assert {each.id for each in client.containers.list(all=True)} == {stays.id, kept.id}


def test_exposed_ranges_are_their_ports(client: docker.DockerClient) -> None:
    body = {"Image": "busybox", "Cmd": ["true"], "ExposedPorts": {"8000": {}, "9000-9002": {}, "53/udp": {}}}
    made = client.api.create_container_from_config(body)
    inspected = client.api.inspect_container(made["Id"])
    assert sorted(inspected["Config"]["ExposedPorts"]) == ["53/udp", "8000/tcp", "9000/tcp", "9001/tcp", "9002/tcp"]
    client.api.start(made["Id"])


def test_published_ports_are_single_ones(client: docker.DockerClient) -> None:
    host_config = {"PortBindings": {"9000-9001/tcp": [{"HostPort": ""}]}}
    with pytest.raises(APIError, match=r"invalid port .9000-9001.: invalid syntax"):
        client.api.create_container_from_config({"Image": "busybox", "Cmd": ["true"], "HostConfig": host_config})


def test_who_shares_a_network_has_its_host_name(run: Run) -> None:
    donor = run("sleep 60", hostname="donor", domainname="example.test")
    guest = run("sh -c 'hostname; cat /proc/sys/kernel/domainname'", network_mode=f"container:{donor.id}")
    guest.wait()
    assert guest.logs() == b"donor\nexample.test\n"
