"""Events: what happened, kept for a while and told to whoever listens.

    publish ──▶ history (the last 256)  ──▶ streams that asked for the past (since)
            └─▶ one bounded queue per listener ──▶ streams that follow

A listener that falls ``QUEUE`` events behind is cut off: its stream ends, nobody else notices. Nothing here waits
in ``publish``, so it may be called with a container's lock held.

Actions and attributes are Docker's: https://docs.docker.com/reference/cli/docker/system/events/
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping

from sampan.api.events import EventActor, EventMessage, EventsOptions
from sampan.api.filters import Filters

HISTORY = 256
QUEUE = 4096
SECOND = 1_000_000_000

# Filter term → the type of object whose ID or name attribute it is compared with.
OBJECTS = {
    "container": "container",
    "image": "image",
    "network": "network",
    "volume": "volume",
    "daemon": "daemon",
    "plugin": "plugin",
    "builder": "builder",
}


class Events:
    """The engine's only announcer: ``publish`` on one side, ``subscribe`` on the other."""

    def __init__(self) -> None:
        self._history: deque[EventMessage] = deque(maxlen=HISTORY)
        self._listeners: set[asyncio.Queue[EventMessage | None]] = set()
        self.counted: Counter[tuple[str, str]] = Counter()
        """How many of each type and action were announced; what follows a colon is left out."""

    @property
    def listeners(self) -> int:
        """How many streams follow now."""
        return len(self._listeners)

    def publish(self, type: str, action: str, id: str, attributes: Mapping[str, str] | None = None) -> None:
        """Announce that ``action`` happened to the object ``id`` of ``type``; never waits, never fails."""
        now = time.time_ns()
        message = EventMessage(
            type=type,
            action=action,
            actor=EventActor(id=id, attributes=dict(attributes or {})),
            time=now // SECOND,
            time_nano=now,
        )
        self._history.append(message)
        self.counted[type, action.partition(":")[0]] += 1
        for queue in self._listeners:
            if queue.qsize() < QUEUE - 1:
                queue.put_nowait(message)
            elif queue.qsize() < QUEUE:
                queue.put_nowait(None)

    async def subscribe(self, options: EventsOptions) -> "Subscription":
        """Stored events since ``options.since``, then new ones until ``options.until`` (for ever without)."""
        return Subscription(self._listeners, self._past(options), options)

    def _past(self, options: EventsOptions) -> list[EventMessage]:
        if options.since is None and options.until is None:
            return []
        return [event for event in self._history if within(event, options) and matches(event, options)]


class Subscription:
    """One reader's events; listens from its making until ``aclose`` or its end."""

    def __init__(
        self, listeners: "set[asyncio.Queue[EventMessage | None]]", past: list[EventMessage], options: EventsOptions
    ) -> None:
        self._queue: asyncio.Queue[EventMessage | None] = asyncio.Queue()
        self._past = deque(past)
        self._options = options
        self._ends = ends_at(options.until)
        self._listeners = listeners
        listeners.add(self._queue)

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> EventMessage:
        if self._past:
            return self._past.popleft()
        while (event := await next_event(self._queue, self._ends)) is not None:
            if matches(event, self._options):
                return event
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Listen no more."""
        self._listeners.discard(self._queue)


def ends_at(until: int | None) -> float | None:
    """When ``until`` (nanoseconds since 1970) is by the loop's clock, which goes on evenly when the time is set."""
    if until is None:
        return None
    return asyncio.get_running_loop().time() + (until - time.time_ns()) / SECOND


async def next_event(queue: asyncio.Queue[EventMessage | None], ends: float | None) -> EventMessage | None:
    """The next event of ``queue``; None once the loop's clock shows ``ends``."""
    if ends is not None and ends <= asyncio.get_running_loop().time():
        return None
    try:
        async with asyncio.timeout_at(ends):
            return await queue.get()
    except TimeoutError:
        return None


def within(event: EventMessage, options: EventsOptions) -> bool:
    """Whether ``event`` happened between ``since`` and ``until``."""
    after = options.since is None or event.time_nano >= options.since
    return after and (options.until is None or event.time_nano <= options.until)


def matches(event: EventMessage, options: EventsOptions) -> bool:
    """Whether a reader with these filters wants ``event``."""
    filters = options.filters
    return (
        (not options.types or event.type in options.types)
        and filters.exact("type", event.type)
        and filters.exact("scope", event.scope)
        and filters.any_of("event", lambda wanted: is_action(event.action, wanted))
        and filters.labels(event.actor.attributes)
        and all(about(event, filters, term, type) for term, type in OBJECTS.items() if term in filters)
    )


def is_action(action: str, wanted: str) -> bool:
    """``exec_create: ls`` is an ``exec_create``; ``health_status`` is every status."""
    return action == wanted or action.startswith(wanted + ":")


def about(event: EventMessage, filters: Filters, term: str, type: str) -> bool:
    """Whether ``event`` is about one of the objects named by ``term``: ID, beginning of it, or name.

    An event of another type still counts when it names the object as an attribute (a network's ``connect`` names
    its container; a container's events name its image).
    """
    if event.type == type:
        names = (event.actor.id, event.actor.attributes.get("name", ""))
    else:
        names = (event.actor.attributes.get(term, ""), "")
    return any(
        wanted in names or (event.type == type and bool(wanted) and event.actor.id.startswith(wanted))
        for wanted in filters.get(term)
    )
