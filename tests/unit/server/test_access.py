"""Access rules as pure logic: who matches, which rule decides, what reaches the host."""

import msgspec
import pytest

from sampan.api import json
from sampan.api.containers import ContainerCreateRequest, ContainerUpdateRequest
from sampan.api.host_config import HostConfig
from sampan.api.networks import NetworkCreateRequest
from sampan.api.volumes import VolumeCreateRequest
from sampan.config import AccessRule
from sampan.errors import Forbidden, InvalidParameter
from sampan.server.access import (
    INSIDE,
    OPAQUE,
    REACHES,
    WHOLE,
    Access,
    container_reaches,
    network_reaches,
    others_named,
    update_reaches,
    volume_reaches,
    volumes_named,
)
from sampan.server.app import OPERATIONS
from sampan.server.confine import BODIES
from sampan.server.peer import Peer

ALICE, BOB = Peer(1001, frozenset({1001, 50})), Peer(1002, frozenset({1002}))


def access(*rules: AccessRule) -> Access:
    return Access(rules, OPERATIONS)


def test_without_rules_everybody_may_do_everything() -> None:
    assert access().grant(BOB, "container_create") == WHOLE


def test_root_and_verified_clients_are_never_limited() -> None:
    rules = access(AccessRule(users=[1]))
    assert rules.grant(Peer(0), "container_create") == WHOLE
    assert rules.grant(Peer(name="ops", certificate="PEM"), "grpc") == WHOLE


@pytest.mark.parametrize("peer", [BOB, Peer()])
def test_nobody_else_gets_in_without_a_rule(peer: Peer) -> None:
    rules = access(AccessRule(users=[1001]))
    with pytest.raises(Forbidden, match="access denied"):
        rules.grant(peer, "container_list")
    assert rules.grant(peer, "system_ping") == WHOLE


def test_the_first_rule_that_fits_user_and_operation_decides() -> None:
    rules = access(
        AccessRule(groups=[50], operations=("container_list", "image_*"), labels={"team": "a"}),
        AccessRule(users=["1001"], host_access=True),
        AccessRule(operations=("system_*",)),
    )
    assert rules.grant(ALICE, "image_list").labels == {"team": "a"}
    assert rules.grant(ALICE, "container_create") == WHOLE
    assert not rules.grant(BOB, "system_info").host_access
    with pytest.raises(Forbidden, match="no rule allows user 1002 the operation image_list"):
        rules.grant(BOB, "image_list")


@pytest.mark.parametrize("operation", sorted(OPAQUE))
def test_what_cannot_be_looked_into_takes_the_whole_host(operation: str) -> None:
    for grant in (AccessRule(), AccessRule(host_access=True, labels={"a": "b"})):
        with pytest.raises(Forbidden, match="host-access"):
            access(grant).grant(BOB, operation)
    assert access(AccessRule(host_access=True)).grant(BOB, operation) == WHOLE


def test_labels_hide_what_tells_of_all_containers() -> None:
    with pytest.raises(Forbidden, match="tells of all containers"):
        access(AccessRule(labels={"a": "b"})).grant(BOB, "system_data_usage")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (AccessRule(users=["no-such-user-here"]), "there is no user 'no-such-user-here'"),
        (AccessRule(groups=["no-such-group"]), "there is no group"),
        (AccessRule(operations=("containers_*",)), "no operation is called 'containers_"),
        (AccessRule(labels={"a=b": "c"}), "cannot be the name of a label"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(rule: AccessRule, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        access(rule)


def test_names_are_looked_up() -> None:
    with pytest.raises(Forbidden):
        access(AccessRule(users=["daemon"])).grant(BOB, "container_list")
    assert not access(AccessRule(users=["daemon"])).grant(Peer(1), "container_list").host_access


def test_every_operation_named_in_a_table_exists() -> None:
    assert {*INSIDE, *OPAQUE, *BODIES} <= OPERATIONS


HOST_REACHING = {
    "Privileged": True,
    "NetworkMode": "host",
    "PidMode": "host",
    "IpcMode": "host",
    "UTSMode": "host",
    "UsernsMode": "host",
    "CgroupnsMode": "host",
    "CgroupParent": "/other",
    "Cgroup": "container:x",
    "Binds": ["/etc:/mnt:ro"],
    "Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/mnt"}],
    "VolumeDriver": "array",
    "Devices": [{"PathOnHost": "/dev/sda"}],
    "DeviceCgroupRules": ["b 8:* rwm"],
    "DeviceRequests": [{"Count": -1}],
    "CapAdd": ["SYS_ADMIN"],
    "SecurityOpt": ["seccomp=unconfined"],
    "MaskedPaths": [],
    "ReadonlyPaths": [],
    "Runtime": "runc",
    "LogConfig": {"Type": "syslog"},
    "OomScoreAdj": -500,
}


