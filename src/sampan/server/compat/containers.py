"""Containers for older clients: what lists and inspections look like, and what a request for a new one means."""

from sampan.api import stdcopy
from sampan.api.containers import ContainerCreateRequest, ContainerInspect, ContainerUpdateRequest
from sampan.api.host_config import HostConfig
from sampan.api.identifiers import short
from sampan.api.mounts import BindOptions, Mount
from sampan.api.networks import EndpointSettings
from sampan.api.ports import PortBinding
from sampan.api.versions import Version
from sampan.errors import InvalidParameter
from sampan.linux.cgroup import hierarchies
from sampan.server.compat import sysctls
from sampan.server.compat.change import Cleared, Document, before, with_defaults, without

BRIDGE_FIELDS = {
    "EndpointID": "",
    "Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "MacAddress": "",
}
"""Members of ``NetworkSettings`` that repeated the default bridge's endpoint before API 1.52."""

LEGACY_NETWORK_FIELDS = {
    "Bridge": "",
    "HairpinMode": False,
    "LinkLocalIPv6Address": "",
    "LinkLocalIPv6PrefixLen": 0,
    "SecondaryIPAddresses": None,
    "SecondaryIPv6Addresses": None,
}

BLOCK_DEVICE_LIMITS = (
    "blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps", "blkio_device_read_iops",
    "blkio_device_write_iops",
)  # fmt: skip
"""Limits that can be updated since API 1.55."""

PREDEFINED_NETWORKS = frozenset({"bridge", "host", "none", "default"})


def _repeat_bridge(document: Document) -> None:
    settings = document["NetworkSettings"]
    bridge = settings["Networks"].get("bridge") or {}
    for name, empty in BRIDGE_FIELDS.items():
        settings[name] = bridge.get(name, empty)


def _short_aliases(document: Document) -> None:
    names = [short(document["Id"]), document["Config"]["Hostname"]]
    for network, endpoint in document["NetworkSettings"]["Networks"].items():
        if network not in PREDEFINED_NETWORKS:
            endpoint["Aliases"] = list(dict.fromkeys([*(endpoint["Aliases"] or []), *names]))


def _no_annotations(document: Document) -> None:
    document["HostConfig"].pop("Annotations", None)


SUMMARY = (
    before(52, Cleared("health")),
    before(48, Cleared("image_manifest_descriptor")),
    before(46, _no_annotations),
)

INSPECTION = (
    before(52, _repeat_bridge),
    before(52, with_defaults(LEGACY_NETWORK_FIELDS, "NetworkSettings")),
    before(52, with_defaults({"OnBuild": None}, "Config")),
    before(48, without("ImageManifestDescriptor")),
    before(45, _short_aliases),
)


def hide_removed(inspection: ContainerInspect, version: Version) -> None:
    """Take from an inspection what only older clients know: the MAC address that was asked for."""
    if version >= (1, 52):
        inspection.config.mac_address = ""


def content_type(terminal: bool, version: Version) -> str:
    """The media type of a container's output, which was always "raw" before API 1.42."""
    return stdcopy.content_type(terminal or version < (1, 42))


NO_CAPABILITIES = (
    "the HostConfig.Capabilities field is not supported by this daemon; use CapAdd and CapDrop to set capabilities"
)
"""The field was API 1.40's alone."""


def adopt(request: ContainerCreateRequest, version: Version) -> list[str]:
    """Make of a client's request for a container what it means in the newest version.

    Returns warnings for the answer; raises InvalidParameter for what the client's version did not have.
    """
    host = request.host_config
    if host.capabilities and version == (1, 40):
        raise InvalidParameter(NO_CAPABILITIES)
    host.capabilities = None
    _name_default_network(request)
    _default_modes(host, version)
    _forget_unknown(request, version)
    host.runtime = host.runtime or request.runtime
    for mount in host.mounts:
        _adopt_mount(mount, version)
    if host.pids_limit is not None and host.pids_limit <= 0:
        host.pids_limit = None
    warnings = (
        _volume_driver(host, version),
        _mac_address(request, version),
        sysctls.move_to_endpoint(host, lambda: _main_endpoint(request, version), version),
        _port_bindings(host, version),
    )
    return [warning for warning in warnings if warning]


def adopt_update(request: ContainerUpdateRequest, version: Version) -> None:
    """Make of a client's request for new limits what it means in the newest version."""
    if version < (1, 40):
        request.pids_limit = None
    elif request.pids_limit is not None and request.pids_limit < 0:
        request.pids_limit = 0
    if version < (1, 55):
        for name in BLOCK_DEVICE_LIMITS:
            setattr(request, name, None)


def _name_default_network(request: ContainerCreateRequest) -> None:
    """The network that is meant by none or "default" is the bridge."""
    host, endpoints = request.host_config, request.networking_config.endpoints_config
    if host.network_mode in ("", "default"):
        host.network_mode = "bridge"
        if "default" in endpoints:
            endpoints["bridge"] = endpoints.pop("default")


