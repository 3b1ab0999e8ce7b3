"""Images on their way: pull with unpacking and push beside dockerd, podman and ``tar``; memory of a very large layer.

    python bench/images.py [sampan|dockerd|podman …] [--rounds N] [--megabytes N] [--gigabytes N]

Everything runs in one network namespace made for it: registries of ours on its loopback, the engines on roots of their
own. The image is this machine's own Debian files in four layers, gzipped. ``tar`` is ``curl | tar -xz`` for each layer.
Each figure is a median of rounds in which all took their turn.
"""

import argparse
import hashlib
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import peers
from peers import Peer
from registry import CONFIG, MANIFEST, free_port, ours, running

SOURCES = ("/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/share", "/usr/lib")
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
PIECE = 1 << 20


class Registry:
    """A registry to fill and to pull from; ``address`` is ``host:port``."""

    def __init__(self, root: Path, port: int, process: int) -> None:
        self.root, self.address, self.pid = root, f"127.0.0.1:{port}", process
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def _ask(self, method: str, path: str, body: object = None, **headers: str) -> str:
        self._connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})  # type: ignore[arg-type]
        answer = self._connection.getresponse()
        answer.read()
        if answer.status not in (201, 202):
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return answer.getheader("Location") or ""

    def push_blob(self, pieces: Iterable[bytes], digest: str, size: int) -> None:
        """Upload a blob as it is made."""
        self._ask("POST", f"/v2/bench/blobs/uploads/?digest={digest}", iter(pieces), Content_Length=str(size))

    def push_image(self, tag: str, diff_ids: Sequence[str], layers: Sequence[dict[str, object]]) -> None:
        """Upload config and manifest of layers that are there."""
        machine = {"architecture": "amd64", "os": "linux"}
        config = json.dumps({**machine, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
        self.push_blob([config], sha256(config), len(config))
        pointer = {"mediaType": CONFIG, "digest": sha256(config), "size": len(config)}
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": pointer, "layers": layers}
        self._ask("PUT", f"/v2/bench/manifests/{tag}", json.dumps(value).encode(), Content_Type=MANIFEST)


def sha256(data: bytes) -> str:
    """The digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file's content."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def digest_of(pieces: Iterable[bytes]) -> tuple[str, int]:
    """Digest and length."""
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        hashed.update(piece)
        size += len(piece)
    return "sha256:" + hashed.hexdigest(), size


# ---------------------------------------------------------------- the image of Debian's files


def layer_of(source: Path, target: Path, limit: int) -> int:
    """A tar of what is below ``source``, about ``limit`` bytes of them; returns the tar's size."""
    used = 0
    with tarfile.open(target, "w") as tar:
        for path in sorted(source.rglob("*")):
            if used > limit:
                break
            if path.is_symlink() or path.is_file() or path.is_dir():
                tar.add(path, recursive=False)
                used += 0 if path.is_dir() else path.lstat().st_size
    return target.stat().st_size


def debian_image(registry: Registry, directory: Path, size: int) -> tuple[list[str], int]:
    """Push the image ``bench:debian``; returns its layers' digests and its uncompressed bytes."""
    diff_ids, layers, total = [], [], 0
    for source in SOURCES:
        tar = directory / "layer.tar"
        total += layer_of(Path(source), tar, size // len(SOURCES))
        diff_ids.append(digest_of(pieces_of(tar))[0])
        subprocess.run(["gzip", "-6", "-f", str(tar)], check=True)
        packed = tar.with_suffix(".tar.gz")
        digest, length = digest_of(pieces_of(packed))
        registry.push_blob(pieces_of(packed), digest, length)
        layers.append({"mediaType": GZIP, "digest": digest, "size": length})
    registry.push_image("debian", diff_ids, layers)
    return [str(layer["digest"]) for layer in layers], total


def untar(registry: Registry, layers: Sequence[str], target: Path) -> None:
    """What a shell can do: every layer through curl and tar."""
    target.mkdir()
    for digest in layers:
        url = f"http://{registry.address}/v2/bench/blobs/{digest}"
        subprocess.run(f"curl -sf {url} | tar -xz -C {target}", shell=True, check=True)


def insecure(peer: Peer) -> tuple[str, ...]:
    """What podman wants to hear before it speaks plain HTTP."""
    return ("--tls-verify=false",) if peer.name == "podman" else ()


def one_round(peer: Peer, source: Registry, directory: Path) -> tuple[float, float]:
    """Seconds of a pull into an empty engine, and of a push to a registry that has nothing.

    The registry is a new one each time: engines remember for long which of them has a layer, and mount it.
    """
    with tempfile.TemporaryDirectory(dir=directory) as fresh, ExitStack() as stack:
        target = serve(Path(fresh) / "target", stack)
        name, copy = f"{source.address}/bench:debian", f"{target.address}/bench:debian"
        pulled = timed(peer, "pull", *insecure(peer), name)
        peer.call("tag", name, copy)
        pushed = timed(peer, "push", *insecure(peer), copy)
        peer.call("rmi", name, copy)
    return pulled, pushed


def timed(peer: Peer, *words: str) -> float:
    """Seconds of one command, what earlier ones wrote being on disk."""
    os.sync()
    before = time.perf_counter()
    peer.call(*words)
    return time.perf_counter() - before


def compare(engines: Sequence[Peer], source: Registry, directory: Path, rounds: int, size: int) -> None:
    """Print pull and push of all, and what ``tar`` needs."""
    layers, total = debian_image(source, directory, size)
    taken: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for peer in engines:
            taken.setdefault(peer.name, []).append(one_round(peer, source, directory))
        os.sync()
        before = time.perf_counter()
        untar(source, layers, directory / "untarred")
        taken.setdefault("tar -xz", []).append((time.perf_counter() - before, 0.0))
        shutil.rmtree(directory / "untarred")
    print(f"an image of {total / 1e6:.0f} MB in {len(layers)} layers")
    for name, rows in taken.items():
        pull, push = (statistics.median(column) for column in zip(*rows, strict=True))
        told = f"  push {push:6.2f} s" if push else ""
        print(f"{name:8} pull {pull:6.2f} s  {total / 1e6 / pull:6.1f} MB/s of files{told}", flush=True)


# ---------------------------------------------------------------- one very large layer


def large_layer(megabytes: int, block: bytes) -> Iterator[bytes]:
    """A tar with one file, ``block`` again and again with a number in each."""
    member = tarfile.TarInfo("large")
    member.size = megabytes * PIECE
    yield member.tobuf()
    for number in range(megabytes):
        yield number.to_bytes(8, "big") + block[8:]
    yield bytes(1024)


def peak(pid: int) -> float:
    """The most memory a process ever had resident, in MB."""
    facts = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(facts["VmHWM"].split()[0]) / 1024


def large(peer: Peer, source: Registry, target: Registry, gigabytes: int, archive: Path) -> None:
    """Pull, push, save and load one layer of so many GB; print times and the peaks of memory."""
    block = os.urandom(PIECE)
    digest, size = digest_of(large_layer(gigabytes * 1000, block))
    source.push_blob(large_layer(gigabytes * 1000, block), digest, size)
    source.push_image("large", [digest], [{"mediaType": PLAIN, "digest": digest, "size": size}])
    name, copy = f"{source.address}/bench:large", f"{target.address}/large:large"
    pulled = timed(peer, "pull", name)
    peer.call("tag", name, copy)
    pushed = timed(peer, "push", copy)
    saved = timed(peer, "save", "-o", str(archive), name)
    peer.call("rmi", name, copy)
    loaded = timed(peer, "load", "-q", "-i", str(archive))
    archive.unlink()
    print(f"a layer of {size / 1e9:.1f} GB: pull {pulled:.1f} s, push {pushed:.1f} s")
    print(f"  save {saved:.1f} s, load {loaded:.1f} s")
    for who, pid in (("daemon", peer.pid or 0), ("source", source.pid), ("target", target.pid)):
        print(f"  peak memory of the {who}: {peak(pid):.0f} MB")
    peer.call("rmi", name)


# ---------------------------------------------------------------- all of it


def measure(names: Sequence[str], rounds: int, megabytes: int, gigabytes: int) -> None:
    """Start registries and engines, compare them, then fill ours."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and leave nothing behind
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as made, ExitStack() as stack:
        directory = Path(made)
        registries = [serve(directory / name, stack) for name in ("source", "target")]
        engines = []
        for name in names:
            (directory / name).mkdir()
            engines.append(stack.enter_context(peers.KINDS[name](directory / name, ("--mount",))))
        if rounds:
            compare(engines, registries[0], directory, rounds, megabytes * 1_000_000)
        if gigabytes:
            large(engines[0], registries[0], registries[1], gigabytes, directory / "large.tar")


def serve(root: Path, stack: ExitStack) -> Registry:
    """A registry of ours."""
    root.mkdir()
    port = free_port()
    process = stack.enter_context(running(ours(root, port), port))
    return Registry(root, port, process)


def main() -> None:
    """Enter a network namespace of our own, then measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("peers", nargs="*", default=["sampan", "dockerd", "podman"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--gigabytes", type=int, default=5, help="size of the very large layer; 0 leaves it out")
    parser.add_argument("--here", action="store_true", help="this network namespace is ours alone already")
    given = parser.parse_args()
    if not given.here:
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv, "--here"])
    measure(given.peers, given.rounds, given.megabytes, given.gigabytes)


if __name__ == "__main__":
    main()
