"""``docker ps``: which containers a filter lets through, and one line for each."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from sampan.api import containers as c
from sampan.api.filters import Filters
from sampan.api.json import quote
from sampan.api.ports import Port, PortSummary, parse_port, parse_ports, parse_range
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, Record
from sampan.engine.context import Context
from sampan.engine.health import status_of
from sampan.engine.inspect import networks_of
from sampan.engine.states import LIVE, Status
from sampan.errors import EngineError, InvalidParameter, NotFound

SECOND = 1_000_000_000
MAXIMUM_PORT = 65535
HEALTHS = ("none", "starting", "healthy", "unhealthy")
STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
ACCEPTED = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name",
    "network", "publish", "since", "status", "volume",
)  # fmt: skip
# Asking for one of these also shows containers that do not run.
IMPLY_ALL = ("status",)


class Listing:
    """The operation ``list``."""

    def __init__(self, context: Context, catalog: Catalog) -> None:
        self._context = context
        self._catalog = catalog

    def list(self, options: c.ListOptions) -> Sequence[Container]:
        """Containers the options let through, newest first; raises InvalidParameter."""
        filters = options.filters
        filters.validate(ACCEPTED)
        check_words(filters)
        everything = options.all or options.limit > 0 or any(term in filters for term in IMPLY_ALL)
        ancestors = self._ancestors(filters)
        window = self._window(filters)
        chosen = [
            container
            for container in sorted(self._catalog, key=lambda each: each.record.created, reverse=True)
            if (everything or container.live or container.status == Status.RESTARTING)
            and window(container)
            and (ancestors is None or container.record.image in ancestors)
            and (not filters or matches(container, filters))
        ]
        return chosen[: options.limit] if options.limit > 0 else chosen

    def _window(self, filters: Filters) -> Callable[[Container], bool]:
        """``before`` and ``since``: created on the right side of the containers named."""
        before = [self._catalog.find(text).record.created for text in filters.get("before")]
        since = [self._catalog.find(text).record.created for text in filters.get("since")]
        return lambda container: (
            all(container.record.created < each for each in before)
            and all(container.record.created > each for each in since)
        )

    def image_names(self, containers: Iterable[Container]) -> Mapping[str, str]:
        """By container's ID its image: as the user named it while that still means the image, else the image's ID."""
        records = [container.record for container in containers]
        meant = {name: self._meant_by(name) for name in {record.config.image for record in records}}
        return {
            record.id: record.config.image if record.image in meant[record.config.image] else record.image
            for record in records
        }

    def _meant_by(self, name: str) -> set[str]:
        """IDs of the images that ``name`` stands for now."""
        try:
            return {image.id for image in self._context.storage.images.meant_by(name)} if name else set()
        except InvalidParameter:
            return set()

    def _ancestors(self, filters: Filters) -> set[str] | None:
        """IDs of the images named by ``ancestor`` and of those made from them; None when not asked."""
        if "ancestor" not in filters:
            return None
        images = self._context.storage.images
        found: set[str] = set()
        for name in filters.get("ancestor"):
            try:
                wanted = images.resolve(name).config.value.diff_ids
            except (NotFound, InvalidParameter):
                continue
            found |= {image.id for image in images.all() if image.config.value.diff_ids[: len(wanted)] == wanted}
        return found


def check_words(filters: Filters) -> None:
    """Values that are one of a few words, or numbers."""
    for term, called, words in (("status", "state", STATES), ("health", "health", HEALTHS)):
        for value in filters.get(term):
            if value not in words:
                expected = f"invalid value for {called} ({value}): must be one of {', '.join(words)}"
                raise InvalidParameter(f"invalid filter '{term}={value}': {expected}")
    for value in filters.get("exited"):
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise InvalidParameter(
                f"invalid filter 'exited={value}': strconv.Atoi: parsing {quote(value)}: invalid syntax"
            )
    for term in ("publish", "expose"):
        for value in filters.get(term):
            check_port_term(term, value)
    filters.flag("is-task")


def check_port_term(term: str, value: str) -> None:
    """A port, or a range of them, perhaps with a protocol; raises EngineError, for Docker's answer is a 500."""
    if ":" in value:
        raise EngineError(f"filter for '{term}' should not contain ':': {value}")
    if why := range_error(value.partition("/")[0]):
        raise EngineError(f"error while looking up for {term} {value}: {why}")


def range_error(numbers: str) -> str:
    """What is wrong with ``80`` or ``80-82``; empty when nothing is."""
    if not numbers:
        return "invalid port range: value is empty"
    for place, number in zip(("start", "end"), numbers.split("-", 1), strict=False):
        if not (number.isascii() and number.isdecimal()):
            return f"invalid {place} port '{number}': invalid syntax"
        if int(number) > MAXIMUM_PORT:
            return f"invalid {place} port '{number}': value out of range"
    try:
        parse_range(numbers)
    except InvalidParameter as error:
        return error.message
    return ""


