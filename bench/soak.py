"""Short containers without end, and what the daemon holds meanwhile: ``python bench/soak.py [--containers N]``.

One line for each ``--every`` containers: the daemon's own memory, open files, those of them that are writable layers'
mounts, threads, processes below it, files under its data root. The mounts of ended containers are kept for a second
(storage.held_mounts, 128 at most), so a line is taken once no more are closed. Every column but the first should be
flat; the exit status is 1 when one is not. Nothing is compared.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import aiohttp
from peers import Peer, ready

from engine import whole_life

SPARE = {"rss_kb": 1.15, "descriptors": 1.2, "threads": 1.5, "processes": 1.5, "files": 1.05}
"""What the last line may have, in the second line's: the first is before caches are full."""


@dataclass(frozen=True)
class Holding:
    """What the daemon holds at a moment."""

    containers: int
    rss_kb: int
    descriptors: int
    mounts: int
    threads: int
    processes: int
    files: int


def targets(directory: Path) -> list[str]:
    """What each descriptor leads to; a detached mount is a ``/``."""
    found = []
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(path.readlink()))
    return found


async def settled(peer: Peer, containers: int) -> Holding:
    """Count once two counts, some time apart, say the same of the descriptors."""
    last = holding(peer, containers)
    while True:
        await asyncio.sleep(2)
        now = holding(peer, containers)
        if now.descriptors >= last.descriptors:
            return now
        last = now


def holding(peer: Peer, containers: int) -> Holding:
    """Count now."""
    process = Path(f"/proc/{peer.pid}")
    opened = targets(process / "fd")
    facts = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Holding(
        containers=containers,
        rss_kb=int(facts["VmRSS"].split()[0]),
        descriptors=len(opened),
        mounts=opened.count("/"),
        threads=len(list((process / "task").iterdir())),
        processes=len((process / "task" / str(peer.pid) / "children").read_text().split()),
        files=sum(1 for _ in (peer.socket or Path()).with_name("data").rglob("*")),
    )


def show(row: Holding) -> None:
    """One line."""
    print("".join(f"{value:>13}" for value in astuple(row)), flush=True)


def growth(rows: list[Holding]) -> list[str]:
    """The columns that grew past what is spare."""
    settled, last = rows[min(1, len(rows) - 1)], rows[-1]
    return [name for name, spare in SPARE.items() if getattr(last, name) > getattr(settled, name) * spare + 2]


async def soak(peer: Peer, containers: int, every: int, clients: int) -> list[Holding]:
    """Run them, ``clients`` at a time; a line for each ``every``."""
    rows = []
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(peer.socket), limit=clients)) as session:
        for done in range(0, containers, every):
            left = iter(range(min(every, containers - done)))

            async def work(numbers: Iterator[int] = left) -> None:
                for _ in numbers:
                    await whole_life(session)

            await asyncio.gather(*(work() for _ in range(clients)))
            rows.append(await settled(peer, done + every))
            show(rows[-1])
    return rows


def main() -> int:
    """Print the lines; 1 when something grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--containers", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    print("".join(f"{field.name:>13}" for field in fields(Holding)))
    with ready(["sampan"]) as (peer,):
        grown = growth(asyncio.run(soak(peer, given.containers, given.every, given.clients)))
    print(f"grew: {', '.join(grown)}" if grown else "flat")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
