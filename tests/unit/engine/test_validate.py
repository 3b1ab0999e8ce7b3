"""A create request: what is refused, and in which words."""

import re
from pathlib import Path

import pytest

from sampan.api.containers import ContainerConfig, HealthConfig
from sampan.api.host_config import HostConfig, RestartPolicy, Ulimit
from sampan.api.ports import PortBinding
from sampan.config import Config
from sampan.engine import security
from sampan.engine.host import host
from sampan.engine.security import DEFAULT_CAPABILITIES, capabilities_of, parse_security
from sampan.engine.validate import (
    check_config,
    check_conflicts,
    check_create,
    check_host_config,
    default_layer_size,
    layer_size,
)
from sampan.errors import InvalidParameter, Unsupported
from sampan.storage.quota import Quotas


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (ContainerConfig(working_dir="tmp"), "the working directory 'tmp' is invalid, it needs to be an absolute path"),
        (ContainerConfig(env=["=x"]), "invalid environment variable: =x"),
        (ContainerConfig(stop_signal="SIGNOPE"), "invalid signal: SIGNOPE"),
        (ContainerConfig(hostname="h" * 65), "is too long"),
        (ContainerConfig(healthcheck=HealthConfig(interval=1)), "Interval in Healthcheck cannot be less than 1ms"),
        (ContainerConfig(healthcheck=HealthConfig(retries=-1)), "Retries in Healthcheck cannot be negative"),
    ],
)
def test_a_config_without_sense_is_refused(config: ContainerConfig, sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        check_config(config)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"restart_policy": RestartPolicy(name="sometimes")}, "invalid restart policy: unknown policy 'sometimes'"),
        (
            {"restart_policy": RestartPolicy(name="always", maximum_retry_count=3)},
            "maximum retry count can only be used with 'on-failure'",
        ),
        (
            {"restart_policy": RestartPolicy(name="always"), "auto_remove": True},
            "can't create 'AutoRemove' container with restart policy",
        ),
        ({"extra_hosts": ["nowhere"]}, 'bad format for add-host: "nowhere"'),
        ({"extra_hosts": ["a:300.1.1.1"]}, 'invalid IP address in add-host: "300.1.1.1"'),
        ({"port_bindings": {"80/tcp": [PortBinding(host_port="x")]}}, 'invalid port specification: "x"'),
        ({"port_bindings": {"80/icmp": []}}, "invalid proto: icmp"),
        ({"cap_add": ["FLY"]}, 'invalid CapAdd: unknown capability: "CAP_FLY"'),
        ({"ipc_mode": "what"}, "invalid IPC mode: what"),
        ({"pid_mode": "container:"}, "invalid PID mode: container:"),
        ({"shm_size": -1}, "SHM size can not be less than 0"),
        ({"oom_score_adj": 2000}, "Invalid value 2000, range for oom score adj is"),
        ({"sysctls": {"kernel.panic": "1"}}, "sysctl 'kernel.panic' is not in a separate kernel namespace"),
        ({"device_cgroup_rules": ["x 1:1 rwm"]}, "invalid device cgroup rule format"),
        ({"ulimits": [Ulimit(name="wings", soft=1, hard=1)]}, "invalid ulimit type: wings"),
        ({"ulimits": [Ulimit(name="nofile", soft=2, hard=1)]}, "ulimit soft limit must be less than or equal"),
        ({"runtime": "nope"}, "unknown or invalid runtime name: nope"),
        ({"annotations": {"": "x"}}, "the empty string is not permitted as an annotation key"),
        ({"tmpfs": {"relative": ""}}, "mount path must be absolute"),
    ],
)
def test_a_host_config_without_sense_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_host_config(HostConfig(**fields), Config(), host())  # type: ignore[arg-type]
    assert sentence in refused.value.message