def _default_modes(host: HostConfig, version: Version) -> None:
    if version < (1, 25):
        host.auto_remove = False
    if version < (1, 40) and not host.ipc_mode:
        host.ipc_mode = "shareable"
    if version < (1, 41) and not host.cgroupns_mode and hierarchies().version == 1:
        host.cgroupns_mode = "host"
    if version < (1, 42):
        host.console_size = [0, 0]
    if version < (1, 43):
        host.annotations = {}


def _forget_unknown(request: ContainerCreateRequest, version: Version) -> None:
    endpoints = request.networking_config.endpoints_config
    if version < (1, 44):
        if request.healthcheck is not None:
            request.healthcheck.start_interval = 0
        if len(endpoints) > 1:
            raise InvalidParameter(
                f"Container cannot be created with multiple network endpoints: {', '.join(endpoints)}"
            )
    if version < (1, 48):
        for endpoint in endpoints.values():
            endpoint.gw_priority = 0


def _adopt_mount(mount: Mount, version: Version) -> None:
    if version < (1, 42):
        _forget_mount_options(mount, version)
    else:
        _check_mount_options(mount)
    if version < (1, 44) and mount.bind_options and mount.bind_options.read_only_force_recursive:
        raise InvalidParameter("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
    if version < (1, 44) and mount.type == "bind" and mount.read_only:
        mount.bind_options = mount.bind_options or BindOptions()
        mount.bind_options.read_only_non_recursive = True
    if version < (1, 45) and mount.volume_options and mount.volume_options.subpath:
        raise InvalidParameter("VolumeOptions.Subpath needs API v1.45 or newer")
    if version < (1, 48) and mount.type == "image":
        raise InvalidParameter('Mount type "Image" needs API v1.48 or newer')


def _forget_mount_options(mount: Mount, version: Version) -> None:
    if mount.bind_options is not None:
        mount.bind_options.create_mountpoint = False
        mount.bind_options.non_recursive &= version >= (1, 40)
    if mount.type != "volume":
        mount.volume_options = None
    if mount.type != "tmpfs":
        mount.tmpfs_options = None


def _check_mount_options(mount: Mount) -> None:
    options = {"volume": mount.volume_options, "bind": mount.bind_options, "tmpfs": mount.tmpfs_options}
    for type_, given in options.items():
        if given is not None and mount.type != type_:
            name = f"{type_.capitalize()}Options"
            raise InvalidParameter(f'{name} must not be specified on mount type "{mount.type}"')


def _volume_driver(host: HostConfig, version: Version) -> str:
    ignored = any(mount.type == "volume" and not _names_driver(mount) for mount in host.mounts if host.volume_driver)
    if not ignored or version < (1, 48):
        return ""
    return (
        "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. "
        "Use '--mount type=volume,volume-driver=...' instead"
    )


def _names_driver(mount: Mount) -> bool:
    options = mount.volume_options
    return bool(options and options.driver_config and options.driver_config.name)


def _mac_address(request: ContainerCreateRequest, version: Version) -> str:
    """The container-wide MAC address of old moves to the main network's endpoint; gone since API 1.52."""
    address, request.mac_address = request.mac_address, ""
    endpoints = request.networking_config.endpoints_config
    if version < (1, 44) and not address:
        for endpoint in endpoints.values():
            endpoint.mac_address = ""
    if not address or version >= (1, 52):
        return ""
    main = _main_endpoint(request, version)
    if main is not None and main.mac_address not in ("", address) and version >= (1, 44):
        raise InvalidParameter(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
            "or be left empty"
        )
    if main is not None:
        main.mac_address = address
    if version < (1, 44):
        return ""
    return "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."


def _main_endpoint(request: ContainerCreateRequest, version: Version) -> EndpointSettings | None:
    """The endpoint on the container's network mode, made if there is none at all."""
    mode = request.host_config.network_mode
    endpoints = request.networking_config.endpoints_config
    if mode in ("host", "none") or mode.startswith("container:"):
        if version < (1, 44):
            raise InvalidParameter("conflicting options: mac-address and the network mode")
        return None
    if not endpoints:
        return endpoints.setdefault(mode, EndpointSettings())
    if version < (1, 44):
        return next(iter(endpoints.values()))
    if mode not in endpoints:
        raise InvalidParameter(
            "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks"
        )
    return endpoints[mode]


def _port_bindings(host: HostConfig, version: Version) -> str:
    """An empty list of bindings means "any port"; since API 1.52 that is told to be on its way out."""
    bindings = host.port_bindings or {}
    empty = [port for port, given in bindings.items() if not given]
    for port in empty:
        bindings[port] = [PortBinding()]
    if not empty or version < (1, 52):
        return ""
    return (
        f"Following container port(s) have an empty list of port-bindings: {', '.join(empty)}. "
        "Such bindings will be discarded in a future version."
    )
