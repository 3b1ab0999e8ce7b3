"""The API itself, without a command line: starts, throughput, many containers at once, memory.

    python bench/engine.py [peer …] [--containers N] [--clients N] [--quick]

Figures that take a moment are taken of the peers in turn, call by call; those that fill the machine one peer after the
other. ``aim`` is what the project holds itself to, on a quiet machine with two processors.
"""

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import aiohttp
import memory
from containers import resident
from peers import IMAGE, Peer, ready

BASE = "http://docker"
SLEEP = {"Image": IMAGE, "Cmd": ["sleep", "1000000"]}
TRUE = {"Image": IMAGE, "Cmd": ["true"]}


@dataclass(frozen=True)
class Amount:
    """How much is done for the figures: calls of each peer, whole lives at once, batches of idle containers."""

    starts: int = 50
    calls: int = 100
    lives: int = 200
    batch: int = 32
    batches: int = 5
    looks: int = 9


QUICK = Amount(starts=5, calls=20, lives=20, batch=8, batches=3, looks=3)
"""Two minutes for three peers, of which dockerd and podman take most."""

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


@contextlib.asynccontextmanager
async def sleepers(session: Session, count: int):  # type: ignore[no-untyped-def]
    """``count`` idle containers for the time of the block."""
    started: list[str] = []
    few_at_once = asyncio.Semaphore(8)

    async def each(container: str) -> None:
        async with few_at_once:
            await remove(session, container)

    try:
        for _ in range(count):
            started.append((await create_start(session, SLEEP))[0])
        yield started
    finally:
        await asyncio.gather(*map(each, started))


async def with_many(peer: Peer, session: Session, count: int, looks: int) -> Row:
    """``docker ps``, the list and a start in milliseconds with ``count`` containers running."""
    async with sleepers(session, count):
        if (await get(session, "/containers/json")).count(b'"Id"') < count:
            raise RuntimeError("containers are missing from the list")
        listing = statistics.median([await timed(get(session, "/containers/json")) for _ in range(looks)])
        started = statistics.median([await whole_life(session) for _ in range(looks)])
        shown = statistics.median([await timed(asyncio.to_thread(peer.call, "ps")) for _ in range(looks)])
    return {"list": listing * 1000, "start": started * 1000, "ps": shown * 1000}


def show(title: str, row: Row, unit: str, aim: str = "", ours: str = "sampan") -> None:
    """One line: each peer's figure, and what the others' are in ours."""
    told = "  ".join(f"{name} {value:9.2f} {unit}" for name, value in row.items())
    ratios = "  ".join(f"{name}/{ours} {v / row[ours]:.2f}" for name, v in row.items() if name != ours and ours in row)
    print(f"{title:<40} {told}   {ratios}   {'aim ' + aim if aim else ''}", flush=True)


async def measure(peers: list[Peer], containers: int, clients: int, amount: Amount) -> None:
    """Print all figures."""
    async with contextlib.AsyncExitStack() as stack:
        sessions = {}
        for peer in peers:
            connector = aiohttp.UnixConnector(str(peer.socket), limit=max(clients, 10))
            sessions[peer.name] = await stack.enter_async_context(Session(connector=connector))
        await ping_start_list(sessions, amount)
        each = {name: await throughput(session, amount.lives, clients) for name, session in sessions.items()}
        show(f"{clients} clients: create, start, wait, remove", each, "/s", "at least 100/s")
        await idle_memory(peers, sessions, amount)
        many = {peer.name: await with_many(peer, sessions[peer.name], containers, amount.looks) for peer in peers}
        for what, aim in (("ps", "50 ms"), ("list", ""), ("start", "")):
            show(f"{what} beside {containers} containers", {n: row[what] for n, row in many.items()}, "ms", aim)
        show("the daemon, and what belongs to it", {p.name: resident(p.pid or 0) / 1024 for p in peers}, "MB", "60 MB")


async def idle_memory(peers: list[Peer], sessions: dict[str, Session], amount: Amount) -> None:
    """kB for each idle container: its process, its parent, the kernel's part, what the daemon grows by."""
    figures = {}
    for peer in peers:
        running = partial(sleepers, sessions[peer.name])
        figures[peer.name] = await memory.each_container(running, peer.pid or 0, amount.batch, amount.batches)
    show("an idle container", {name: row["all"] for name, row in figures.items()}, "kB", "512 kB")
    for name, row in figures.items():
        print(f"  {name}: {memory.told(row)}", flush=True)


async def ping_start_list(sessions: dict[str, Session], amount: Amount) -> None:
    """The figures of single calls."""
    show("start, from the call to its answer", await in_turn(sessions, whole_life, amount.starts), "ms", "5 ms")
    show("/_ping", await in_turn(sessions, lambda s: timed(get(s, "/_ping")), amount.calls), "ms", "0.5 ms")
    async with contextlib.AsyncExitStack() as stack:
        for session in sessions.values():
            await stack.enter_async_context(sleepers(session, 10))
        listing = await in_turn(sessions, lambda s: timed(get(s, "/containers/json")), amount.calls)
    show("/containers/json of 10", listing, "ms", "3 ms")


def main() -> None:
    """Measure the daemons named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("peers", nargs="*", default=["sampan", "dockerd", "podman"])
    parser.add_argument("--containers", type=int, default=500)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="fewer of everything: a look, not a figure")
    given = parser.parse_args()
    with ready(given.peers) as peers:
        asyncio.run(
            measure(
                [peer for peer in peers if peer.socket],
                given.containers,
                given.clients,
                QUICK if given.quick else Amount(),
            )
        )


if __name__ == "__main__":
    main()
