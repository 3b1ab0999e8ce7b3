"""Registries and wires that misbehave: nothing lost, nothing corrupt, it goes on by itself."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sampan.errors import DataLoss, InvalidParameter, NotFound, Unavailable
from sampan.oci import digest as digests


@pytest.fixture
async def pushed(ours: Any, engine: Any, layer: Any, noise: bytes) -> Any:
    """An image with one large layer, in our registry as ``app:latest``."""
    here = engine("pusher")
    image = here.make(f"{ours.address}/app:latest", layer(noise=noise))
    await here.push(f"{ours.address}/app")
    return image


async def cut(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
    """Send two thirds of what was asked, then drop the connection."""
    shown = {"Content-Range": headers["Content-Range"]} if "Content-Range" in headers else {}
    response = web.StreamResponse(status=status, headers={**shown, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) * 2 // 3])
    assert request.transport is not None
    request.transport.abort()
    return response


async def long(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
    """Send more than the descriptor says."""
    return web.Response(body=body + b"more", status=status)


async def lie(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
    """Send other bytes."""
    return web.Response(body=bytes(len(body)), status=status)


async def busy(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
    return web.Response(status=503, headers={"Retry-After": "0"})


async def broken(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
    return web.Response(status=500)


def leftovers(engine: Any) -> list[Path]:
    return list((engine.storage.root / "content" / "ingest").iterdir())


@pytest.mark.parametrize("faults", [[cut], [cut, cut, cut], [busy], [busy, cut, busy]], ids=len)
async def test_a_pull_goes_on_after_faults(
    misbehaving: Any, pushed: Any, engine: Any, noise: bytes, faults: list[Any]
) -> None:
    here = engine()
    misbehaving.faults = [pass_config, *faults]
    await here.pull(f"{misbehaving.address}/app")
    image = here.storage.images.resolve(f"{misbehaving.address}/app")
    assert image.id == pushed.id
    assert (here.storage.snapshots.path(image.chain_id) / "noise").read_bytes() == noise
    assert leftovers(here) == []


async def pass_config(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
    """The config comes first, and whole."""
    return web.Response(body=body, status=status)


async def test_a_cut_pull_asks_only_for_the_rest(misbehaving: Any, pushed: Any, engine: Any) -> None:
    misbehaving.faults = [pass_config, cut]
    await engine().pull(f"{misbehaving.address}/app")
    size = pushed.manifest.value.layers[0].size
    (_, first), (_, second) = misbehaving.asked[1:]
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= size * 2 // 3


async def test_a_registry_without_ranges_is_passed_over_to_the_rest(
    misbehaving: Any, pushed: Any, engine: Any, noise: bytes
) -> None:
    here = engine()

    async def ignores_ranges(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
        async with misbehaving.session.get(f"http://{misbehaving.upstream}{request.raw_path}") as answer:
            return web.Response(body=await answer.read())

    misbehaving.faults = [pass_config, cut, ignores_ranges]
    await here.pull(f"{misbehaving.address}/app")
    image = here.storage.images.resolve(f"{misbehaving.address}/app")
    assert (here.storage.snapshots.path(image.chain_id) / "noise").read_bytes() == noise


@pytest.mark.parametrize("fault", [lie, long])
async def test_a_registry_that_lies_is_found_out_and_nothing_stays(
    misbehaving: Any, pushed: Any, engine: Any, fault: Any
) -> None:
    here = engine()
    misbehaving.faults, misbehaving.always = [pass_config], fault
    with pytest.raises(DataLoss):
        await here.pull(f"{misbehaving.address}/app")
    assert leftovers(here) == []
    assert pushed.manifest.value.layers[0].digest not in here.storage.content
    assert here.storage.images.all() == []
    assert here.storage.snapshots.layers() == []


async def test_a_registry_that_never_sends_enough_is_given_up(misbehaving: Any, pushed: Any, engine: Any) -> None:
    here = engine(max_download_attempts=1)
    misbehaving.faults, misbehaving.always = [pass_config], busy
    with pytest.raises(Unavailable):
        await here.pull(f"{misbehaving.address}/app")
    assert here.storage.images.all() == []


async def test_an_inner_error_is_told(misbehaving: Any, pushed: Any, engine: Any) -> None:
    misbehaving.always = broken
    with pytest.raises(Exception, match="received unexpected HTTP status: 500"):
        await engine().pull(f"{misbehaving.address}/app")


async def test_two_pulls_of_one_layer_share_one_download(misbehaving: Any, pushed: Any, engine: Any) -> None:
    here = engine()
    name = f"{misbehaving.address}/app"
    await asyncio.gather(here.pull(name), here.pull(name))
    layer = pushed.manifest.value.layers[0].digest
    assert [digest for digest, _ in misbehaving.asked].count(layer) == 1


async def test_a_cancelled_pull_keeps_its_bytes_and_stops(
    misbehaving: Any, pushed: Any, engine: Any, until_arrived: Any
) -> None:
    here = engine()
    stuck = asyncio.Event()

    async def stall(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: 3 << 20])
        stuck.set()
        await asyncio.Event().wait()
        return response

    misbehaving.faults = [pass_config, stall]
    pull = asyncio.create_task(here.pull(f"{misbehaving.address}/app"))
    await stuck.wait()
    await until_arrived(here.storage.root / "content" / "ingest", 1 << 20)
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    await here.pull(f"{misbehaving.address}/app")
    assert misbehaving.asked[-1][1] is not None
    assert leftovers(here) == []


async def test_what_is_no_image_is_refused_by_name(ours: Any, engine: Any) -> None:
    import hashlib
    import json

    import aiohttp

    def pointer(kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}

    kind = "application/vnd.oci.image.manifest.v1+json"
    helm = {"config": pointer("application/vnd.cncf.helm.config.v1+json", b"{}"), "layers": []}
    odd = {
        "config": pointer("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [pointer("application/x-odd", b"x")],
    }
    async with aiohttp.ClientSession(f"http://{ours.address}") as session:
        for blob in (b"{}", b"x"):
            digest = "sha256:" + hashlib.sha256(blob).hexdigest()
            (await session.post(f"/v2/app/blobs/uploads/?digest={digest}", data=blob)).raise_for_status()
        for tag, value in (("helm", helm), ("odd", odd)):
            raw = json.dumps({"schemaVersion": 2, "mediaType": kind, **value}).encode()
            put = await session.put(f"/v2/app/manifests/{tag}", data=raw, headers={"Content-Type": kind})
            put.raise_for_status()
    with pytest.raises(InvalidParameter, match=r"config media type application/vnd\.cncf\.helm"):
        await engine().pull(f"{ours.address}/app:helm")
    with pytest.raises(InvalidParameter, match="layer media type application/x-odd"):
        await engine("other").pull(f"{ours.address}/app:odd")


async def test_nobody_listening_is_told_at_once(engine: Any) -> None:
    with pytest.raises(Unavailable, match=r"dial tcp 127\.0\.0\.1:1: connect: connection refused"):
        await engine().pull("127.0.0.1:1/app")


# ---------------------------------------------------------------- kill -9


PULLER = """
import asyncio, sys
from pathlib import Path
from sampan.api.images import PullOptions
from sampan.api.progress import Discard
from sampan.config import Config
from sampan.engine.events import Events
from sampan.engine.registry import Registries
from sampan.storage.store import Storage

