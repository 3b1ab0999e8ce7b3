"""Events: what happened to which object, and the query of ``GET /events``."""

from sampan.api.filters import Filters
from sampan.api.wire import Wire, named, omitted_list, present, present_map, present_named, present_struct


class EventActor(Wire):
    """The object that something happened to."""

    id: str = present_named("ID", "")
    attributes: dict[str, str] = present_map()


class EventMessage(Wire):
    """One event: ``type`` container, image, network, volume, daemon, builder…; ``action`` create, start, die…

    ``time`` is in Unix seconds, ``time_nano`` the same instant in nanoseconds.
    """

    type: str = present("")
    action: str = present("")
    actor: EventActor = present_struct(EventActor)
    scope: str = present_named("scope", "local")
    time: int = named("time", 0)
    time_nano: int = named("timeNano", 0)


class EventsOptions(Wire):
    """Query of ``GET /events``: ``since``, ``until`` in nanoseconds since 1970; ``None`` is not given.

    With ``since`` stored events come first; with ``until`` the stream ends at that time.
    """

    since: int | None = None
    until: int | None = None
    filters: Filters = present_struct(Filters)
    types: list[str] = omitted_list()
