"""What the host holds of a daemon, compared with what its API says: nothing half-made, nothing left."""

import json
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
from engine_daemon import IMAGE
from fault_daemon import Mortal

from sampan.storage.snapshots import BESIDE_LAYERS


def clear(client: docker.DockerClient) -> None:
    """Remove everything but the busybox image."""
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    for network in client.networks.list():
        if network.name not in ("bridge", "host", "none"):
            network.remove()
    for volume in client.volumes.list():
        volume.remove()
    for image in client.images.list():
        if IMAGE not in image.tags:
            client.images.remove(image.id, force=True)
    client.api.prune_builds(all=True)


def wait_for_clean(daemon: Mortal, client: docker.DockerClient) -> None:
    """What ends in the background may take a moment."""
    deadline = time.monotonic() + 3
    while (found := half_made(daemon, client)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not found, found


def stored(daemon: Mortal) -> set[str]:
    """Names of all blobs, partial downloads and unpacked layers, but for those that the history of builds keeps."""
    data = daemon.root / "data"
    places = (data / "content" / "blobs" / "sha256", data / "content" / "ingest", data / "snapshots")
    with closing(sqlite3.connect(f"file:{data}/engine.db?mode=ro", uri=True)) as database:
        pins = [
            json.loads(value)["digests"] for (value,) in database.execute("SELECT value FROM records WHERE kind='pin'")
        ]
    kept = {digest.partition(":")[2] for digests in pins for digest in digests}
    return {path.name for place in places for path in place.iterdir()} - kept


def half_made(daemon: Mortal, client: docker.DockerClient) -> list[str]:
    """What the host holds that the API does not know of, or the other way round."""
    containers = client.containers.list(all=True)
    known = {each.id for each in containers}
    live = {each.id for each in containers if each.status in ("running", "paused")}
    pairs: dict[str, tuple[set[str], set[str]]] = {
        "container directories": (entries(daemon.root / "data" / "containers"), known),
        "run directories": (entries(daemon.root / "run" / "containers") - (known - live), live),
        "cgroups": (cgroups(daemon), live),
        "monitors": (monitors(daemon), live),
        "volumes": (volumes(daemon), {each.name for each in client.volumes.list()}),
        "layers": layers(daemon),
        "temporary files": (files(daemon.root / "data" / "tmp"), set()),
        "files of builds": (files(daemon.root / "run" / "build"), set()),
        "mounts": ({line for line in mounts() if str(daemon.root) in line}, set()),
        "bridges": (
            bridges(daemon),
            {f"br-{each.id[:12]}" for each in client.networks.list() if each.name == "faulty"},
        ),
        "ports in bridges": plugged(client, live),
    }
    found = [f"{what}: there {sorted(a)}, known {sorted(b)}" for what, (a, b) in pairs.items() if a != b]
    return found + anonymous(client, containers)


def entries(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.is_dir() else set()


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*") if not path.is_dir()}


def cgroups(daemon: Mortal) -> set[str]:
    parent = Path("/sys/fs/cgroup/memory" + daemon.cgroup_parent)
    return {path.name for path in parent.iterdir() if path.is_dir()} if parent.is_dir() else set()


def monitors(daemon: Mortal) -> set[str]:
    """IDs of containers whose monitor runs, of those this suite made: the others' have other directories."""
    found = set()
    for directory in Path("/proc").iterdir():
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
            if words[:2] == [b"sampan-monitor", b"monitor"]:
                files = {str(fd.readlink()) for fd in (directory / "fd").iterdir()}
                if any(str(daemon.root) in name for name in files):
                    found.add(words[2].decode())
        except OSError:
            continue
    return found


def volumes(daemon: Mortal) -> set[str]:
    directory = daemon.root / "data" / "volumes"
    return {path.name for path in directory.iterdir() if path.is_dir()} if directory.is_dir() else set()


def layers(daemon: Mortal) -> tuple[set[str], set[str]]:
    """Layers on disk, and in the database."""
    there = {name for name in entries(daemon.root / "data" / "snapshots") if name not in BESIDE_LAYERS}
    with closing(sqlite3.connect(f"file:{daemon.root}/data/engine.db?mode=ro", uri=True)) as database:
        known = {chain.partition(":")[2] for (chain,) in database.execute("SELECT chain FROM layers")}
        (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    assert verdict == "ok"
    return there, known


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def bridges(daemon: Mortal) -> set[str]:
    """Links of user-made networks: those with an address of this daemon's pool."""
    listed = subprocess.run(["ip", "-br", "-4", "addr"], capture_output=True, check=True, text=True).stdout
    return {line.split()[0] for line in listed.splitlines() if f" {daemon.pool}." in line}


def plugged(client: docker.DockerClient, live: set[str]) -> tuple[set[str], set[str]]:
    """Numbers of interfaces in the default bridge, and of running containers on it."""
    bridge = client.networks.get("bridge")
    link = bridge.attrs["Options"]["com.docker.network.bridge.name"]
    there = entries(Path("/sys/class/net") / link / "brif")
    wanted = set(client.api.inspect_network(bridge.id)["Containers"])
    return {str(len(there))}, {str(len(wanted & live))}


def anonymous(client: docker.DockerClient, containers: list[Any]) -> list[str]:
    """Anonymous volumes that no container has."""
    used = {mount.get("Name") for each in containers for mount in each.attrs["Mounts"]}
    return [f"volume {each.name}" for each in client.volumes.list() if len(each.name) == 64 and each.name not in used]
