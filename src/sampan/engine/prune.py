"""Remove what is not used: stopped containers, by age and label."""

import time
from contextlib import suppress

from sampan.api.containers import ContainersPruneReport, RemoveOptions
from sampan.api.filters import Filters
from sampan.api.times import parse_moment
from sampan.engine.catalog import Catalog
from sampan.engine.context import Context
from sampan.engine.lifecycle import Lifecycle
from sampan.engine.states import Status
from sampan.errors import Conflict, InvalidParameter, NotFound

ACCEPTED = ("until", "label", "label!")
STOPPED = (Status.CREATED, Status.EXITED, Status.DEAD)


async def prune(context: Context, catalog: Catalog, lifecycle: Lifecycle, filters: Filters) -> ContainersPruneReport:
    """Remove all stopped containers that ``filters`` let through."""
    filters.validate(ACCEPTED)
    before = until(filters)
    deleted, freed = [], 0
    for container in catalog:
        record = container.record
        if container.status not in STOPPED or record.created >= before or not filters.labels(record.config.labels):
            continue
        size = context.storage.snapshots.usage(container.id).size
        with suppress(Conflict, NotFound):
            await lifecycle.remove(container, RemoveOptions())
            deleted.append(container.id)
            freed += size
    context.events.publish("container", "prune", "", {"reclaimed": str(freed)})
    return ContainersPruneReport(containers_deleted=deleted or None, space_reclaimed=freed)


def until(filters: Filters) -> int:
    """The time before which something must have been made; raises InvalidParameter for two of them."""
    values = filters.get("until")
    if len(values) > 1:
        raise InvalidParameter("more than one until filter specified")
    return parse_moment(values[0], time.time_ns()) if values else time.time_ns()
