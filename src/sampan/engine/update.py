"""``docker update``: other limits, another restart policy, other published ports; for a running container at once.

What the request leaves at zero stays. New ports come first, recorded before they are published: what a crash cuts short
the next start completes, and what the host refuses is taken back. The new limits are applied to the cgroup
and only then recorded. A limit that the kernel refuses changes nothing, the ports of the same request included.
"""

import msgspec

from sampan.api.containers import ContainerUpdateRequest, ContainerUpdateResponse
from sampan.api.host_config import HostConfig, Resources
from sampan.api.ports import PortMap
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.engine.devices import cgroup_rules
from sampan.engine.host import host
from sampan.engine.limits import check_resources
from sampan.engine.resources import resources_of
from sampan.engine.validate import check_ports, check_restart
from sampan.errors import Conflict, EngineError, InvalidParameter
from sampan.runtime.container import update as apply

FIELDS = (
    "blkio_weight", "cpu_shares", "cpu_period", "cpu_quota", "cpu_realtime_period", "cpu_realtime_runtime",
    "cpuset_cpus", "cpuset_mems", "memory", "memory_swap", "memory_reservation", "nano_cpus", "pids_limit",
    "blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps", "blkio_device_read_iops",
    "blkio_device_write_iops",
)  # fmt: skip
EXCLUSIVE = (("nano_cpus", ("cpu_period", "cpu_quota")), ("cpu_period", ("nano_cpus",)), ("cpu_quota", ("nano_cpus",)))


async def update(
    context: Context, catalog: Catalog, container: Container, request: ContainerUpdateRequest
) -> ContainerUpdateResponse:
    """Change limits and restart policy; raises InvalidParameter, Conflict, EngineError."""
    async with container.lock:
        record = container.record
        try:
            container.allow("update")
            changed, warnings = decided(record.host_config, request)
        except Conflict as error:
            raise error.within(f"Cannot update container {record.id}") from error
        before = record.host_config.port_bindings
        if request.port_bindings is not None:
            await publish(context, catalog, container, changed.port_bindings)
        former = record.host_config
        try:
            limit(container, changed)
            record.host_config = changed
            catalog.save(container)
        except EngineError:
            record.host_config = former
            limit(container, former)
            if request.port_bindings is not None:
                await publish(context, catalog, container, before)
            raise
    context.events.publish("container", "update", container.id, container.attributes())
    return ContainerUpdateResponse(warnings=warnings or None)


def decided(old: HostConfig, request: ContainerUpdateRequest) -> tuple[HostConfig, list[str]]:
    """What the container is to have from now on, and warnings about it."""
    warnings = check_resources(request, host(), update=True)
    changed = merged(old, request)
    if request.restart_policy.name:
        changed.restart_policy = request.restart_policy
        check_policy(changed)
    if request.port_bindings is not None:
        changed.port_bindings = {port: given for port, given in request.port_bindings.items() if given}
        check_publishing(changed)
    return changed, warnings


def limit(container: Container, wanted: HostConfig) -> None:
    """Give a running container's cgroup the limits of ``wanted``; raises EngineError where the kernel refuses."""
    if not container.live or container.cgroup is None:
        return
    try:
        apply(container.cgroup, resources_of(wanted, cgroup_rules(wanted)))
    except InvalidParameter as error:
        raise EngineError(f"Cannot update container {container.id}: {error.message}") from error


def check_policy(changed: HostConfig) -> None:
    """A restart policy that makes no sense, or that contradicts auto-removal."""
    if changed.auto_remove and changed.restart_policy.name != "no":
        raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
    check_restart(changed)


def check_publishing(changed: HostConfig) -> None:
    """Ports that make no sense, or a container without a network of its own to publish them from."""
    kind = changed.network_mode.partition(":")[0]
    if changed.port_bindings and kind in ("host", "none", "container"):
        raise InvalidParameter(f"conflicting options: port publishing and the {kind} type network mode")
    check_ports(changed)


async def publish(context: Context, catalog: Catalog, container: Container, ports: PortMap | None) -> None:
    """Record ``ports`` and publish them; raises EngineError where the host refuses, and then nothing has changed."""
    before = container.record.host_config
    container.record.host_config = msgspec.structs.replace(before, port_bindings=ports)
    catalog.save(container)
    if container.sandbox is None or not container.live:
        return
    try:
        await context.networks.publish(container.id, ports or {})
    except EngineError:
        container.record.host_config = before
        catalog.save(container)
        raise


def merged(old: HostConfig, request: Resources) -> HostConfig:
    """The old limits with those of ``request`` that are set."""
    changed = msgspec.structs.replace(old)
    given = {field: value for field in FIELDS if (value := getattr(request, field))}
    if request.pids_limit is not None:  # 0 takes the limit away
        given["pids_limit"] = request.pids_limit
    for field, others in EXCLUSIVE:
        for other in others:
            if field in given and other not in given and getattr(changed, other):
                name = {"nano_cpus": "NanoCPUs"}.get(other) or label(other)
                raise Conflict(f"Conflicting options: {label(field)} cannot be updated as {name} has already been set")
    for field, value in given.items():
        setattr(changed, field, value)
    check_swap(old, changed, given)
    return changed


def label(field: str) -> str:
    """A field as the error calls it."""
    return {"nano_cpus": "Nano CPUs", "cpu_period": "CPU Period", "cpu_quota": "CPU Quota"}[field]


def check_swap(old: HostConfig, changed: HostConfig, given: dict[str, object]) -> None:
    """Memory may not grow over memory with swap, be that none or unlimited, unless that is changed too."""
    if "memory" in given and "memory_swap" not in given and host().swap and old.memory_swap < changed.memory:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
