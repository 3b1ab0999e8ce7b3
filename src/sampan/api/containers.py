"""Containers: create, inspect, list, update, wait, top, changes, prune, and the options of each operation."""

from typing import Any, Literal

from sampan.api.descriptor import OCIDescriptor
from sampan.api.filters import Filters
from sampan.api.host_config import HostConfig, Resources, RestartPolicy
from sampan.api.mounts import MountPoint
from sampan.api.networks import EndpointSettings
from sampan.api.ports import PortMap, PortSummary
from sampan.api.wire import (
    LowerWire,
    Wire,
    named,
    omitted_list,
    omitted_map,
    present,
    present_list,
    present_map,
    present_named,
    present_struct,
)

WaitCondition = Literal["not-running", "next-exit", "removed"]


class HealthConfig(Wire):
    """A health check; durations in nanoseconds. ``test`` begins with NONE, CMD or CMD-SHELL; empty inherits."""

    test: list[str] = omitted_list()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(Wire):
    """What a container is, wherever it runs: the part that an image can give defaults for."""

    hostname: str = present("")
    domainname: str = present("")
    user: str = present("")
    attach_stdin: bool = present(False)
    attach_stdout: bool = present(False)
    attach_stderr: bool = present(False)
    exposed_ports: dict[str, dict[str, Any]] = omitted_map()
    tty: bool = present(False)
    open_stdin: bool = present(False)
    stdin_once: bool = present(False)
    env: list[str] | None = present(None)
    cmd: list[str] | None = present(None)
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = present("")
    volumes: dict[str, dict[str, Any]] | None = present(None)
    working_dir: str = present("")
    entrypoint: list[str] | None = present(None)
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = present_map()
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] = omitted_list()


class NetworkingConfig(Wire):
    """The networks a new container joins, by name."""

    endpoints_config: dict[str, EndpointSettings] = present_map()


class ContainerCreateRequest(ContainerConfig):
    """Body of ``POST /containers/create``: the container's configuration with more members beside it.

    ``runtime`` is where docker-py's ``create_container`` writes HostConfig.Runtime.
    """

    host_config: HostConfig = present_struct(HostConfig)
    networking_config: NetworkingConfig = present_struct(NetworkingConfig)
    runtime: str = ""


class ContainerCreateResponse(Wire):
    """Identifier of the new container and what its user should know about it."""

    id: str = present("")
    warnings: list[str] = present_list()


class ContainerUpdateRequest(Resources):
    """Body of ``POST /containers/{id}/update``; zero leaves a limit as it is.

    ``port_bindings`` goes beyond Docker: all published ports from now on, also of a running container; None
    leaves them as they are.
    """

    restart_policy: RestartPolicy = present_struct(RestartPolicy)
    port_bindings: PortMap | None = None


class ContainerUpdateResponse(Wire):
    """Warnings about limits that could not be applied."""

    warnings: list[str] | None = present(None)


class HealthcheckResult(Wire):
    """One run of a health check: 0 healthy, 1 unhealthy, 2 reserved, other values an error of the check."""

    start: str = present("")
    end: str = present("")
    exit_code: int = present(0)
    output: str = present("")


class Health(Wire):
    """``status``: none, starting, healthy or unhealthy; ``log``: the last five results."""

    status: str = present("")
    failing_streak: int = present(0)
    log: list[HealthcheckResult] | None = present_list()


class ContainerState(Wire):
    """``status``: created, running, paused, restarting, removing, exited or dead. Times as RFC 3339."""

    status: str = present("created")
    running: bool = present(False)
    paused: bool = present(False)
    restarting: bool = present(False)
    oom_killed: bool = present(False)
    dead: bool = present(False)
    pid: int = present(0)
    exit_code: int = present(0)
    error: str = present("")
    started_at: str = present("0001-01-01T00:00:00Z")
    finished_at: str = present("0001-01-01T00:00:00Z")
    health: Health | None = None


class Address(Wire):
    """A secondary address of a container."""

    addr: str = present("")
    prefix_len: int = present(0)


class NetworkSettings(Wire):
    """A container's sandbox, published ports and endpoints.

    The members after ``networks`` were the default bridge's; clients of API 1.52 and later do not get them,
    for older ones ``server.compat`` fills them in from ``networks``.
    """

    sandbox_id: str = present("")
    sandbox_key: str = present("")
    ports: PortMap = present_map()
    networks: dict[str, EndpointSettings] = present_map()


class GraphDriver(Wire):
    """Name of the storage driver and what it tells about one container or image."""

    data: dict[str, str] | None = present(None)
    name: str = present("")