async def main(root, name):
    with Storage.open(Path(root)) as storage:
        registries = Registries(Config(), storage, Events())
        await registries.pull(PullOptions(reference=name), Discard())

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_pull_goes_on_where_it_stopped(
    misbehaving: Any, pushed: Any, engine: Any, tmp_path: Path, noise: bytes, until_arrived: Any
) -> None:
    stuck = asyncio.Event()

    async def stall(request: web.BaseRequest, status: int, headers: Any, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: 3 << 20])
        stuck.set()
        await asyncio.Event().wait()
        return response

    misbehaving.faults = [pass_config, stall]
    argv = [sys.executable, "-c", PULLER, str(tmp_path / "killed"), f"{misbehaving.address}/app"]
    process = await asyncio.create_subprocess_exec(*argv)
    await stuck.wait()
    await until_arrived(tmp_path / "killed" / "content" / "ingest", 1 << 20)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    here = engine("killed")
    await here.pull(f"{misbehaving.address}/app")
    layer, asked = misbehaving.asked[-1]
    assert (layer, asked is not None) == (pushed.manifest.value.layers[0].digest, True)
    image = here.storage.images.resolve(f"{misbehaving.address}/app")
    assert (here.storage.snapshots.path(image.chain_id) / "noise").read_bytes() == noise


