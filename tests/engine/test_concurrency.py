"""Many clients at the same objects: each gets a status that is true, and nothing is left over."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import docker
import pytest
from engine_daemon import Daemon

IDLE = {"Image": "busybox", "Cmd": ["sleep", "10000"], "StopSignal": "KILL", "HostConfig": {"NetworkMode": "none"}}

Call = Callable[..., Awaitable[int]]


async def together(daemon: Daemon, work: Callable[[Call], Awaitable[Any]]) -> None:
    """Do ``work`` with a function that sends one request on a connection of its own and returns the status."""
    connector = aiohttp.UnixConnector(str(daemon.socket), limit=0, force_close=True)
    async with aiohttp.ClientSession("http://d", connector=connector) as session:

        async def call(method: str, path: str, body: object = None) -> int:
            async with session.request(method, path, json=body, timeout=aiohttp.ClientTimeout(60)) as answer:
                await answer.read()
                return answer.status

        await work(call)


async def test_a_thousand_requests_at_once(daemon: Daemon, client: docker.DockerClient) -> None:
    async def life(call: Call, number: int) -> tuple[int, ...]:
        name = f"many-{number}"
        return (
            await call("POST", f"/containers/create?name={name}", IDLE),
            await call("GET", f"/containers/{name}/json"),
            await call("GET", "/containers/json?all=1&size=1"),
            await call("DELETE", f"/containers/{name}"),
            await call("GET", f"/containers/{name}/json"),
        )

    async def work(call: Call) -> None:
        lists = [call("GET", path) for path in ("/info", "/images/json", "/networks", "/volumes", "/containers/json")]
        lists += [call("GET", "/system/df") for _ in range(20)]
        lives = asyncio.gather(*(life(call, number) for number in range(195)))
        assert Counter(await asyncio.gather(*lists)) == {200: 25}
        assert Counter(await lives) == {(201, 200, 200, 204, 404): 195}

    await together(daemon, work)


async def test_one_name_is_taken_once(daemon: Daemon, client: docker.DockerClient) -> None:
    async def work(call: Call) -> None:
        statuses = await asyncio.gather(*(call("POST", "/containers/create?name=wanted", IDLE) for _ in range(20)))
        assert Counter(statuses) == {201: 1, 409: 19}

    await together(daemon, work)


@pytest.mark.parametrize("query", ["", "?force=1"])
async def test_a_container_is_removed_once(daemon: Daemon, client: docker.DockerClient, query: str) -> None:
    async def work(call: Call) -> None:
        for _ in range(5):
            assert await call("POST", "/containers/create?name=doomed", IDLE) == 201
            if query:
                assert await call("POST", "/containers/doomed/start") == 204
            statuses = Counter(await asyncio.gather(*(call("DELETE", f"/containers/doomed{query}") for _ in range(4))))
            assert statuses[204] == 1
            assert statuses.keys() <= {204, 404, 409}, "removed, gone, or being removed"

    await together(daemon, work)


TRUE = {
    "start": {204, 304, 404, 409},
    "stop?t=0": {204, 304, 404},
    "restart?t=0": {204, 404, 409},
    "kill": {204, 404, 409},
    "pause": {204, 404, 409},
    "unpause": {204, 404, 409, 500},  # 500 as dockerd: it is not paused
}
"""What each operation may say of a container that others start, stop and remove."""


async def test_twenty_clients_pull_at_one_container(daemon: Daemon, client: docker.DockerClient) -> None:
    async def one_client(call: Call, first: int) -> None:
        names = itertools.islice(itertools.cycle(TRUE), first, first + 12)
        for name in names:
            status = await call("POST", f"/containers/pulled/{name}")
            assert status in TRUE[name], (name, status)
            if (first + status) % 5 == 0:
                assert await call("DELETE", "/containers/pulled?force=1") in (204, 404, 409)
                assert await call("POST", "/containers/create?name=pulled", IDLE) in (201, 409)

    async def work(call: Call) -> None:
        assert await call("POST", "/containers/create?name=pulled", IDLE) == 201
        await asyncio.gather(*(one_client(call, number) for number in range(20)))
        assert await call("DELETE", "/containers/pulled?force=1") in (204, 404)
        assert await call("GET", "/containers/pulled/json") == 404

    await together(daemon, work)
