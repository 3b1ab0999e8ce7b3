"""The pull-through cache."""

import asyncio
from pathlib import Path
from typing import Any

from sampan.registry.server.config import Proxy


async def cache_of(serve: Any, upstream: Any, tmp_path: Path, **settings: str) -> Any:
    return await serve(root=str(tmp_path / "cache"), proxy=Proxy(upstream=upstream.root, **settings))


async def pull(client: Any, name: str, reference: str, *blobs: bytes) -> list[bytes]:
    answers = [await client("GET", f"/v2/{name}/manifests/{reference}")]
    answers += [await client("GET", f"/v2/{name}/blobs/{client.digest_of(blob)}") for blob in blobs]
    assert all(answer.status == 200 for answer in answers), answers
    return [answer.body for answer in answers]


async def test_what_is_not_here_comes_from_upstream_and_stays(serve: Any, tmp_path: Path) -> None:
    upstream = await serve()
    await upstream.push_image("a/b", "1", b"{}", b"layer" * 100_000)
    cache = await cache_of(serve, upstream, tmp_path, ttl="0s")
    first = await pull(cache, "a/b", "1", b"{}", b"layer" * 100_000)
    for digest in map(upstream.digest_of, (b"{}", b"layer" * 100_000)):
        await upstream("DELETE", f"/v2/a/b/blobs/{digest}")
    assert await pull(cache, "a/b", "1", b"{}", b"layer" * 100_000) == first


async def test_a_moved_tag_is_noticed_after_its_time(serve: Any, tmp_path: Path) -> None:
    upstream = await serve()
    old = await upstream.push_image("a", "1", b"{}")
    eager = await cache_of(serve, upstream, tmp_path, ttl="0s")
    patient = await cache_of(serve, upstream, tmp_path / "patient", ttl="1h")
    for cache in (eager, patient):
        await pull(cache, "a", "1")
    new = await upstream.push_image("a", "1", b'{"a":1}')
    seen = [(await cache("HEAD", "/v2/a/manifests/1")).headers["Docker-Content-Digest"] for cache in (eager, patient)]
    assert seen == [new, old]


async def test_what_upstream_lacks_is_unknown(serve: Any, tmp_path: Path) -> None:
    cache = await cache_of(serve, await serve(), tmp_path)
    assert (await cache("GET", "/v2/a/manifests/1")).code == "MANIFEST_UNKNOWN"
    assert (await cache("GET", f"/v2/a/blobs/{cache.digest_of(b'x')}")).code == "BLOB_UNKNOWN"


async def test_many_who_ask_at_once_cause_one_fetch(serve: Any, tmp_path: Path) -> None:
    upstream = await serve()
    data = b"x" * 3_000_000
    await upstream.push_image("a", "1", b"{}", data)
    cache = await cache_of(serve, upstream, tmp_path)
    path = f"/v2/a/blobs/{cache.digest_of(data)}"
    asked = [cache("GET", path) for _ in range(5)] + [cache("GET", path, headers={"Range": "bytes=10-19"})]
    answers = await asyncio.gather(*asked)
    assert [len(answer.body) for answer in answers] == [len(data)] * 5 + [10]
    text = (await upstream("GET", "/metrics")).body.decode()
    assert 'sampan_registry_requests_total{method="GET",operation="blob",status="200"} 1.0' in text


async def test_a_lost_upstream_leaves_what_is_here(serve: Any, tmp_path: Path) -> None:
    upstream = await serve()
    await upstream.push_image("a", "1", b"{}")
    settings = Proxy(upstream=upstream.root, ttl="0s")
    await pull(await serve(root=str(tmp_path / "cache"), proxy=settings), "a", "1", b"{}")
    lost = await serve(root=str(tmp_path / "cache"), proxy=Proxy(upstream="http://127.0.0.1:1", ttl="0s"))
    await pull(lost, "a", "1", b"{}")
    assert (await lost("GET", "/v2/a/manifests/2")).code == "UNAVAILABLE"


async def test_a_cache_takes_no_pushes(serve: Any, tmp_path: Path) -> None:
    cache = await cache_of(serve, await serve(), tmp_path)
    assert (await cache("POST", "/v2/a/blobs/uploads/")).code == "UNSUPPORTED"
    assert (await cache.push_manifest("a", "1", cache.manifest_of(b"{}"))).code == "UNSUPPORTED"
