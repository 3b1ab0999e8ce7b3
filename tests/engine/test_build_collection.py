"""``builder.gc``: what the configuration does not keep goes by itself once a build has ended; prunes by space."""

import json
from pathlib import Path

import docker
import pytest
from engine_daemon import Daemon, wait_for


@pytest.fixture(scope="module")
def daemon_arguments(daemon_root: Path) -> tuple[str, ...]:
    path = daemon_root / "daemon.json"
    rules = [{"filter": ["type=regular", "description=> /goes"]}]
    path.write_text(json.dumps({"builder": {"gc": {"policy": rules}, "history": {"maxEntries": 7}}}))
    return ("--config-file", str(path))


def kept(client: docker.DockerClient) -> list[str]:
    return [record["Description"] for record in client.api.df()["BuildCache"] or []]


def test_a_policy_lets_go_of_what_it_means_and_of_nothing_else(
    daemon: Daemon, client: docker.DockerClient, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox AS away\nRUN head -c 100000 /dev/urandom > /goes\n"
        "FROM busybox\nRUN head -c 100000 /dev/urandom > /stays\nCOPY --from=away /goes /other\n"
    )
    client.images.build(path=str(tmp_path), tag="collected")
    wait_for(lambda: not any("> /goes" in description for description in kept(client)))
    assert any("> /stays" in description for description in kept(client))
    assert client.containers.run("collected", "wc -c /stays", remove=True).split()[0] == b"100000"
    client.images.remove("collected", force=True)


def test_parts_of_the_builder_section_without_effect_are_told(daemon: Daemon) -> None:
    assert "builder.history has no effect" in daemon.log
    assert "builder.gc has no effect" not in daemon.log


def test_a_prune_that_finds_the_disk_free_enough_removes_nothing(
    daemon: Daemon, client: docker.DockerClient, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN head -c 50000 /dev/urandom > /file\n")
    client.images.build(path=str(tmp_path), tag="pruned")
    client.images.remove("pruned", force=True)
    prune = client.api._url("/build/prune")
    assert client.api._post(prune, params={"min-free-space": "1"}).json()["CachesDeleted"] is None
    assert client.api._post(prune, params={"max-used-space": str(1 << 50)}).json()["CachesDeleted"] is None
    assert any("> /file" in description for description in kept(client))
    assert client.api._post(prune, params={"min-free-space": str(1 << 60)}).json()["CachesDeleted"]
    assert not any("> /file" in description for description in kept(client))


def test_a_prune_of_the_whole_system_may_name_labels(client: docker.DockerClient) -> None:
    """The docker CLI hands ``docker system prune --filter label=x`` on to the build cache, which has none."""
    answer = client.api._post(client.api._url("/build/prune"), params={"filters": '{"label":{"x":true}}'})
    assert answer.status_code == 200
