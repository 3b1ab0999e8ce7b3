"""Traffic between containers and through published ports, beside dockerd: ``python bench/networks.py [peer …]``.

    beside     container → container on one network
    loopback   host → 127.0.0.1:port of a published port
    address    host → the bridge's address:port of a published port
    hairpin    container → the bridge's address:port of a published port

iperf3 in containers, one stream, in turn for each peer and round; medians in Gbit/s and the ratio (ours / peer's: more
than 1 means we are faster), then requests per second on connections of their own through the published port.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from peers import Peer, ready

IMAGE = "bench/iperf3:latest"
PORT = "5201"
SECONDS = "2"
CONNECT = """
import socket, time
end, count = time.monotonic() + 1, 0
while time.monotonic() < end:
    with socket.create_connection(("127.0.0.1", 8080), 2) as connection:
        connection.sendall(b"GET /none HTTP/1.0\\r\\n\\r\\n")
        connection.recv(100)
    count += 1
print(count)
"""


def iperf3_layer(directory: Path) -> Path:
    """Debian's iperf3 with the libraries it needs, and busybox."""
    layer = directory / "iperf3.tar"
    told = subprocess.run(["ldd", "/usr/bin/iperf3"], check=True, capture_output=True, text=True).stdout
    libraries = [word for line in told.splitlines() for word in line.split() if word.startswith("/")]
    with tarfile.open(layer, "w", dereference=True) as tar:
        for path in ("/usr/bin/iperf3", *libraries):
            tar.add(path, arcname=path.lstrip("/"))
        tar.add("/bin/busybox", arcname="bin/busybox")
        empty = tarfile.TarInfo("tmp")
        empty.type, empty.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(empty)
    return layer


def on_host(peer: Peer, *words: str) -> str:
    """The output of a command in the peer's own network namespace: its host."""
    enter = ("nsenter", "-t", str(peer.pid), "-n")
    return subprocess.run([*enter, *words], check=True, capture_output=True, text=True).stdout


def rate(output: str | bytes) -> float:
    """Gbit/s that iperf3's JSON says arrived."""
    return float(json.loads(output)["end"]["sum_received"]["bits_per_second"]) / 1e9


def client(target: str) -> tuple[str, ...]:
    """The words of a measurement against ``target``."""
    return ("iperf3", "-c", target, "-p", PORT, "-t", SECONDS, "-J")


def gateway(peer: Peer) -> str:
    """The bridge's address."""
    found = peer.call("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bench").stdout
    return str(found.decode().strip())


def beside(peer: Peer) -> float:
    return rate(peer.call("exec", "bench-client", *client("bench-server")).stdout)


def loopback(peer: Peer) -> float:
    return rate(on_host(peer, *client("127.0.0.1")))


def address(peer: Peer) -> float:
    return rate(on_host(peer, *client(gateway(peer))))


def hairpin(peer: Peer) -> float:
    return rate(peer.call("exec", "bench-client", *client(gateway(peer))).stdout)


def connections(peer: Peer) -> float:
    return float(on_host(peer, "python3", "-c", CONNECT))


CASES: dict[str, tuple[Callable[[Peer], float], str]] = {
    "beside": (beside, "Gbit/s"),
    "loopback": (loopback, "Gbit/s"),
    "address": (address, "Gbit/s"),
    "hairpin": (hairpin, "Gbit/s"),
    "connections": (connections, "/s"),
}


def prepare(peer: Peer, layer: Path) -> None:
    """The image, a network, a server with published ports, a client."""
    on_host(peer, "ip", "link", "set", "lo", "up")
    peer.call("import", str(layer), IMAGE)
    peer.call("network", "create", "bench")
    ports = ("-p", f"{PORT}:{PORT}", "-p", "8080:8080")
    peer.call("run", "-d", "--name", "bench-server", "--network", "bench", *ports, IMAGE, "iperf3", "-s", "-p", PORT)
    peer.call("exec", "-d", "bench-server", "busybox", "httpd", "-f", "-p", "8080")
    peer.call("run", "-d", "--name", "bench-client", "--network", "bench", IMAGE, "busybox", "sleep", "100000")
    time.sleep(1)


def compare(peers: Sequence[Peer], rounds: int) -> None:
    """Each case for each peer in turn; prints medians and ratios."""
    for name, (case, unit) in CASES.items():
        taken: dict[str, list[float]] = {peer.name: [] for peer in peers}
        for _ in range(rounds):
            for peer in peers:
                taken[peer.name].append(case(peer))
        medians = {peer: statistics.median(values) for peer, values in taken.items()}
        told = "  ".join(f"{peer} {value:10.1f} {unit}" for peer, value in medians.items())
        others = {peer: value for peer, value in medians.items() if peer != "sampan"}
        ratios = "  ".join(f"sampan/{peer} {medians['sampan'] / value:.2f}" for peer, value in others.items())
        print(f"{name:<12} {told}   {ratios}", flush=True)


def main() -> None:
    """Measure the peers named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", default=["sampan", "dockerd"])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sampan-bench-"))
    try:
        layer = iperf3_layer(directory)
        with ready(given.peers) as peers:
            try:
                for peer in peers:
                    prepare(peer, layer)
                compare(peers, given.rounds)
            finally:
                for peer in peers:
                    names = ("bench-server", "bench-client")
                    subprocess.run([*peer.command, "rm", "-f", *names], capture_output=True, check=False)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