@pytest.mark.parametrize(
    ("kernels", "content", "option"),
    [("APPARMOR", "Y\n", "apparmor=strict"), ("SELINUX", "1", "label=type:svirt_t"), ("SELINUX", "0", "label=user:u")],
)
def test_a_confinement_that_is_not_applied_is_refused_where_the_kernel_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernels: str, content: str, option: str
) -> None:
    host_config, switch = HostConfig(security_opt=[option]), tmp_path / "switch"
    monkeypatch.setattr(security, kernels, switch)
    check_host_config(host_config, Config(), host())
    switch.write_text(content)
    with pytest.raises(Unsupported):
        check_host_config(host_config, Config(), host())


@pytest.mark.parametrize(
    ("storage_opt", "has_quotas", "said"),
    [
        ({"size": "1g"}, False, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
        ({"foo": "1g"}, True, "unknown option foo"),
        ({"size": "x"}, True, "invalid size: 'x'"),
    ],
)
def test_a_quota_that_cannot_be_kept_is_refused(storage_opt: dict[str, str], has_quotas: bool, said: str) -> None:
    with pytest.raises(InvalidParameter, match=re.escape(said)):
        layer_size(storage_opt, StubQuotas(has_quotas))


class StubQuotas(Quotas):
    def __init__(self, supported: bool) -> None:
        self.__dict__["supported"] = supported


def test_the_daemons_default_is_kept_or_the_daemon_does_not_start() -> None:
    assert default_layer_size([], StubQuotas(False)) == 0
    assert default_layer_size(["overlay2.size=1g"], StubQuotas(True)) == 1 << 30
    with pytest.raises(InvalidParameter, match=r"Storage option overlay2\.size not supported"):
        default_layer_size(["overlay2.size=1g"], StubQuotas(False))


@pytest.mark.parametrize(
    ("config", "host_config", "what"),
    [
        (ContainerConfig(hostname="h"), HostConfig(network_mode="container:x"), "hostname and the network mode"),
        (ContainerConfig(hostname="h"), HostConfig(uts_mode="host"), "hostname and the UTS mode"),
        (ContainerConfig(), HostConfig(network_mode="container:x", dns=["1.1.1.1"]), "dns and the network mode"),
        (ContainerConfig(), HostConfig(network_mode="container:x", publish_all_ports=True), "port publishing"),
        (ContainerConfig(exposed_ports={"1/tcp": {}}), HostConfig(network_mode="container:x"), "port exposing"),
        (ContainerConfig(), HostConfig(network_mode="host", links=["a:b"]), "host type networking"),
    ],
)
def test_contradictions_are_refused(config: ContainerConfig, host_config: HostConfig, what: str) -> None:
    with pytest.raises(InvalidParameter, match=f"conflicting options: {what}"):
        check_conflicts(config, host_config)


def test_ports_published_on_the_host_s_network_are_warned_about() -> None:
    asked = HostConfig(network_mode="host", port_bindings={"80/tcp": [PortBinding(host_port="80")]})
    warnings = check_create(ContainerConfig(), asked, Config(), host())
    assert warnings == ["Published ports are discarded when using host network mode"]


def test_capabilities_are_added_and_dropped() -> None:
    assert capabilities_of(HostConfig()) == list(DEFAULT_CAPABILITIES)
    assert capabilities_of(HostConfig(cap_drop=["ALL"], cap_add=["net_admin"])) == ["CAP_NET_ADMIN"]
    assert "CAP_SYS_ADMIN" in capabilities_of(HostConfig(cap_add=["ALL"]))
    assert "CAP_MKNOD" not in capabilities_of(HostConfig(cap_add=["ALL"], cap_drop=["MKNOD"]))
    assert "CAP_CHOWN" not in capabilities_of(HostConfig(cap_drop=["CHOWN"]))


def test_security_options_are_read() -> None:
    options = HostConfig(security_opt=["no-new-privileges:true", "seccomp=unconfined", "label=disable"])
    read = parse_security(options, Config())
    assert (read.no_new_privileges, read.seccomp) == (True, "unconfined")
