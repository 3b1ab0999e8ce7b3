"""What a request leaves open is filled from the image and the daemon."""

import pytest

from sampan.api.containers import ContainerConfig, HealthConfig
from sampan.api.host_config import HostConfig, LogConfig
from sampan.config import Config
from sampan.engine.defaults import finish_config, finish_host_config, merge_image, parse_size
from sampan.engine.environment import environment_of
from sampan.engine.host import host
from sampan.errors import InvalidParameter
from sampan.oci.image_config import Healthcheck, RunConfig

IMAGE = RunConfig(
    user="app", env=["PATH=/bin", "A=image"], entrypoint=["/entry"], cmd=["serve"], working_dir="/srv",
    labels={"a": "image", "b": "image"}, exposed_ports={"80/tcp": {}}, volumes={"/data": {}}, stop_signal="SIGINT",
    healthcheck=Healthcheck(test=["CMD", "true"], interval=5),
)  # fmt: skip


def test_the_image_fills_what_is_open() -> None:
    config = ContainerConfig(env=["A=own"], labels={"a": "own"}, exposed_ports={"81/tcp": {}})
    merge_image(config, IMAGE)
    assert config.env == ["A=own", "PATH=/bin"]
    assert config.labels == {"a": "own", "b": "image"}
    assert set(config.exposed_ports) == {"80/tcp", "81/tcp"}
    assert (config.user, config.working_dir, config.stop_signal) == ("app", "/srv", "SIGINT")
    assert (config.entrypoint, config.cmd) == (["/entry"], ["serve"])


def test_an_own_entrypoint_drops_the_image_s_command() -> None:
    config = ContainerConfig(entrypoint=["/other"])
    merge_image(config, IMAGE)
    assert (config.entrypoint, config.cmd) == (["/other"], None)


def test_an_own_command_keeps_the_image_s_entrypoint() -> None:
    config = ContainerConfig(cmd=["work"])
    merge_image(config, IMAGE)
    assert (config.entrypoint, config.cmd) == (["/entry"], ["work"])


def test_an_empty_entrypoint_resets_it() -> None:
    config = ContainerConfig(entrypoint=[""], cmd=["sh"])
    merge_image(config, IMAGE)
    finish_config(config, HostConfig(), "0123456789abcdef", "machine")
    assert (config.entrypoint, config.cmd, config.hostname) == (None, ["sh"], "0123456789ab")


def test_the_health_check_keeps_the_image_s_test() -> None:
    config = ContainerConfig(healthcheck=HealthConfig(retries=2))
    merge_image(config, IMAGE)
    assert config.healthcheck == HealthConfig(test=["CMD", "true"], interval=5, retries=2)


def test_without_command_nothing_can_be_made() -> None:
    with pytest.raises(InvalidParameter, match="no command specified"):
        finish_config(ContainerConfig(), HostConfig(), "0" * 64, "machine")


def test_the_daemon_s_defaults_are_settled() -> None:
    host_config = HostConfig(memory=64 << 20)
    finish_host_config(host_config, Config(), host())
    assert host_config.restart_policy.name == "no"
    assert host_config.shm_size == 64 << 20
    assert (host_config.ipc_mode, host_config.network_mode) == ("private", "bridge")
    assert host_config.log_config.type == "json-file"
    assert "/proc/kcore" in (host_config.masked_paths or [])


def test_an_unknown_log_driver_and_option_are_refused() -> None:
    for wanted in (LogConfig(type="carrier-pigeon"), LogConfig(config={"speed": "1"})):
        with pytest.raises(InvalidParameter):
            finish_host_config(HostConfig(log_config=wanted), Config(), host())


@pytest.mark.parametrize(
    ("text", "size"), [("64m", 64 << 20), ("1gb", 1 << 30), ("10", 10), ("5kB", 5 << 10), ("1.5GiB", 3 << 29)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "m", "-1m", "1x", "1.g"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_size(text)


def test_the_environment_is_merged_and_a_bare_name_removes() -> None:
    config = ContainerConfig(hostname="web", env=["PATH=/opt", "KEEP=1", "GONE=1"])
    merged = environment_of(config, "/root", more=["GONE", "KEEP=2"], terminal=True)
    assert merged == ["PATH=/opt", "HOSTNAME=web", "TERM=xterm", "KEEP=2", "HOME=/root"]
