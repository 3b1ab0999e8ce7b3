"""Traffic between containers and through published ports, beside dockerd: ``python bench/networks.py [peer …]``.

    beside     container → container on one network
    loopback   host → 127.0.0.1:port of a published port
    address    host → the bridge's address:port of a published port
    hairpin    container → the bridge's address:port of a published port

iperf3 in containers, one stream, in turn for each peer and round. Medians of the rate, and of what it costs: processor
seconds of both ends, the kernel's work for them included, for a gigabyte. A shared machine blurs the rate more than the
cost. More than 1 is better than the peer. Then requests per second on connections of their own through the port.
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
from typing import NamedTuple

from peers import Peer, ready

IMAGE = "bench/iperf3:latest"
PORT = "5201"
SECONDS = "2"
ATTEMPTS = 10
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


class Measured(NamedTuple):
    """How much a second, and how much of it one processor second would carry (0: not measured)."""

    rate: float
    carried: float = 0


def measured(attempt: Callable[[], str | bytes]) -> Measured:
    """Gbit/s that iperf3's JSON says arrived, and gigabytes for a processor second of both ends.

    A server that has not done with its last client yet refuses the next: then once more.
    """
    for _ in range(ATTEMPTS):
        answer = json.loads(attempt())
        if "sum_received" in answer["end"]:
            break
        time.sleep(1)
    end = answer["end"]
    received, used = end["sum_received"], end["cpu_utilization_percent"]
    spent = (used["host_total"] + used["remote_total"]) / 100 * end["sum_sent"]["seconds"]
    return Measured(received["bits_per_second"] / 1e9, received["bytes"] / 1e9 / spent)


def client(target: str) -> tuple[str, ...]:
    """The words of a measurement against ``target``."""
    return ("iperf3", "-c", target, "-p", PORT, "-t", SECONDS, "-J")


def gateway(peer: Peer) -> str:
    """The bridge's address."""
    found = peer.call("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bench").stdout
    return str(found.decode().strip())


def beside(peer: Peer) -> Measured:
    return measured(lambda: peer.call("exec", "bench-client", *client("bench-server")).stdout)


def loopback(peer: Peer) -> Measured:
    return measured(lambda: on_host(peer, *client("127.0.0.1")))


def address(peer: Peer) -> Measured:
    return measured(lambda: on_host(peer, *client(gateway(peer))))


def hairpin(peer: Peer) -> Measured:
    return measured(lambda: peer.call("exec", "bench-client", *client(gateway(peer))).stdout)


def connections(peer: Peer) -> Measured:
    return Measured(float(on_host(peer, "python3", "-c", CONNECT)))


CASES: dict[str, tuple[Callable[[Peer], Measured], str]] = {
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


def compare(peers: Sequence[Peer], rounds: int, cases: Sequence[str]) -> None:
    """Each case for each peer in turn; prints medians and ratios."""
    for name in cases:
        case, unit = CASES[name]
        taken: dict[str, list[Measured]] = {peer.name: [] for peer in peers}
        for number in range(rounds):
            for peer in peers if number % 2 else reversed(peers):
                taken[peer.name].append(case(peer))
        medians = {peer: Measured(*map(statistics.median, zip(*values, strict=True))) for peer, values in taken.items()}
        told = "  ".join(f"{peer} {told_of(value, unit)}" for peer, value in medians.items())
        ratios = "  ".join(ratio(peer, medians["sampan"], other) for peer, other in medians.items() if peer != "sampan")
        print(f"{name:<12} {told}   {ratios}", flush=True)


def told_of(value: Measured, unit: str) -> str:
    cost = f", {1 / value.carried:.3f} s/GB" if value.carried else ""
    return f"{value.rate:8.1f} {unit}{cost}"


def ratio(name: str, ours: Measured, theirs: Measured) -> str:
    cost = f", cost {ours.carried / theirs.carried:.2f}" if theirs.carried else ""
    return f"sampan/{name} {ours.rate / theirs.rate:.2f}{cost}"


def main() -> None:
    """Measure the peers named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", default=["sampan", "dockerd"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; may be repeated")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sampan-bench-"))
    try:
        layer = iperf3_layer(directory)
        with ready(given.peers) as peers:
            try:
                for peer in peers:
                    prepare(peer, layer)
                compare(peers, given.rounds, given.case or [*CASES])
            finally:
                for peer in peers:
                    names = ("bench-server", "bench-client")
                    subprocess.run([*peer.command, "rm", "-f", *names], capture_output=True, check=False)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
