"""Images that mean harm or meet a full disk: a clear error, nothing left of them, the daemon alive."""

import hashlib
import http.client
import io
import json
import os
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, ImageLoadError
from docker.models.containers import Container
from engine_daemon import IMAGE, Daemon
from registry_process import ours_in

Run = Callable[..., Container]
DISK = 64 << 20


@pytest.fixture(scope="module")
def daemon_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 64 MB."""
    root = tmp_path_factory.mktemp("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", root], check=True)
    (root / "daemon").mkdir()
    yield root / "daemon"
    subprocess.run(["umount", root], check=True)


@pytest.fixture(autouse=True)
def nothing_left(daemon: Daemon, client: docker.DockerClient) -> Iterator[None]:
    """What a test does takes no room afterwards, and the daemon answers."""
    before = used(daemon)
    images = {image.id for image in client.images.list(all=True)}
    yield
    assert {image.id for image in client.images.list(all=True)} == images
    assert used(daemon) - before < 2 << 20
    assert list((daemon.root / "data/content/ingest").iterdir()) == []


def used(daemon: Daemon) -> int:
    """Bytes that are not free on the daemon's disk."""
    disk = os.statvfs(daemon.root)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


def tar(**files: bytes) -> bytes:
    """A tar; ``__`` in a name is a slash."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as made:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def archive(*layers: bytes, diff_ids: list[str] | None = None) -> bytes:
    """A docker-archive of an image ``bad:1``; ``diff_ids`` where they are not those of ``layers``."""
    told = diff_ids or ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": told}}
    item = {"Config": "c.json", "RepoTags": ["bad:1"], "Layers": [f"{n}.tar" for n in range(len(layers))]}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as made:
        members = [(f"{n}.tar", layer) for n, layer in enumerate(layers)]
        for name, content in [*members, ("c.json", json.dumps(config).encode())]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        told_last = tarfile.TarInfo("manifest.json")
        told_last.size = len(json.dumps([item]))
        made.addfile(told_last, io.BytesIO(json.dumps([item]).encode()))
    return raw.getvalue()


def gzipped(data: bytes) -> bytes:
    packing = zlib.compressobj(9, wbits=31)
    return packing.compress(data) + packing.flush()


def bomb(size: int) -> bytes:
    """A layer of ``size`` zeros, a thousandth of that on the wire: the same gzip member again and again."""
    member = tarfile.TarInfo("zeros")
    member.size = size
    return gzipped(member.tobuf()) + gzipped(bytes(1 << 24)) * (size >> 24) + gzipped(bytes(1024))


def refused(client: docker.DockerClient, data: bytes, sentence: str) -> None:
    with pytest.raises(ImageLoadError, match=sentence):
        client.images.load(data)


def test_a_bomb_is_stopped_by_the_disk(client: docker.DockerClient) -> None:
    layer = bomb(10 << 30)
    assert len(layer) < 11 << 20
    refused(client, archive(layer, diff_ids=["sha256:" + "a" * 64]), "failed to extract zeros: no space left on device")


def test_a_good_layer_goes_with_a_bad_one(client: docker.DockerClient) -> None:
    noise = tar(noise=os.urandom(10 << 20))
    digests = ["sha256:" + hashlib.sha256(noise).hexdigest(), "sha256:" + "a" * 64]
    refused(client, archive(noise, tar(a=b"b"), diff_ids=digests), "wrong content")


def test_an_archive_larger_than_the_disk_is_refused(client: docker.DockerClient) -> None:
    refused(client, archive(os.urandom(DISK)), "no space left on device")


def test_a_layer_that_does_not_fit_beside_its_blob_is_refused(client: docker.DockerClient) -> None:
    refused(client, archive(tar(noise=os.urandom(DISK * 6 // 10))), "failed to extract noise: no space left on device")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_an_archive_that_breaks_off_is_refused(client: docker.DockerClient, share: float) -> None:
    whole = archive(tar(noise=os.urandom(4 << 20)))
    refused(client, whole[: int(len(whole) * share)], "the archive is truncated")


def test_more_layers_than_can_be_mounted_are_refused(client: docker.DockerClient) -> None:
    layers = [tar(a=str(number).encode()) for number in range(501)]
    refused(client, archive(*layers), "max depth exceeded: 501 layers, at most 500 can be mounted")


def test_a_manifest_of_nonsense_is_refused(client: docker.DockerClient) -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    for manifest in (deep, b'[{"Config":' + deep + b"}]", b'[{"Config": "' + b"x" * 9_000_000 + b'"}]'):
        refused(client, tar(**{"manifest.json": manifest}), "invalid archive|failed to decode|manifest")


def test_a_commit_that_does_not_fit_is_refused(
    client: docker.DockerClient, run: Run, eventually: Callable[..., None]
) -> None:
    size = DISK * 4 // 10
    container = run(["sh", "-c", f"head -c {size} /dev/urandom > /noise; touch /ready; sleep 60"])
    eventually(lambda: container.exec_run(["test", "-e", "/ready"]).exit_code == 0)
    with pytest.raises(APIError, match="no space left on device"):
        container.commit("bad", "1")
    assert container.exec_run(["test", "-e", "/noise"]).exit_code == 0
    container.remove(force=True)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a registry on a disk with room."""
    process = ours_in(tmp_path_factory.mktemp("registry") / "root")
    process.start()
    yield process.address
    process.kill()


def push_by_hand(registry: str, layer: bytes, diff_id: str) -> None:
    """Push an image ``bad:1`` with one layer."""
    connection = http.client.HTTPConnection(registry)

    def send(method: str, path: str, body: bytes, **headers: str) -> None:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        answer.read()

    def blob(data: bytes) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        send("POST", f"/v2/bad/blobs/uploads/?digest={digest}", data)
        return {"digest": digest, "size": len(data)}

    kind = "application/vnd.oci.image."
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": {"mediaType": f"{kind}config.v1+json", **blob(json.dumps(config).encode())},
        "layers": [{"mediaType": f"{kind}layer.v1.tar" + ("+gzip" if layer[:2] == b"\x1f\x8b" else ""), **blob(layer)}],
    }
    headers = {"Content-Type": f"{kind}manifest.v1+json"}
    send("PUT", "/v2/bad/manifests/1", json.dumps(manifest).encode(), **headers)
    connection.close()


@pytest.mark.parametrize("kind", ["bomb", "large", "unpacked"])
def test_a_pull_that_does_not_fit_is_refused(client: docker.DockerClient, registry: str, kind: str) -> None:
    if kind == "bomb":
        layer, diff_id = bomb(1 << 30), "sha256:" + "a" * 64
    else:
        packed = tar(noise=os.urandom(DISK * (11 if kind == "large" else 6) // 10))
        layer, diff_id = packed, "sha256:" + hashlib.sha256(packed).hexdigest()
    push_by_hand(registry, layer, diff_id)
    assert "no space left on device" in client.api.pull(f"{registry}/bad", tag="1")


def test_containers_run_after_all_that(client: docker.DockerClient) -> None:
    assert client.containers.run(IMAGE, "echo alive", remove=True, network_mode="none") == b"alive\n"