HARMLESS = frozenset({
    "Annotations", "AutoRemove", "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps", "BlkioWeight", "BlkioWeightDevice", "CapDrop", "ConsoleSize", "ContainerIDFile",
    "CpuCount", "CpuPercent", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpuShares",
    "CpusetCpus", "CpusetMems", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "GroupAdd", "IOMaximumBandwidth",
    "IOMaximumIOps", "Init", "Isolation", "KernelMemory", "KernelMemoryTCP", "Links", "Memory", "MemoryReservation",
    "MemorySwap", "MemorySwappiness", "NanoCpus", "OomKillDisable", "PidsLimit", "PortBindings", "PublishAllPorts",
    "ReadonlyRootfs", "RestartPolicy", "ShmSize", "StorageOpt", "Sysctls", "Tmpfs", "Ulimits",
    "Capabilities",  # refused, or forgotten, before anything is made
    "VolumesFrom",  # looked up: the other container must be one that may be entered
})  # fmt: skip


def create(host_config: dict[str, object]) -> ContainerCreateRequest:
    body = {"Image": "busybox", "HostConfig": host_config}
    return json.decode(msgspec.json.encode(body), ContainerCreateRequest)


@pytest.mark.parametrize("field", sorted(HOST_REACHING))
def test_what_reaches_the_host_is_named(field: str) -> None:
    assert container_reaches(create({field: HOST_REACHING[field]})) == f"HostConfig.{field}"


def test_every_row_of_the_table_is_tried_and_every_field_is_judged() -> None:
    assert {name for name, _ in REACHES} == HOST_REACHING.keys()
    fields = {field.encode_name for field in msgspec.structs.fields(HostConfig)}
    assert fields == {name for name, _ in REACHES} | HARMLESS


def test_an_ordinary_container_does_not_reach_the_host() -> None:
    ordinary = {
        "Binds": ["data:/data", "/anonymous"],
        "Mounts": [{"Type": "tmpfs", "Target": "/t"}, {"Type": "volume", "Source": "v", "Target": "/v"}],
        "SecurityOpt": ["no-new-privileges"],
        "Memory": 1 << 20,
        "NetworkMode": "container:web",
        "VolumesFrom": ["db:ro"],
        "LogConfig": {"Type": "local"},
    }
    request = create(ordinary)
    assert container_reaches(request) == ""
    assert others_named(request.host_config) == ["web", "db"]
    assert volumes_named(request.host_config) == ["data", "v"]


@pytest.mark.parametrize("source", ["./x", "~", "..", "/", "C"])
def test_a_bind_mounts_source_is_a_volume_or_the_host(source: str) -> None:
    assert bool(container_reaches(create({"Binds": [f"{source}:/mnt"]}))) is (source != "C")


def test_a_mount_that_makes_a_volume_by_driver_options_reaches_the_host() -> None:
    driver = {"Name": "local", "Options": {"o": "bind", "device": "/"}}
    mount = {"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"DriverConfig": driver}}
    assert container_reaches(create({"Mounts": [mount]})) == "HostConfig.Mounts"


def test_an_update_reaches_the_host_by_devices_and_cgroups() -> None:
    assert update_reaches(ContainerUpdateRequest(memory=1 << 20)) == ""
    assert update_reaches(ContainerUpdateRequest(device_cgroup_rules=["b 8:* rwm"])) == "DeviceCgroupRules"
    assert update_reaches(ContainerUpdateRequest(cgroup_parent="/x")) == "CgroupParent"


def test_volumes_and_networks_reach_the_host_by_their_drivers() -> None:
    assert volume_reaches(VolumeCreateRequest(name="v", driver="local")) == ""
    assert volume_reaches(VolumeCreateRequest(driver="array")) == "Driver"
    assert volume_reaches(VolumeCreateRequest(driver_opts={"o": "bind"})) == "DriverOpts"
    assert network_reaches(NetworkCreateRequest(name="n", options={"x": "y"})) == ""
    assert network_reaches(NetworkCreateRequest(driver="macvlan")) == "Driver"
    assert network_reaches(NetworkCreateRequest(options={"com.docker.network.bridge.name": "br0"})) == "Options"
