"""Containers' life against dockerd and podman: ``python bench/containers.py [peer …] [--rounds N]``.

Prints medians and ratios (peer's time / ours: more than 1 means we are faster), then sizes of the daemons.
"""

import argparse
import json
import subprocess
import uuid
from functools import cache
from pathlib import Path

from measure import Case, compare, report
from peers import IMAGE, KINDS, Peer, ready


def run_true(peer: Peer) -> None:
    """The whole of ``run --rm image true``, bridge network."""
    peer.call("run", "--rm", IMAGE, "true")


def create_remove(peer: Peer) -> None:
    """A container that is made and removed without running."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    peer.call("create", "--name", name, IMAGE, "true")
    peer.call("rm", name)


def exec_true(peer: Peer) -> None:
    """One command in a running container."""
    peer.call("exec", "bench-idle", "true")


def commit(peer: Peer) -> None:
    """An image from a running container with a small change."""
    peer.call("commit", "bench-idle", "bench/committed:latest")


def version(peer: Peer) -> None:
    """The client's own cost: ask for the version (podman has no daemon to ask)."""
    peer.call("version")


def list_containers(peer: Peer) -> None:
    """``ps``."""
    peer.call("ps")


PAYLOAD = 200 << 20


@cache
def payload() -> bytes:
    """What goes through ``cat``; made when it is needed, for others import from here."""
    return bytes(PAYLOAD)


def exec_cat(peer: Peer) -> None:
    """200 MB through the stdin and stdout of an exec."""
    got = peer.call("exec", "-i", "bench-idle", "cat", input=payload()).stdout
    if len(got) != PAYLOAD:
        raise RuntimeError(f"{peer.name} returned {len(got)} bytes of {PAYLOAD}")


def attach_cat(peer: Peer) -> None:
    """200 MB through the stdin and stdout of a container that is run attached."""
    got = peer.call("run", "--rm", "-i", IMAGE, "cat", input=payload()).stdout
    if len(got) != PAYLOAD:
        raise RuntimeError(f"{peer.name} returned {len(got)} bytes of {PAYLOAD}")


def log_output(peer: Peer) -> None:
    """20 MB of log lines, read back."""
    peer.call("run", "--rm", IMAGE, "sh", "-c", "yes 0123456789012345678901234567890123456789 | head -c 20000000")


CASES: dict[str, tuple[Case, int]] = {
    "version": (version, 9),
    "run --rm true": (run_true, 15),
    "create + rm": (create_remove, 9),
    "exec true": (exec_true, 15),
    "ps": (list_containers, 9),
    "commit": (commit, 9),
    "exec -i cat, 200 MB": (exec_cat, 3),
    "run -i cat, 200 MB": (attach_cat, 3),
    "20 MB of output, attached": (log_output, 3),
}


def resident(pid: int) -> int:
    """Proportional set size of a process and its descendants in kB (counts shared pages once)."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            total = int(line.split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return total + sum(resident(int(child)) for child in children)


def main() -> None:
    """Run every case for the peers named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", default=list(KINDS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--case", action="append", choices=list(CASES))
    given = parser.parse_args()
    with ready(given.peers) as peers:
        for peer in peers:
            peer.call("run", "-d", "--name", "bench-idle", IMAGE, "sleep", "1000000")
        try:
            results = {}
            for title in given.case or CASES:
                case, rounds = CASES[title]
                results[title] = compare(case, peers, given.rounds or rounds)
                report(title, results[title])
            if {"version", "exec true"} <= results.keys():
                for name in results["version"]:
                    beyond = (results["exec true"][name] - results["version"][name]) * 1000
                    print(f"exec true beyond version, {name}: {beyond:.1f} ms")
        finally:
            for peer in peers:
                subprocess.run([*peer.command, "rm", "-f", "bench-idle"], capture_output=True, check=False)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
