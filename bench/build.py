"""Builds against dockerd's classic builder, podman and buildah: ``python bench/build.py [peer …] [--rounds N]``.

Cold (no cache), cached, one file changed, ten stages side by side, a context of 20,000 files. Prints medians and
ratios (peer's time / ours). With ``--buildx`` ours are built through buildx, which has to be a plugin of docker's.
"""

import argparse
import tempfile
import uuid
from dataclasses import replace
from functools import cache
from pathlib import Path

from measure import Case, compare, report
from peers import BUILDERS, IMAGE, Peer, ready

SCRATCH = tempfile.TemporaryDirectory(prefix="bench-build-")
"""Where contexts are, until the program ends."""
CACHED = f"FROM {IMAGE}\nCOPY a /a\nRUN echo one > /one\nLABEL x=y\n"
STAGES = "".join(f"FROM {IMAGE} AS s{n}\nRUN sleep 0.2; echo {n} > /out\n" for n in range(10))
PARALLEL = STAGES + f"FROM {IMAGE}\n" + "".join(f"COPY --from=s{n} /out /out{n}\n" for n in range(10))


def context(dockerfile: str, content: str = "a") -> Path:
    """A directory with a Dockerfile and one file."""
    root = Path(tempfile.mkdtemp(dir=SCRATCH.name))
    (root / "Dockerfile").write_text(dockerfile)
    (root / "a").write_text(content)
    return root


def cold(peer: Peer) -> None:
    """Three steps without cache."""
    peer.build("--no-cache", str(context(CACHED)))


def cached(peer: Peer) -> None:
    """Three steps that are all in the cache."""
    peer.build(str(context(CACHED)))


def changed(peer: Peer) -> None:
    """One file differs from the build before."""
    peer.build(str(context(CACHED, uuid.uuid4().hex)))


def parallel(peer: Peer) -> None:
    """Ten stages that need nothing of one another."""
    peer.build("--no-cache", str(context(PARALLEL)))


@cache
def many() -> Path:
    """A context of 20,000 small files."""
    root = context(f"FROM {IMAGE}\nCOPY . /all/\n")
    for number in range(20_000):
        directory = root / f"d{number // 200}"
        directory.mkdir(exist_ok=True)
        (directory / f"f{number}").write_text(str(number))
    return root


def large_context(peer: Peer) -> None:
    """20,000 files, one of them new each time, copied."""
    (many() / "a").write_text(uuid.uuid4().hex)
    peer.build(str(many()))


CASES: dict[str, tuple[Case, int]] = {
    "cold, 3 steps": (cold, 5),
    "cached, 3 steps": (cached, 9),
    "one file changed": (changed, 5),
    "10 stages": (parallel, 3),
    "20,000 files": (large_context, 1),
}


def main() -> None:
    """Run every case for the peers named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", default=list(BUILDERS))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--buildx", action="store_true")
    given = parser.parse_args()
    with ready(given.peers) as started:
        peers = [replace(peer, buildx=given.buildx and peer.name == "sampan") for peer in started]
        for title, (case, rounds) in CASES.items():
            report(title, compare(case, peers, min(given.rounds or rounds, rounds)))


if __name__ == "__main__":
    main()
