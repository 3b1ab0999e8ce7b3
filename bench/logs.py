"""Much output, and the statistics of many containers.

    python bench/logs.py [peer …] [--megabytes N] [--containers N]

A container writes lines of 100 bytes as fast as they are taken: alone, and while a client follows who reads at most
1 MB a second; with the driver ``local``; and in non-blocking mode, where it is counted how many of the lines are kept.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import time
from pathlib import Path

import aiohttp
from containers import resident
from peers import IMAGE, Peer, ready

from engine import BASE, Row, Session, create_start, get, post, remove, show, sleepers, timed

SLOW = 1 << 20  # bytes a second
LINE, FRAME = 100, 8  # bytes
JSON, LOCAL = {"Type": "json-file"}, {"Type": "local"}
NON_BLOCKING = {"Type": "json-file", "Config": {"mode": "non-blocking", "max-size": "1g"}}


def writer(megabytes: int, log: object) -> dict[str, object]:
    """A container that writes so much to such a log."""
    script = f"yes {'x' * (LINE - 1)} | head -c {(megabytes << 20) // LINE * LINE}"
    return {"Image": IMAGE, "Cmd": ["sh", "-c", script], "HostConfig": {"LogConfig": log}}


async def read_slowly(session: Session, container: str) -> None:
    """Follow the log at a pace that no container should wait for."""
    path = f"{BASE}/containers/{container}/logs?stdout=1&follow=1"
    async with session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as answer:
        async for _ in answer.content.iter_chunked(SLOW // 10):
            await asyncio.sleep(0.1)


async def kept(session: Session, megabytes: int) -> float:
    """Of the lines that are written in non-blocking mode how many are in the log, in hundredths."""
    container, _ = await create_start(session, writer(megabytes, NON_BLOCKING))
    await post(session, f"/containers/{container}/wait")
    size, path = 0, f"{BASE}/containers/{container}/logs?stdout=1"
    async with session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as answer:
        async for part in answer.content.iter_chunked(1 << 20):
            size += len(part)
    await remove(session, container)
    return 100 * size / (LINE + FRAME) / ((megabytes << 20) // LINE)


async def written(peer: Peer, session: Session, megabytes: int, log: object = JSON, *, followed: bool = False) -> Row:
    """Megabytes a second that a container could write, and what the daemon grew by meanwhile, in MB."""
    before = resident(peer.pid or 0)
    begun = time.perf_counter()
    container, _ = await create_start(session, writer(megabytes, log))
    reader = asyncio.create_task(read_slowly(session, container)) if followed else None
    await post(session, f"/containers/{container}/wait")
    seconds = time.perf_counter() - begun
    grown = resident(peer.pid or 0) - before
    if reader:
        reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reader
    await remove(session, container)
    return {"rate": megabytes / seconds, "grown": max(grown, 1) / 1024}


def processor(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def statistics_of_many(peer: Peer, session: Session, count: int) -> Row:
    """Milliseconds of one round over ``count`` containers, and the daemon's processor time for it."""
    async with sleepers(session, count) as containers:
        before, rounds = processor(peer.pid or 0), []
        for _ in range(5):
            calls = [get(session, f"/containers/{each}/stats?stream=0&one-shot=1") for each in containers]
            rounds.append(await timed(asyncio.gather(*calls)))
        answer = json.loads(await get(session, f"/containers/{containers[0]}/stats?stream=0&one-shot=1"))
        if not answer["memory_stats"].get("usage"):
            raise RuntimeError("statistics without memory")
        used = (processor(peer.pid or 0) - before) / 5
    return {"round": statistics.median(rounds) * 1000, "processor": used * 1000}


async def measure(peers: list[Peer], megabytes: int, containers: int) -> None:
    """Print all figures."""
    async with contextlib.AsyncExitStack() as stack:
        sessions = {}
        for peer in peers:
            connector = aiohttp.UnixConnector(str(peer.socket), limit=0)
            sessions[peer.name] = await stack.enter_async_context(Session(connector=connector))
        cases = (("alone", JSON, False), ("with a slow follower", JSON, True), ("driver local", LOCAL, False))
        for what, log, followed in cases:
            rows = {p.name: await written(p, sessions[p.name], megabytes, log, followed=followed) for p in peers}
            show(f"output, {what}", {name: row["rate"] for name, row in rows.items()}, "MB/s", "17 MB/s")
            show("  the daemon grew by", {name: row["grown"] for name, row in rows.items()}, "MB")
        show("lines kept, non-blocking", {p.name: await kept(sessions[p.name], megabytes) for p in peers}, "%")
        many = {p.name: await statistics_of_many(p, sessions[p.name], containers) for p in peers}
        show(f"statistics of {containers} containers", {name: row["round"] for name, row in many.items()}, "ms")
        show("  processor time for them", {name: row["processor"] for name, row in many.items()}, "ms")


def main() -> None:
    """Measure the daemons named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("peers", nargs="*", default=["sampan", "dockerd"])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--containers", type=int, default=100)
    given = parser.parse_args()
    with ready(given.peers) as peers:
        asyncio.run(measure([peer for peer in peers if peer.socket and peer.pid], given.megabytes, given.containers))


if __name__ == "__main__":
    main()
