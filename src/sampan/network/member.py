"""A container as networks see it: what it asks for, and the namespace it gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from sampan.api.networks import EndpointSettings
from sampan.api.ports import PortMap

HOST_GATEWAY = "host-gateway"
NEW_USERNS = "new"
LINKLESS = ("host", "none")
"""Networks that give a container no interface."""


@dataclass(frozen=True)
class Member:
    """A container's wishes, as the engine knows them; everything is as the user gave it.

    ``network_mode`` is HostConfig.NetworkMode without ``container:`` (such a container has no sandbox of its own).
    ``endpoints`` are NetworkingConfig.EndpointsConfig by network name or ID; when empty, ``network_mode`` says
    which network. ``links`` are HostConfig.Links (``name:alias``), ``ports`` HostConfig.PortBindings,
    ``exposed`` keys such as ``80/tcp``. ``labels`` may hold ``com.sampan.publish.allow[.80/tcp]``: a comma-separated
    list of networks that may reach the published ports. ``userns`` says to which user namespace the network namespace
    belongs: NEW_USERNS to one made along with it, a path to the one that is there, "" to the host's.
    """

    container_id: str
    name: str
    hostname: str = ""
    domainname: str = ""
    network_mode: str = "default"
    endpoints: Mapping[str, EndpointSettings] = field(default_factory=dict)
    ports: PortMap = field(default_factory=dict)
    exposed: Sequence[str] = ()
    publish_all: bool = False
    links: Sequence[str] = ()
    dns: Sequence[str] = ()
    dns_search: Sequence[str] = ()
    dns_options: Sequence[str] = ()
    extra_hosts: Sequence[str] = ()
    mac_address: str = ""
    environment: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    userns: str = ""
    disconnected: bool = False
    """It has no network at all, not even ``none``: whatever ``network_mode`` says, it left them all, or wants none."""
    pid: int = 0
    """Only for ``restore``: a process in the namespace of the running container."""


@dataclass
class Sandbox:
    """A running container's network namespace. The networks service owns ``netns``; pass it on, never close it.

    ``endpoints`` are by network name, complete with addresses, for NetworkSettings.Networks; ``ports`` for
    NetworkSettings.Ports. ``hosts`` and ``resolv_conf`` are the whole text of the container's two files, and
    change with ``connect`` and ``disconnect``. ``environment`` are the variables of legacy links. ``userns`` is a path
    of the user namespace that ``netns`` belongs to, "" for the host's.
    """

    container_id: str
    netns: int
    endpoints: dict[str, EndpointSettings] = field(default_factory=dict)
    ports: PortMap = field(default_factory=dict)
    hosts: str = ""
    resolv_conf: str = ""
    environment: list[str] = field(default_factory=list)
    userns: str = ""


def recorded(endpoint: EndpointSettings, asked: EndpointSettings) -> EndpointSettings:
    """An endpoint of a run as it is kept for the next, which gets a MAC address of its own unless one was asked for."""
    return msgspec.structs.replace(endpoint, mac_address=asked.mac_address)
