"""Events reach those who asked for them, in order, and nobody waits for a slow listener."""

import asyncio
import time

from sampan.api.events import EventMessage, EventsOptions
from sampan.api.filters import Filters
from sampan.engine.events import HISTORY, QUEUE, Events


async def collect(events: Events, options: EventsOptions) -> list[EventMessage]:
    return [event async for event in await events.subscribe(options)]


def filtered(**terms: list[str]) -> EventsOptions:
    return EventsOptions(since=0, until=time.time_ns(), filters=Filters(terms))


async def test_the_past_is_kept_for_a_while() -> None:
    events = Events()
    for number in range(HISTORY + 5):
        events.publish("container", "start", str(number))
    found = await collect(events, EventsOptions(since=0, until=time.time_ns()))
    assert [event.actor.id for event in found] == [str(number) for number in range(5, HISTORY + 5)]


async def test_filters_choose() -> None:
    events = Events()
    events.publish("container", "exec_create: ls", "abc", {"name": "web", "image": "busybox", "tier": "front"})
    events.publish("network", "connect", "net1", {"container": "abc", "name": "bridge"})
    events.publish("container", "die", "def", {"name": "db"})
    for terms, ids in (
        ({"event": ["exec_create"]}, ["abc"]),
        ({"type": ["network"]}, ["net1"]),
        ({"container": ["web"]}, ["abc"]),
        ({"container": ["abc"]}, ["abc", "net1"]),
        ({"image": ["busybox"]}, ["abc"]),
        ({"label": ["tier=front"]}, ["abc"]),
        ({"event": ["die", "connect"]}, ["net1", "def"]),
    ):
        assert [event.actor.id for event in await collect(events, filtered(**terms))] == ids


async def test_a_follower_gets_what_comes_and_ends_at_until() -> None:
    events = Events()
    stream = await events.subscribe(EventsOptions(until=time.time_ns() + 50_000_000))
    events.publish("container", "start", "abc")
    assert [event.action async for event in stream] == ["start"]
    assert events.listeners == 0


async def test_a_listener_too_far_behind_is_cut_off() -> None:
    events = Events()
    stream = await events.subscribe(EventsOptions())
    for _ in range(QUEUE + 10):
        events.publish("container", "start", "abc")
    assert len([event async for event in stream]) == QUEUE - 1


async def test_events_of_the_past_come_before_new_ones() -> None:
    events = Events()
    events.publish("container", "create", "abc")
    stream = await events.subscribe(EventsOptions(since=0))
    events.publish("container", "start", "abc")
    actions = [(await asyncio.wait_for(anext(stream), 1)).action for _ in range(2)]
    await stream.aclose()
    assert actions == ["create", "start"]
