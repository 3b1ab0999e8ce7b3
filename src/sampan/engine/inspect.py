"""A container as ``inspect`` shows it: its record, its state, and what it has while it runs."""

import msgspec

from sampan.api.containers import ContainerInspect, ContainerState, GraphDriver, NetworkSettings
from sampan.api.networks import EndpointSettings
from sampan.api.times import format_time
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.hosts_files import FILES
from sampan.engine.membership import asked_mac_address, shares_network
from sampan.engine.states import LIVE, Status

DRIVER = "overlay2"


def inspect(container: Container, context: Context) -> ContainerInspect:
    """Everything about a container but its sizes."""
    record = container.record
    paths = {name: str(container.state_dir / name) if record.started_before else "" for name in FILES}
    logs = record.host_config.log_config.type == "json-file"
    return ContainerInspect(
        id=record.id,
        created=format_time(record.created),
        path=record.path,
        args=record.args,
        state=state_of(container),
        image=record.image,
        resolv_conf_path=paths["resolv.conf"],
        hostname_path=paths["hostname"],
        hosts_path=paths["hosts"],
        log_path=str(container.log_path) if logs and record.started_before else "",
        name="/" + record.name,
        restart_count=record.restart_count,
        driver=DRIVER,
        platform=record.platform,
        exec_ids=sorted(container.execs) or None,
        host_config=record.host_config,
        graph_driver=graph_driver(container, context),
        mounts=[mount.point for mount in record.mounts],
        config=msgspec.structs.replace(record.config, mac_address=asked_mac_address(record)),
        network_settings=network_settings(container),
    )


def state_of(container: Container) -> ContainerState:
    """The state, with the flags that older clients read."""
    state, status = container.record.state, container.status
    return ContainerState(
        status=status.value,
        running=state.status in LIVE or status == Status.RESTARTING,
        paused=state.status == Status.PAUSED,
        restarting=status == Status.RESTARTING,
        oom_killed=state.oom_killed,
        dead=state.status == Status.DEAD,
        pid=container.pid,
        exit_code=state.exit_code,
        error=state.error,
        started_at=format_time(state.started_at),
        finished_at=format_time(state.finished_at),
        health=state.health,
    )


def network_settings(container: Container) -> NetworkSettings:
    """Sandbox, ports and endpoints; what an endpoint has only while it runs is empty otherwise."""
    sandbox = container.sandbox
    if sandbox is not None:
        return NetworkSettings(
            sandbox_id=sandbox.container_id,
            sandbox_key=f"/proc/{container.pid}/ns/net" if container.pid else "",
            ports=sandbox.ports,
            networks=sandbox.endpoints,
        )
    return NetworkSettings(networks=networks_of(container))


def networks_of(container: Container) -> dict[str, EndpointSettings]:
    """Its endpoints by the network's name."""
    if container.sandbox is not None:
        return container.sandbox.endpoints
    record = container.record
    return {} if shares_network(record) else {name: idle(each) for name, each in record.endpoints.items()}


def idle(endpoint: EndpointSettings) -> EndpointSettings:
    """An endpoint's settings without the addresses it had in its last run."""
    return msgspec.structs.replace(
        endpoint,
        endpoint_id="",
        gateway="",
        ip_address="",
        ip_prefix_len=0,
        ipv6_gateway="",
        global_ipv6_address="",
        global_ipv6_prefix_len=0,
    )


def graph_driver(container: Container, context: Context) -> GraphDriver:
    """Where the writable layer and those below it lie."""
    snapshots = context.storage.snapshots
    upper = snapshots.upper(container.id)
    lowers = snapshots.chain(snapshots.active(container.id).parent)
    return GraphDriver(
        name=DRIVER,
        data={
            "ID": container.id,
            "LowerDir": ":".join(str(snapshots.path(layer.chain_id)) for layer in lowers),
            "UpperDir": str(upper),
            "WorkDir": str(upper.parent / "work"),
        },
    )
