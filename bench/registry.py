"""Our registry beside Debian's docker-registry: push and pull of a large blob, small requests per second.

    python bench/registry.py [--rounds N] [--megabytes N]

Both run at once on loopback with a root of their own and are asked in turn; each line is the median of the rounds and
the ratio (above 1: ours is faster). Needs /usr/bin/docker-registry and curl.
"""

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
REQUESTS = 2000
CLIENTS = 8


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(argv: list[str], port: int) -> Iterator[int]:
    """The program, until the block ends; gives its process once it accepts."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def ours(root: Path, port: int) -> list[str]:
    """Command line of our registry."""
    config = root / "ours.json"
    config.write_text(json.dumps({"log": {"access": False}}))
    listen = ["--root", str(root / "ours"), "--listen", f"127.0.0.1:{port}", "--config", str(config)]
    return [sys.executable, "-m", "sampan.registry.server.main", "serve", *listen]


def debians(root: Path, port: int) -> list[str]:
    """Command line of Debian's, its logs off too."""
    config = root / "debians.json"
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(root / "debians")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    config.write_text(json.dumps(settings))
    return ["/usr/bin/docker-registry", "serve", str(config)]


class Peer:
    """One registry under measurement."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> str:
        self._connection.request(method, path, body, {"Content-Type": kind or "application/octet-stream"})
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status in (201, 202), answer.status
        location = answer.getheader("Location") or ""
        return location.removeprefix(self.root)

    def push(self, data: bytes, digest: str) -> None:
        """Upload a blob as Docker does."""
        location = self._ask("PATCH", self._ask("POST", "/v2/bench/x/blobs/uploads/"), data)
        self._ask("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}")

    def tag(self, config: bytes) -> None:
        """Push a manifest that points to ``config``."""
        pointer = {"mediaType": CONFIG, "digest": sha256(config), "size": len(config)}
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": pointer, "layers": []}
        self._ask("PUT", "/v2/bench/x/manifests/tag", json.dumps(value).encode(), MANIFEST)

    def pull(self, digest: str) -> None:
        """Download a blob to nowhere."""
        subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{self.root}/v2/bench/x/blobs/{digest}"], check=True)

    def many(self, path: str) -> None:
        """``REQUESTS`` GETs by ``CLIENTS`` at once."""
        asyncio.run(_many(self.root + path))


async def _many(url: str) -> None:
    async with aiohttp.ClientSession(headers={"Accept": MANIFEST}) as session:

        async def client() -> None:
            for _ in range(REQUESTS // CLIENTS):
                async with session.get(url) as answer:
                    await answer.read()
                    assert answer.status == 200, answer.status

        await asyncio.gather(*(client() for _ in range(CLIENTS)))


def sha256(data: bytes) -> str:
    """The digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def timed(work: Callable[[], object]) -> float:
    """Seconds it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(peers: dict[str, Peer], rounds: int, size: int) -> dict[str, dict[str, list[float]]]:
    """Rates by what was done and by whom."""
    results: dict[str, dict[str, list[float]]] = {}
    small = os.urandom(2000)
    for peer in peers.values():
        peer.push(small, sha256(small))
        peer.tag(small)
    for _ in range(rounds):
        data = os.urandom(size)
        for name, peer in peers.items():
            for what, rate in one_round(peer, data, sha256(small)).items():
                results.setdefault(what, {}).setdefault(name, []).append(rate)
    return results


def one_round(peer: Peer, data: bytes, small: str) -> dict[str, float]:
    """Rates of one registry: ``data`` is pushed and pulled, the blob ``small`` and a manifest asked for many times."""
    digest, megabytes = sha256(data), len(data) / 1e6
    return {
        "push MB/s": megabytes / timed(lambda: peer.push(data, digest)),
        "pull MB/s": megabytes / timed(lambda: peer.pull(digest)),
        "blobs/s": REQUESTS / timed(lambda: peer.many(f"/v2/bench/x/blobs/{small}")),
        "manifests/s": REQUESTS / timed(lambda: peer.many("/v2/bench/x/manifests/tag")),
    }


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        peers = {}
        for command in (ours, debians):
            port = free_port()
            stack.enter_context(running(command(Path(directory), port), port))
            peers[command.__name__] = Peer(port)
        for what, rates in measure(peers, options.rounds, options.megabytes * 1_000_000).items():
            mine, theirs = (statistics.median(rates[name]) for name in peers)
            print(f"{what:12} ours {mine:9.1f}   docker-registry {theirs:9.1f}   ratio {mine / theirs:5.2f}")


if __name__ == "__main__":
    main()
