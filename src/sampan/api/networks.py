"""Networks: create, inspect, list, connect, disconnect, prune, and a container's endpoint settings."""

from typing import Any

from sampan.api.wire import (
    Wire,
    named,
    omitted_map,
    present,
    present_list,
    present_map,
    present_named,
    present_struct,
)


class EndpointIPAMConfig(Wire):
    """Addresses asked for an endpoint."""

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: list[str] | None = named("LinkLocalIPs", None)


class EndpointSettings(Wire):
    """A container's interface on one network: what was asked for, then what it got."""

    ipam_config: EndpointIPAMConfig | None = present_named("IPAMConfig", None)
    links: list[str] | None = present(None)
    aliases: list[str] | None = present(None)
    driver_opts: dict[str, str] | None = present(None)
    gw_priority: int = present(0)
    network_id: str = present("")
    endpoint_id: str = present("")
    gateway: str = present("")
    ip_address: str = present("")
    mac_address: str = present("")
    ip_prefix_len: int = present(0)
    ipv6_gateway: str = present("")
    global_ipv6_address: str = present("")
    global_ipv6_prefix_len: int = present(0)
    dns_names: list[str] | None = present(None)


class IPAMConfig(Wire):
    """One address pool of a network."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = omitted_map("AuxiliaryAddresses")


class IPAM(Wire):
    """Address management of a network."""

    driver: str = present("")
    options: dict[str, str] | None = present(None)
    config: list[IPAMConfig] | None = present_list()


class ConfigReference(Wire):
    """The configuration-only network that another takes its settings from."""

    network: str = present("")


class NetworkCreateRequest(Wire):
    """Body of ``POST /networks/create``; an empty driver is ``bridge``, ``None`` for an address family its default."""

    name: str = present("")
    driver: str = present("")
    scope: str = present("")
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    ipam: IPAM | None = None
    internal: bool = present(False)
    attachable: bool = present(False)
    ingress: bool = present(False)
    config_only: bool = present(False)
    config_from: ConfigReference | None = None
    options: dict[str, str] | None = present(None)
    labels: dict[str, str] | None = present(None)
    check_duplicate: bool | None = None


class NetworkCreateResponse(Wire):
    """Identifier of the new network."""

    id: str = present("")
    warning: str = present("")


class EndpointResource(Wire):
    """A container on a network, as the network's inspection lists it; addresses with their prefix length."""

    name: str = present("")
    endpoint_id: str = present("")
    mac_address: str = present("")
    ipv4_address: str = present("")
    ipv6_address: str = present("")


class SubnetStatus(Wire):
    """How full a pool is."""

    ips_in_use: int = present_named("IPsInUse", 0)
    dynamic_ips_available: int = present_named("DynamicIPsAvailable", 0)


class IPAMStatus(Wire):
    """How full the pools are, by subnet."""

    subnets: dict[str, SubnetStatus] = omitted_map("Subnets")


class NetworkStatus(Wire):
    """State of a network (API 1.52 and later)."""

    ipam: IPAMStatus = present_struct(IPAMStatus)


class NetworkSummary(Wire):
    """One element of ``GET /networks``."""

    name: str = present("")
    id: str = present("")
    created: str = present("0001-01-01T00:00:00Z")
    scope: str = present("local")
    driver: str = present("")
    enable_ipv4: bool = present(True)
    enable_ipv6: bool = present(False)
    ipam: IPAM = present_struct(IPAM)
    internal: bool = present(False)
    attachable: bool = present(False)
    ingress: bool = present(False)
    config_from: ConfigReference = present_struct(ConfigReference)
    config_only: bool = present(False)
    options: dict[str, str] | None = present_map()
    labels: dict[str, str] | None = present_map()


class NetworkInspect(NetworkSummary):
    """Answer of ``GET /networks/{id}``: the summary with the containers on it."""

    containers: dict[str, EndpointResource] = present_map()
    services: dict[str, Any] | None = None
    status: NetworkStatus | None = None


class NetworkConnectRequest(Wire):
    """Body of ``POST /networks/{id}/connect``."""

    container: str = present("")
    endpoint_config: EndpointSettings | None = None


class NetworkDisconnectRequest(Wire):
    """Body of ``POST /networks/{id}/disconnect``."""

    container: str = present("")
    force: bool = present(False)


class NetworksPruneReport(Wire):
    """Names of the removed networks."""

    networks_deleted: list[str] | None = present(None)
