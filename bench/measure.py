"""Measuring peers in turn, so that whatever else the machine does hits all of them alike.

A case is a function of one peer that does its work once. ``compare`` runs every peer once a round, drops the first
round, and keeps medians; what is reported is the ratio to ours.
"""

import statistics
import time
from collections.abc import Callable, Sequence

from peers import Peer

Case = Callable[[Peer], None]


def seconds(case: Case, peer: Peer) -> float:
    """How long one run of ``case`` takes."""
    before = time.perf_counter()
    case(peer)
    return time.perf_counter() - before


def compare(case: Case, peers: Sequence[Peer], rounds: int) -> dict[str, float]:
    """Median seconds of each peer by name."""
    taken: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(rounds + 1):
        for peer in peers:
            spent = seconds(case, peer)
            if number:
                taken[peer.name].append(spent)
    return {name: statistics.median(values) for name, values in taken.items()}


def report(title: str, medians: dict[str, float], ours: str = "sampan") -> None:
    """One line: medians in milliseconds, and how many times ours each peer takes."""
    told = "  ".join(f"{name} {value * 1000:8.1f} ms" for name, value in medians.items())
    ratios = "  ".join(f"{name}/{ours} {value / medians[ours]:.2f}" for name, value in medians.items() if name != ours)
    print(f"{title:<34} {told}   {ratios}", flush=True)