class ContainerInspect(Wire):
    """Answer of ``GET /containers/{id}/json``. ``name`` begins with a slash; the sizes only when asked for."""

    id: str = present("")
    created: str = present("")
    path: str = present("")
    args: list[str] = present_list()
    state: ContainerState = present_struct(ContainerState)
    image: str = present("")
    resolv_conf_path: str = present("")
    hostname_path: str = present("")
    hosts_path: str = present("")
    log_path: str = present("")
    name: str = present("")
    restart_count: int = present(0)
    driver: str = present("")
    platform: str = present("linux")
    image_manifest_descriptor: OCIDescriptor | None = None
    mount_label: str = present("")
    process_label: str = present("")
    app_armor_profile: str = present("")
    exec_ids: list[str] | None = present(None)
    host_config: HostConfig = present_struct(HostConfig)
    graph_driver: GraphDriver | None = None
    size_rw: int | None = None
    size_root_fs: int | None = named("SizeRootFs", None)
    mounts: list[MountPoint] = present_list()
    config: ContainerConfig = present_struct(ContainerConfig)
    network_settings: NetworkSettings = present_struct(NetworkSettings)


class SummaryHostConfig(Wire):
    """The little of ``HostConfig`` that a list shows."""

    network_mode: str = ""
    annotations: dict[str, str] = omitted_map()


class SummaryNetworkSettings(Wire):
    """The endpoints that a list shows, by network name."""

    networks: dict[str, EndpointSettings] = present_map()


class SummaryHealth(Wire):
    """The health that a list shows (API 1.52 and later)."""

    status: str = present("none")
    failing_streak: int = present(0)


class ContainerSummary(Wire):
    """One element of ``GET /containers/json``; ``created`` in Unix seconds, ``status`` as a person reads it."""

    id: str = present("")
    names: list[str] = present_list()
    image: str = present("")
    image_id: str = present("")
    image_manifest_descriptor: OCIDescriptor | None = None
    command: str = present("")
    created: int = present(0)
    ports: list[PortSummary] = present_list()
    size_rw: int = 0
    size_root_fs: int = named("SizeRootFs", 0)
    labels: dict[str, str] = present_map()
    state: str = present("")
    status: str = present("")
    host_config: SummaryHostConfig = present_struct(SummaryHostConfig)
    network_settings: SummaryNetworkSettings = present_struct(SummaryNetworkSettings)
    mounts: list[MountPoint] = present_list()
    health: SummaryHealth | None = None


class ContainerTop(Wire):
    """Processes of a container, one row each, as ``ps`` prints them."""

    titles: list[str] = present_list()
    processes: list[list[str]] = present_list()


class FilesystemChange(Wire):
    """One path that differs from the image: kind 0 modified, 1 added, 2 deleted."""

    kind: int = present(0)
    path: str = present("")


class WaitExitError(Wire):
    """Why waiting ended without an exit status."""

    message: str = present("")


class ContainerWaitResponse(Wire):
    """How the container ended."""

    error: WaitExitError | None = None
    status_code: int = present(0)


class ContainersPruneReport(Wire):
    """Removed containers and the bytes that gave back."""

    containers_deleted: list[str] | None = present(None)
    space_reclaimed: int = present(0)


class ListOptions(Wire):
    """Query of ``GET /containers/json``; ``limit`` 0 is all."""

    all: bool = False
    limit: int = 0
    size: bool = False
    filters: Filters = present_struct(Filters)


class LogsOptions(Wire):
    """Query of ``logs``: ``since`` and ``until`` in nanoseconds since 1970 (0: open), ``tail`` lines (-1: all).

    With ``json_stream``, a media type, each line is a ``LogMessage`` instead of the output as it is.
    """

    stdout: bool = False
    stderr: bool = False
    follow: bool = False
    timestamps: bool = False
    details: bool = False
    since: int = 0
    until: int = 0
    tail: int = -1
    json_stream: str = ""


class LogAttribute(Wire):
    """One of a log line's attributes."""

    key: str = present("")
    value: str = present("")


class LogMessage(Wire):
    """A line of a container's output with what is known of it."""

    line: str = ""
    source: str = ""
    timestamp: str = present("")
    attrs: list[LogAttribute] = omitted_list()


class AttachOptions(Wire):
    """Query of ``attach``; ``detach_keys`` as written ("ctrl-p,ctrl-q"), empty for the daemon's default."""

    stream: bool = False
    logs: bool = False
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    detach_keys: str = ""


class RemoveOptions(Wire):
    """Query of ``DELETE /containers/{id}``."""

    force: bool = False
    volumes: bool = False
    link: bool = False


class PathStat(LowerWire):
    """A path in a container, as the ``X-Docker-Container-Path-Stat`` header tells it.

    ``mode`` is Go's ``os.FileMode`` (directory bit 1<<31, symbolic link 1<<27…), ``mtime`` RFC 3339.
    """

    name: str = present("")
    size: int = present(0)
    mode: int = present(0)
    mtime: str = present("")
    link_target: str = present_named("linkTarget", "")
