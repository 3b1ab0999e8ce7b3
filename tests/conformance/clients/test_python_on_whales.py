"""python-on-whales: the docker CLI behind typed objects, which must understand all that inspect says."""

from pathlib import Path

import pytest
from python_on_whales import DockerClient, exceptions

docker = DockerClient()


def test_a_container_is_what_was_asked() -> None:
    asked = {"envs": {"A": "1"}, "labels": {"tier": "front"}, "memory": "64m", "cpus": 0.5, "restart": "on-failure:3"}
    more = {
        "volumes": [("/tmp", "/host", "ro")],
        "publish": [("127.0.0.1:", 80)],
        "tmpfs": ["/run"],
        "hostname": "asked",
    }
    with docker.run("busybox", ["sleep", "60"], detach=True, init=True, **asked, **more) as container:
        assert (container.state.status, container.config.hostname) == ("running", "asked")
        assert container.host_config.memory == 64 << 20
        assert container.host_config.restart_policy.maximum_retry_count == 3
        [mount] = container.mounts
        assert (mount.type, mount.destination, mount.rw) == ("bind", "/host", False)
        assert docker.execute(container, ["sh", "-c", "echo $A"]) == "1"
        assert list(docker.execute(container, ["sh", "-c", "echo e >&2"], stream=True)) == [("stderr", b"e\n")]


def test_images_networks_and_volumes_are_understood() -> None:
    image = docker.image.inspect("busybox")
    assert (image.os, "busybox:latest" in image.repo_tags, image.root_fs.type) == ("linux", True, "layers")
    with (
        docker.network.create("whales", labels={"a": "b"}) as network,
        docker.run("busybox", ["sleep", "60"], detach=True, init=True, networks=[network]) as container,
    ):
        network.reload()
        assert [member.name for member in network.containers.values()] == [container.name]
    with docker.volume.create("whales", driver="local") as volume:
        assert (volume.name, volume.driver, volume.scope) == ("whales", "local", "local")
    assert docker.system.info().swarm.local_node_state == "inactive"


def test_errors_keep_their_kinds() -> None:
    with pytest.raises(exceptions.NoSuchContainer):
        docker.container.inspect("nosuch")
    with pytest.raises(exceptions.NoSuchImage):
        docker.image.inspect("nosuch")
    with pytest.raises(exceptions.NoSuchVolume):
        docker.volume.inspect("nosuch")
    with pytest.raises(exceptions.DockerException) as ended:
        docker.run("busybox", ["sh", "-c", "exit 5"], remove=True)
    assert ended.value.return_code == 5


def test_files_are_copied_both_ways(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given")
    with docker.run("busybox", ["sleep", "60"], detach=True, init=True) as container:
        docker.copy(tmp_path / "given", (container, "/tmp/given"))
        docker.copy((container, "/tmp/given"), tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "given"
