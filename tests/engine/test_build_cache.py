"""``--cache-to`` and ``--cache-from``: what a build did elsewhere is not done again."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from buildkit_client import Client, build
from engine_daemon import wait_for
from grpclib.exceptions import GRPCError

from sampan.build.buildkit import messages as m

DOCKERFILE = """FROM busybox AS maker
RUN echo made > /made
FROM busybox
COPY --link a /a
COPY --from=maker /made /made
RUN --mount=type=cache,target=/cache,id=kept echo again >> /cache/log; cp /cache/log /log
"""
PLACED = 6


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "a").write_text("content")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry on the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = (sys.executable, "-m", "sampan.cli.main", "registry", "serve")
    root = tmp_path_factory.mktemp("registry")
    process = subprocess.Popen(
        [*program, "--root", str(root), "--listen", f"127.0.0.1:{port}"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), 20)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def entry(kind: str, **attributes: str) -> Any:
    return m.CacheEntry(Type=kind, Attrs={name.replace("_", "-"): value for name, value in attributes.items()})


def cached(progress: Any) -> list[bool]:
    """Of each step in the order of its end: whether it was cached. FROM is left out."""
    ended = {v.name: v.cached for response in progress for v in response.vertexes if v.HasField("completed")}
    return [
        is_cached for name, is_cached in ended.items() if name.startswith(("[maker", "[stage")) and "FROM" not in name
    ]


def forget(client: docker.DockerClient, *names: str) -> None:
    """Leave nothing here of what was built."""
    for name in names:
        client.images.remove(name, force=True)
    client.api.prune_builds(all=True)


async def test_a_cache_in_a_directory_of_the_client(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    caller = Client(context)
    exports = m.CacheOptions(Exports=[entry("local", dest="d", mode="max", mounts="true")])
    answer, progress = await build(daemon.socket, caller, {}, "first", caches=exports)
    assert cached(progress) == [False] * 4
    told = json.loads(answer.ExporterResponse["cache.manifest"])
    assert told["digest"] in caller.blobs
    forget(client, "first")
    imports = m.CacheOptions(Imports=[entry("local", src="d", digest=told["digest"])])
    _, progress = await build(daemon.socket, caller, {}, "second", caches=imports)
    assert cached(progress) == [True] * 4
    assert client.containers.run("second", "cat /a /made /log", remove=True) == b"contentmade\nagain\n"
    forget(client, "second")


async def test_a_cache_mount_comes_with_the_cache(daemon: Any, client: docker.DockerClient, context: Path) -> None:
    caller = Client(context)
    exports = m.CacheOptions(Exports=[entry("local", dest="d", mode="min", mounts="true")])
    answer, _ = await build(daemon.socket, caller, {}, "first", caches=exports)
    digest = json.loads(answer.ExporterResponse["cache.manifest"])["digest"]
    forget(client, "first")
    imports = m.CacheOptions(Imports=[entry("local", src="d", digest=digest)])
    await build(daemon.socket, caller, {"no-cache": ""}, "second", caches=imports)
    assert client.containers.run("second", "cat /log", remove=True) == b"again\nagain\n"
    forget(client, "second")


@pytest.mark.parametrize("kind", ["registry", "inline"])
async def test_a_cache_in_a_registry(
    daemon: Any, client: docker.DockerClient, context: Path, registry: str, kind: str
) -> None:
    name, wanted = f"{registry}/{kind}:latest", {"ref": f"{registry}/{kind}"}
    exports = m.CacheOptions(Exports=[entry(kind, mode="max", **wanted) if kind == "registry" else entry(kind)])
    exporter = m.Exporter(Type="image", Attrs={"name": name, "push": str(kind == "inline").lower()})
    await build(daemon.socket, Client(context), {}, name, exporter=exporter, caches=exports)
    forget(client, name)
    imports = m.CacheOptions(Imports=[entry("registry", **wanted)])
    _, progress = await build(daemon.socket, Client(context), {}, "second", caches=imports)
    # An image knows its own steps only, not those of the stage that it copies from.
    assert sorted(cached(progress)) == [kind == "registry", True, True, True]
    assert client.containers.run("second", "cat /a /made /log", remove=True) == b"contentmade\nagain\n"
    forget(client, "second")


async def test_a_cache_that_is_not_there_is_told_of_and_no_error(daemon: Any, context: Path, registry: str) -> None:
    imports = m.CacheOptions(Imports=[entry("registry", ref=f"{registry}/none"), entry("local", src="d", digest="")])
    _, progress = await build(daemon.socket, Client(context), {}, "", caches=imports)
    failed = {v.name for response in progress for v in response.vertexes if v.error}
    assert failed == {f"importing cache manifest from {registry}/none", "importing cache manifest from d"}


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (entry("s3", bucket="b"), "--cache-to type=s3 is not supported: registry, local and inline are"),
        (entry("local", dest="d", mode="most"), "--cache-to type=local: mode=most is not supported"),
        (entry("local", dest="d", compression="zstd"), "--cache-to type=local: compression=zstd is not supported"),
        (entry("local", dest="d", colour="red"), "--cache-to type=local: colour=red is not supported"),
    ],
)
async def test_a_cache_that_cannot_be_written_is_refused_before_the_build(
    daemon: Any, context: Path, refused: Any, words: str
) -> None:
    with pytest.raises(GRPCError) as caught:
        await build(daemon.socket, Client(context), {}, "", caches=m.CacheOptions(Exports=[refused]))
    assert caught.value.message == words
