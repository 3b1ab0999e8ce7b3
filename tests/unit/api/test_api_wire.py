"""Names on the wire, and which empty members are sent."""

import pytest

from sampan.api import json
from sampan.api.containers import ContainerConfig, ContainerInspect, ContainerSummary
from sampan.api.descriptor import OCIDescriptor, OCIPlatform
from sampan.api.events import EventMessage
from sampan.api.exec import ExecInspect
from sampan.api.host_config import HostConfig
from sampan.api.images import ImageInspect
from sampan.api.mounts import MountPoint
from sampan.api.networks import EndpointSettings
from sampan.api.system import SystemInfo
from sampan.api.wire import Wire, wire_name


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("id", "Id"),
        ("image_id", "ImageID"),
        ("ip_address", "IPAddress"),
        ("global_ipv6_prefix_len", "GlobalIPv6PrefixLen"),
        ("oom_killed", "OOMKilled"),
        ("uts_mode", "UTSMode"),
        ("for_", "For"),
        ("mac_address", "MacAddress"),
    ],
)
def test_wire_name(attribute: str, name: str) -> None:
    assert wire_name(attribute) == name


@pytest.mark.parametrize(
    ("struct", "names"),
    [
        (
            HostConfig,
            {"CpuShares", "NanoCpus", "BlkioDeviceReadIOps", "OomScoreAdj", "Dns", "ContainerIDFile", "IOMaximumIOps"},
        ),
        (EndpointSettings, {"IPAMConfig", "DNSNames", "IPv6Gateway", "GwPriority", "EndpointID"}),
        (SystemInfo, {"ID", "NCPU", "OSType", "CPUShares", "CpuCfsQuota", "NGoroutines", "CDISpecDirs"}),
        (ContainerInspect, {"Id", "SizeRw", "SizeRootFs", "ExecIDs", "AppArmorProfile"}),
        (ContainerSummary, {"Id", "ImageID", "SizeRw"}),
        (ImageInspect, {"Id", "Os", "RootFS", "OsVersion"}),
        (ExecInspect, {"ID", "ContainerID"}),
        (MountPoint, {"RW"}),
        (EventMessage, {"Type", "scope", "time", "timeNano"}),
        (OCIDescriptor, {"mediaType", "artifactType"}),
        (OCIPlatform, {"os.version", "os.features"}),
    ],
)
def test_irregular_names_are_docker_s(struct: type[Wire], names: set[str]) -> None:
    assert names <= set(struct.__struct_encode_fields__)


def test_present_members_are_sent_empty_and_others_are_not() -> None:
    assert json.encode(EndpointSettings()).count(b"null") == 5
    config = json.encode(ContainerConfig())
    assert b'"Cmd":null' in config
    assert b'"Labels":{}' in config
    for absent in (b"Healthcheck", b"StopSignal", b"ExposedPorts", b"MacAddress", b"OnBuild", b"Shell"):
        assert absent not in config


def test_empty_answers_do_not_share_their_lists() -> None:
    one, other = ContainerInspect(), ContainerInspect()
    one.mounts.append(MountPoint())
    one.network_settings.networks["n"] = EndpointSettings()
    assert (other.mounts, other.network_settings.networks) == ([], {})
