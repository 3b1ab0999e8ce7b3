"""``docker update``: other limits, another restart policy, other published ports; for a running container at once.

What the request leaves at zero stays. The new limits are checked together with the old ones, applied to the cgroup,
and only then recorded: a limit that the kernel refuses changes nothing. New ports are recorded first: what a crash
cuts short the next start completes, and what the host refuses is taken back.
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
        container.allow("update")
        record = container.record
        changed = merged(record.host_config, request)
        warnings = check_resources(changed, host(), update=True)
        if request.restart_policy.name:
            changed.restart_policy = request.restart_policy
            check_policy(changed)
        if request.port_bindings is not None:
            changed.port_bindings = {port: given for port, given in request.port_bindings.items() if given}
            check_publishing(changed)
        if container.live and container.cgroup is not None:
            try:
                apply(container.cgroup, resources_of(changed, cgroup_rules(changed)))
            except InvalidParameter as error:
                raise EngineError(f"Cannot update container {record.id}: {error.message}") from error
        before, record.host_config = record.host_config, changed
        catalog.save(container)
        if request.port_bindings is not None:
            await publish(context, catalog, container, before.port_bindings)
    context.events.publish("container", "update", container.id, container.attributes())
    return ContainerUpdateResponse(warnings=warnings)


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


async def publish(context: Context, catalog: Catalog, container: Container, before: PortMap | None) -> None:
    """Publish what the record says; a refusal of the host puts the ports of ``before`` back into it."""
    if container.sandbox is None or not container.live:
        return
    try:
        await context.networks.publish(container.id, container.record.host_config.port_bindings or {})
    except EngineError:
        container.record.host_config.port_bindings = before
        catalog.save(container)
        raise


def merged(old: HostConfig, request: Resources) -> HostConfig:
    """The old limits with those of ``request`` that are set."""
    changed = msgspec.structs.replace(old)
    given = {field: value for field in FIELDS if (value := getattr(request, field))}
    for field, others in EXCLUSIVE:
        for other in others:
            if field in given and other not in given and getattr(changed, other):
                name = "Nano CPUs" if other == "nano_cpus" else "CPU Period" if other == "cpu_period" else "CPU Quota"
                raise Conflict(f"Conflicting options: {label(field)} cannot be updated as {name} has already been set")
    for field, value in given.items():
        setattr(changed, field, value)
    check_swap(old, changed, given)
    return changed


def label(field: str) -> str:
    """A field as the error calls it."""
    return {"nano_cpus": "Nano CPUs", "cpu_period": "CPU Period", "cpu_quota": "CPU Quota"}[field]


def check_swap(old: HostConfig, changed: HostConfig, given: dict[str, object]) -> None:
    """Memory may not grow over memory with swap unless that is changed too."""
    if "memory" in given and "memory_swap" not in given and 0 < old.memory_swap < changed.memory:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
