"""Devices by CDI in real containers."""

import json
from pathlib import Path
from typing import Any

import docker
import pytest

FILE = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/gpu",
    "devices": [
        {
            "name": "0",
            "containerEdits": {
                "env": ["GPU=zero"],
                "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null"}],
                "mounts": [{"hostPath": "/etc/hostname", "containerPath": "/gpu-driver"}],
            },
        }
    ],
}


@pytest.fixture(scope="module")
def daemon_arguments(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A directory of CDI files of its own."""
    directory = tmp_path_factory.mktemp("cdi")
    (directory / "vendor.json").write_text(json.dumps(FILE))
    return ("--cdi-spec-dir", str(directory))


@pytest.mark.parametrize("asked", [("--device", "vendor.com/gpu=0"), ("--gpus", "all")])
def test_a_device_comes_with_node_variable_and_mount(daemon: Any, asked: tuple[str, ...]) -> None:
    script = "echo $GPU; echo x > /dev/gpu0 && cat /gpu-driver"
    ran = daemon.cli("run", "--rm", "--network", "none", *asked, "busybox", "sh", "-c", script)
    assert ran.stdout.decode().split() == ["zero", *Path("/etc/hostname").read_text().split()], ran.stderr


def test_devices_that_no_file_has_cannot_be_had(daemon: Any) -> None:
    for asked, told in (
        (("--device", "vendor.com/gpu=7"), b"unresolvable CDI devices vendor.com/gpu=7"),
        (("--gpus", "driver=nvidia,count=1"), b'could not select device driver "nvidia" with capabilities: [[gpu]]'),
    ):
        ran = daemon.cli("run", "--rm", "--network", "none", *asked, "busybox", "true")
        assert ran.returncode != 0
        assert told in ran.stderr


def test_info_lists_directories_and_devices(client: docker.DockerClient, daemon_arguments: tuple[str, ...]) -> None:
    info = client.info()
    assert info["CDISpecDirs"] == [daemon_arguments[1]]
    assert info["DiscoveredDevices"] == [{"Source": "cdi", "ID": "vendor.com/gpu=0"}]
