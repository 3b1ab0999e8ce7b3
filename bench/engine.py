"""The API itself, without a command line: starts, throughput, many containers at once, memory.

    python bench/engine.py [peer …] [--containers N] [--clients N]

Figures that take a moment are taken of the peers in turn, call by call; those that fill the machine one peer after the
other. ``aim`` is what the project holds itself to, on a quiet machine with two processors.
"""

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from containers import resident
from peers import IMAGE, Peer, ready

BASE = "http://docker"
SLEEP = {"Image": IMAGE, "Cmd": ["sleep", "1000000"]}
TRUE = {"Image": IMAGE, "Cmd": ["true"]}
SLEEPERS = 64
"""Containers started before a memory figure: enough to be told from what else the machine does."""

Session = aiohttp.ClientSession
Row = dict[str, float]


async def post(session: Session, path: str, body: object = None) -> dict[str, str]:
    """POST and decode; raises RuntimeError with the daemon's words."""
    async with session.post(BASE + path, json=body) as answer:
        if answer.status >= 400:
            raise RuntimeError(f"{path}: {await answer.text()}")
        return dict(await answer.json()) if answer.content_type == "application/json" and answer.status != 204 else {}


async def get(session: Session, path: str) -> bytes:
    """The body of a GET."""
    async with session.get(BASE + path) as answer:
        return await answer.read()


async def create_start(session: Session, body: object) -> tuple[str, float]:
    """A running container: (identifier, seconds that its start took)."""
    created = await post(session, "/containers/create", body)
    before = time.perf_counter()
    await post(session, f"/containers/{created['Id']}/start")
    return created["Id"], time.perf_counter() - before


async def remove(session: Session, container: str) -> None:
    """Remove, running or not."""
    async with session.delete(f"{BASE}/containers/{container}", params={"force": "1"}) as answer:
        await answer.read()


async def whole_life(session: Session) -> float:
    """Create, start, wait, remove; returns the seconds of the start."""
    container, seconds = await create_start(session, TRUE)
    await post(session, f"/containers/{container}/wait")
    await remove(session, container)
    return seconds


async def timed(call: Awaitable[object]) -> float:
    """Seconds that a call takes."""
    before = time.perf_counter()
    await call
    return time.perf_counter() - before


async def in_turn(sessions: dict[str, Session], once: Callable[[Session], Awaitable[float]], rounds: int) -> Row:
    """Median milliseconds of each peer, one call of each a round; the first rounds warm up."""
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(rounds + 3):
        for name, session in sessions.items():
            seconds = await once(session)
            if number >= 3:
                taken[name].append(seconds)
    return {name: statistics.median(values) * 1000 for name, values in taken.items()}


async def throughput(session: Session, count: int, clients: int) -> float:
    """Containers a second: create, start, wait, remove by ``clients`` at once."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await whole_life(session)

    return count / await timed(asyncio.gather(*(work() for _ in range(clients))))


def used_memory() -> int:
    """Memory of the whole machine that is not available, in kB."""
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(facts["MemTotal"].split()[0]) - int(facts["MemAvailable"].split()[0])


@contextlib.asynccontextmanager
async def sleepers(session: Session, count: int, started: list[str]):  # type: ignore[no-untyped-def]
    """``count`` idle containers for the time of the block, their identifiers in ``started``."""
    one_by_one = asyncio.Semaphore(8)

    async def each(container: str) -> None:
        async with one_by_one:
            await remove(session, container)

    try:
        for _ in range(count):
            started.append((await create_start(session, SLEEP))[0])
        yield
    finally:
        await asyncio.gather(*map(each, started))


async def memory_each(session: Session) -> float:
    """kB of the machine's memory for each idle container: its process, its parent, the kernel's part, the daemon's."""
    before = used_memory()
    async with sleepers(session, SLEEPERS, []):
        await asyncio.sleep(1)
        return (used_memory() - before) / SLEEPERS


async def with_many(peer: Peer, session: Session, count: int) -> Row:
    """``docker ps``, the list and a start in milliseconds with ``count`` containers running."""
    async with sleepers(session, count, []):
        if (await get(session, "/containers/json")).count(b'"Id"') < count:
            raise RuntimeError("containers are missing from the list")
        listing = statistics.median([await timed(get(session, "/containers/json")) for _ in range(9)])
        started = statistics.median([await whole_life(session) for _ in range(9)])
        shown = statistics.median([await timed(asyncio.to_thread(peer.call, "ps")) for _ in range(9)])
    return {"list": listing * 1000, "start": started * 1000, "ps": shown * 1000}


def show(title: str, row: Row, unit: str, aim: str = "", ours: str = "sampan") -> None:
    """One line: each peer's figure, and what the others' are in ours."""
    told = "  ".join(f"{name} {value:9.2f} {unit}" for name, value in row.items())
    ratios = "  ".join(f"{name}/{ours} {v / row[ours]:.2f}" for name, v in row.items() if name != ours and ours in row)
    print(f"{title:<40} {told}   {ratios}   {'aim ' + aim if aim else ''}", flush=True)


async def measure(peers: list[Peer], containers: int, clients: int) -> None:
    """Print all figures."""
    async with contextlib.AsyncExitStack() as stack:
        sessions = {}
        for peer in peers:
            connector = aiohttp.UnixConnector(str(peer.socket), limit=max(clients, 10))
            sessions[peer.name] = await stack.enter_async_context(Session(connector=connector))
        await ping_start_list(sessions)
        each = {name: await throughput(session, 200, clients) for name, session in sessions.items()}
        show(f"{clients} clients: create, start, wait, remove", each, "/s", "at least 100/s")
        show("an idle container", {n: await memory_each(s) for n, s in sessions.items()}, "kB", "512 kB")
        many = {peer.name: await with_many(peer, sessions[peer.name], containers) for peer in peers}
        for what, aim in (("ps", "50 ms"), ("list", ""), ("start", "")):
            show(f"{what} beside {containers} containers", {n: row[what] for n, row in many.items()}, "ms", aim)
        show("the daemon, and what belongs to it", {p.name: resident(p.pid or 0) / 1024 for p in peers}, "MB", "60 MB")


async def ping_start_list(sessions: dict[str, Session]) -> None:
    """The figures of single calls."""
    show("start, from the call to its answer", await in_turn(sessions, whole_life, 50), "ms", "5 ms")
    show("/_ping", await in_turn(sessions, lambda s: timed(get(s, "/_ping")), 100), "ms", "0.5 ms")
    async with contextlib.AsyncExitStack() as stack:
        for session in sessions.values():
            await stack.enter_async_context(sleepers(session, 10, []))
        listing = await in_turn(sessions, lambda s: timed(get(s, "/containers/json")), 30)
    show("/containers/json of 10", listing, "ms", "3 ms")


def main() -> None:
    """Measure the daemons named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("peers", nargs="*", default=["sampan", "dockerd", "podman"])
    parser.add_argument("--containers", type=int, default=500)
    parser.add_argument("--clients", type=int, default=10)
    given = parser.parse_args()
    with ready(given.peers) as peers:
        asyncio.run(measure([peer for peer in peers if peer.socket], given.containers, given.clients))


if __name__ == "__main__":
    main()