def matches(container: Container, filters: Filters) -> bool:
    """Whether a container passes the filters that concern it alone."""
    record = container.record
    return (
        filters.any_of("id", record.id.startswith)
        and filters.pattern("name", record.name, "/" + record.name)
        and filters.labels(record.config.labels)
        and filters.exact("status", container.status.value)
        and filters.any_of("exited", lambda code: has_exited(container) and int(code) == record.state.exit_code)
        and filters.exact("health", status_of(container))
        and not filters.flag("is-task")
        and filters.any_of("isolation", lambda wanted: wanted in (record.host_config.isolation, isolation_of(record)))
        and filters.any_of("volume", lambda wanted: has_volume(container, wanted))
        and filters.any_of("network", lambda wanted: on_network(container, wanted))
        and has_port(container, filters)
    )


def isolation_of(record: Record) -> str:
    """How a container is isolated: there is one way here, which need not be named."""
    return record.host_config.isolation or "default"


def has_exited(container: Container) -> bool:
    """Whether there is an exit status of a run that is over."""
    return container.status == Status.EXITED


def has_volume(container: Container, wanted: str) -> bool:
    """By the volume's name, or the place in the container."""
    return any(wanted in (mount.point.name, mount.point.destination) for mount in container.record.mounts)


def on_network(container: Container, wanted: str) -> bool:
    """By a network's name or ID."""
    networks = networks_of(container)
    return any(
        wanted == name or (bool(each.network_id) and each.network_id.startswith(wanted))
        for name, each in networks.items()
    )


def has_port(container: Container, filters: Filters) -> bool:
    """Whether a port is ``publish``ed on the host or ``expose``d inside as asked; either will do."""
    if "publish" not in filters and "expose" not in filters:
        return True
    published, exposed = (asked_ports(filters.get(term)) for term in ("publish", "expose"))
    return any(
        Port(port.public_port, port.type) in published or Port(port.private_port, port.type) in exposed
        for port in ports_of(container)
    )


def asked_ports(texts: Iterable[str]) -> set[Port]:
    """All the ports named; of a protocol that does not exist there are none."""
    found: set[Port] = set()
    for text in texts:
        with suppress(InvalidParameter):
            found.update(parse_ports(text))
    return found


def summary(container: Container, image: str) -> c.ContainerSummary:
    """One line of the list; ``image`` is what its image is called."""
    record = container.record
    return c.ContainerSummary(
        id=record.id,
        names=["/" + record.name],
        image=image,
        image_id=record.image,
        command=" ".join([record.path, *map(quoted, record.args)]),
        created=record.created // SECOND,
        ports=ports_of(container),
        labels=record.config.labels or {},
        state=container.status.value,
        status=described(container),
        host_config=c.SummaryHostConfig(
            network_mode=record.host_config.network_mode, annotations=record.host_config.annotations
        ),
        network_settings=c.SummaryNetworkSettings(networks=networks_of(container)),
        mounts=[mount.point for mount in record.mounts],
        health=summary_health(container),
    )


def quoted(argument: str) -> str:
    """An argument as the command column shows it."""
    return f"'{argument}'" if " " in argument else argument


def summary_health(container: Container) -> c.SummaryHealth:
    """Health in short."""
    health = container.record.state.health
    return c.SummaryHealth(status_of(container), health.failing_streak if health else 0)


def ports_of(container: Container) -> list[PortSummary]:
    """The ports that a running container has on its networks: published, or only exposed."""
    ports: list[PortSummary] = []
    if container.sandbox is None or not container.live:
        return ports
    for key, bindings in container.sandbox.ports.items():
        port = parse_port(key)
        ports += [
            PortSummary(binding.host_ip, port.number, int(binding.host_port or 0), port.protocol)
            for binding in bindings or ()
        ] or [PortSummary(private_port=port.number, type=port.protocol)]
    return ports


def described(container: Container) -> str:
    """The state as a person reads it: ``Up 3 minutes (healthy)``, ``Exited (0) 2 hours ago``."""
    state, status = container.record.state, container.status
    if state.status in LIVE:
        up = f"Up {human((time.time_ns() - state.started_at) / SECOND)}"
        if state.status == Status.PAUSED:
            return f"{up} (Paused)"
        health = {"starting": "health: starting", "none": ""}.get(status_of(container), status_of(container))
        return f"{up} ({health})" if health else up
    ago = human((time.time_ns() - state.finished_at) / SECOND)
    if status == Status.RESTARTING:
        return f"Restarting ({state.exit_code}) {ago} ago"
    if status == Status.REMOVING:
        return "Removal In Progress"
    if status == Status.DEAD:
        return "Dead"
    if not state.started_at:
        return "Created"
    return f"Exited ({state.exit_code}) {ago} ago"


# Up to this many seconds → how it is said; the last row holds for the rest.
HUMAN = (
    (1, "Less than a second", 0), (2, "1 second", 0), (60, "{} seconds", 1), (120, "About a minute", 0),
    (3600, "{} minutes", 60), (7200, "About an hour", 0), (172800, "{} hours", 3600), (1209600, "{} days", 86400),
    (5184000, "{} weeks", 604800), (63072000, "{} months", 2592000),
)  # fmt: skip


def human(seconds: float) -> str:
    """A duration in words, as Docker says it."""
    for limit, words, unit in HUMAN:
        if seconds < limit:
            return words.format(int(seconds / unit)) if unit else words
    return f"{int(seconds / 31536000)} years"
