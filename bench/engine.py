"""The API itself, without a command line: starts a second, memory of idle containers, listing many.

    python bench/engine.py [sampan|dockerd …] [--containers N] [--clients N]

Each peer is measured in its own turn; figures of a peer that is left out are not guessed.
"""

import argparse
import asyncio
import statistics
import time
from pathlib import Path

import aiohttp
from containers import resident
from peers import IMAGE, Peer, ready

BASE = "http://docker"
SLEEP = {"Image": IMAGE, "Cmd": ["sleep", "1000000"]}
TRUE = {"Image": IMAGE, "Cmd": ["true"]}


async def post(session: aiohttp.ClientSession, path: str, body: object = None) -> dict[str, str]:
    """POST and decode; raises RuntimeError with the daemon's words."""
    async with session.post(BASE + path, json=body) as answer:
        if answer.status >= 400:
            raise RuntimeError(f"{path}: {await answer.text()}")
        return dict(await answer.json()) if answer.content_type == "application/json" and answer.status != 204 else {}


async def create_start(session: aiohttp.ClientSession, body: object) -> tuple[str, float]:
    """A running container: (identifier, seconds that its start took)."""
    created = await post(session, "/containers/create", body)
    before = time.perf_counter()
    await post(session, f"/containers/{created['Id']}/start")
    return created["Id"], time.perf_counter() - before


async def remove(session: aiohttp.ClientSession, container: str) -> None:
    """Remove, running or not."""
    async with session.delete(f"{BASE}/containers/{container}", params={"force": "1"}) as answer:
        await answer.read()


async def start_latency(session: aiohttp.ClientSession, count: int) -> float:
    """Median seconds of the start call, one at a time."""
    taken = []
    for _ in range(count):
        container, seconds = await create_start(session, TRUE)
        taken.append(seconds)
        await post(session, f"/containers/{container}/wait")
        await remove(session, container)
    return statistics.median(taken)


async def throughput(session: aiohttp.ClientSession, count: int, clients: int) -> float:
    """Containers a second: create, start, wait, remove by ``clients`` at once."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            container, _ = await create_start(session, TRUE)
            await post(session, f"/containers/{container}/wait")
            await remove(session, container)

    before = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    return count / (time.perf_counter() - before)


def used_memory() -> int:
    """Memory of the whole machine that is not available, in kB."""
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(facts["MemTotal"].split()[0]) - int(facts["MemAvailable"].split()[0])


async def many(session: aiohttp.ClientSession, count: int) -> tuple[float, float]:
    """With ``count`` idle containers: (kB of the machine's memory each, seconds of one list)."""
    before = used_memory()
    containers = [(await create_start(session, SLEEP))[0] for _ in range(count)]
    each = (used_memory() - before) / count
    taken = []
    for _ in range(9):
        began = time.perf_counter()
        async with session.get(f"{BASE}/containers/json") as answer:
            if len(await answer.json()) < count:
                raise RuntimeError("containers are missing from the list")
        taken.append(time.perf_counter() - began)
    await asyncio.gather(*(remove(session, container) for container in containers))
    return each, statistics.median(taken)


async def measure(peer: Peer, containers: int, clients: int) -> None:
    """Print all figures of one peer."""
    connector = aiohttp.UnixConnector(str(peer.socket), limit=clients)
    async with aiohttp.ClientSession(connector=connector) as session:
        print(f"{peer.name}: start call, median   {await start_latency(session, 50) * 1000:8.2f} ms", flush=True)
        print(f"{peer.name}: {clients} clients           {await throughput(session, 200, clients):8.1f} containers/s")
        each, listing = await many(session, containers)
        print(f"{peer.name}: memory an idle container {each:6.0f} kB; listing {containers}: {listing * 1000:.1f} ms")
        print(f"{peer.name}: the daemon               {resident(peer.pid or 0) / 1024:6.1f} MB", flush=True)


def main() -> None:
    """Measure the daemons named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", default=["sampan", "dockerd"])
    parser.add_argument("--containers", type=int, default=100)
    parser.add_argument("--clients", type=int, default=10)
    given = parser.parse_args()
    for name in given.peers:
        with ready([name]) as peers:
            asyncio.run(measure(peers[0], given.containers, given.clients))


if __name__ == "__main__":
    main()