async def test_a_spoiled_partial_download_is_begun_again(misbehaving: Any, pushed: Any, engine: Any) -> None:
    here = engine()
    layer = pushed.manifest.value.layers[0]
    with here.storage.content.ingest(f"download-{layer.digest}") as ingest:
        ingest.write(bytes(1 << 20))
    await here.pull(f"{misbehaving.address}/app")
    assert [asked for digest, asked in misbehaving.asked if digest == layer.digest] == ["bytes=1048576-", None]
    assert leftovers(here) == []


async def test_layers_above_a_spoiled_one_wait_until_it_is_begun_again(
    ours: Any, engine: Any, layer: Any, noise: bytes
) -> None:
    pusher, here = engine("pusher"), engine("here")
    contents = [noise[: 2 << 20], *(b"%d" % number for number in range(8))]
    image = pusher.make(f"{ours.address}/tall:latest", *(layer(same=content) for content in contents))
    await pusher.push(f"{ours.address}/tall")
    lowest = image.manifest.value.layers[0]
    with here.storage.content.ingest(f"download-{lowest.digest}") as ingest:
        ingest.write(bytes(1 << 20))
    await here.pull(f"{ours.address}/tall")
    pulled = here.storage.images.resolve(f"{ours.address}/tall")
    stack = here.storage.snapshots.chain(pulled.chain_id)
    assert [(here.storage.snapshots.path(one.chain_id) / "same").read_bytes() for one in stack] == contents[::-1]
    assert leftovers(here) == []


async def test_a_killed_registry_keeps_what_it_acknowledged(ours: Any, engine: Any, layer: Any) -> None:
    here, there = engine("here"), engine("there")
    for number in range(3):
        here.make(f"{ours.address}/app:{number}", layer(data=os.urandom(100_000)))
        await here.push(f"{ours.address}/app", tag=str(number))
        ours.kill()
        ours.start()
    for number in range(3):
        await there.pull(f"{ours.address}/app:{number}")
    assert len(there.storage.images.all()) == 3


def test_the_registry_ends_on_a_signal(ours: Any) -> None:
    process: subprocess.Popen[bytes] = ours._process
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


async def test_an_image_without_the_right_platform_is_not_found(pushed: Any, ours: Any, engine: Any) -> None:
    from sampan.api.descriptor import OCIPlatform

    with pytest.raises(NotFound, match="does not match the specified platform"):
        await engine().pull(f"{ours.address}/app", platform=OCIPlatform(os="linux", architecture="s390x"))


@pytest.fixture
def cache(misbehaving: Any, serve_ours: Any, tmp_path: Path) -> Any:
    """A pull-through cache of ours whose upstream misbehaves."""
    path = tmp_path / "cache.json"
    path.write_text(json.dumps({"proxy": {"upstream": f"http://{misbehaving.address}"}}))
    return lambda: serve_ours("--config", str(path))


@pytest.mark.parametrize("fault", [cut, lie, long, busy, broken])
async def test_a_cache_takes_nothing_wrong_from_its_upstream(
    misbehaving: Any, pushed: Any, cache: Any, engine: Any, fault: Any
) -> None:
    made = await asyncio.to_thread(cache)
    layer = pushed.manifest.value.layers[0]
    url = f"http://{made.address}/v2/app/blobs/{layer.digest}"
    # The size comes from a HEAD, which upstream answers as it should: the fault is for the bytes.
    misbehaving.faults = [pass_config, fault]
    async with aiohttp.ClientSession() as session:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url) as answer:
                assert answer.status != 200 or digests.of(await answer.read()) == layer.digest
        async with session.get(url) as answer:
            assert (answer.status, digests.of(await answer.read())) == (200, layer.digest)
    here = engine()
    await here.pull(f"{made.address}/app")
    assert here.storage.images.resolve(f"{made.address}/app").id == pushed.id
