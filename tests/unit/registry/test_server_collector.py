"""Garbage collection beside pushes."""

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from sampan.registry.server import records
from sampan.registry.server.config import GC


def stored_files(root: Path) -> list[Path]:
    return [path for path in (root / "registry" / "blobs").rglob("*") if path.is_file()]


async def collect_all(client: Any) -> Any:
    """Collect as if every grace were over."""
    return await client.registry.collector.collect(time.time() + 1)


async def test_what_a_tag_leads_to_stays(client: Any, tmp_path: Path) -> None:
    await client.push_image("a/b", "1", b"{}", b"layer")
    await collect_all(client)
    assert len(stored_files(tmp_path)) == 2
    assert (await client("GET", f"/v2/a/b/blobs/{client.digest_of(b'layer')}")).body == b"layer"


async def test_a_deleted_image_gives_its_space_back(client: Any, tmp_path: Path) -> None:
    digest = await client.push_image("a/b", "1", b"{}", b"layer")
    await client("DELETE", f"/v2/a/b/manifests/{digest}")
    done = await collect_all(client)
    assert (done.holdings, done.blobs, done.size) == (2, 2, len(b"{}" + b"layer"))
    assert stored_files(tmp_path) == []


async def test_a_blob_another_image_needs_stays(client: Any) -> None:
    digest = await client.push_image("a/b", "1", b"{}", b"layer")
    await client.push_image("c/d", "1", b"{}", b"layer")
    await client("DELETE", f"/v2/a/b/manifests/{digest}")
    await collect_all(client)
    assert (await client("GET", f"/v2/c/d/blobs/{client.digest_of(b'layer')}")).status == 200


async def test_a_push_under_way_is_spared_by_the_grace(client: Any) -> None:
    await client.push_blob("a/b", b"{}")
    await client.registry.collector.collect(time.time() - 3600)
    assert (await client.push_manifest("a/b", "1", client.manifest_of(b"{}"))).status == 201


async def test_being_told_a_blob_is_there_renews_its_lease(serve: Any) -> None:
    client = await serve(gc=GC(grace="0s"))
    digest = await client.push_blob("a/b", b"old")
    asked = time.time()
    assert (await client("HEAD", f"/v2/a/b/blobs/{digest}")).status == 200
    await client.registry.collector.collect(asked)
    assert (await client("HEAD", f"/v2/a/b/blobs/{digest}")).status == 200


async def test_a_blob_pushed_again_during_collection_is_not_lost(client: Any) -> None:
    await client.push_blob("a/b", b"again")
    database, store = client.registry.database, client.registry.store
    await database.write(lambda c: records.drop_idle_holdings(c, time.time() + 1))
    doomed = await database.write(lambda c: records.drop_unheld_blobs(c, time.time() + 1, 10))
    digest = await client.push_blob("a/b", b"again")
    for key, _ in doomed:
        await store.delete(key)
    assert (await client("GET", f"/v2/a/b/blobs/{digest}")).body == b"again"


async def test_copies_a_crash_left_are_removed(client: Any, tmp_path: Path) -> None:
    await client.push_image("a/b", "1")
    stray = tmp_path / "registry" / "blobs" / "sha256" / "ab" / ("ab" * 32) / "0123456789abcdef"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"left behind")
    done = await collect_all(client)
    assert (done.strays, stray.exists(), len(stored_files(tmp_path))) == (1, False, 1)


async def test_untagged_manifests_go_only_when_configured(serve: Any) -> None:
    for untagged, expected in ((False, 200), (True, 404)):
        client = await serve(gc=GC(untagged=untagged))
        digest = await client.push_image("a/b", "1", b"{}")
        await client("DELETE", "/v2/a/b/manifests/1")
        await collect_all(client)
        assert (await client("GET", f"/v2/a/b/manifests/{digest}")).status == expected


async def test_forgotten_uploads_are_thrown_away(client: Any) -> None:
    location = (await client("POST", "/v2/a/b/blobs/uploads/")).headers["Location"]
    done = await client.registry.collector.collect(time.time() + 25 * 3600)
    assert done.uploads == 1
    assert (await client("GET", location)).status == 404


class Warned(logging.Handler):
    """Tells a test that the collector has warned."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        assert record.getMessage().startswith("the clock was set")
        self.said.set()


@pytest.mark.parametrize("jump", [365 * 86400, -365 * 86400])
async def test_a_clock_that_was_set_makes_no_lease_old(serve: Any, monkeypatch: pytest.MonkeyPatch, jump: int) -> None:
    client = await serve(gc=GC(interval="0s", grace="1h"))
    await client.push_blob("a/b", b"{}")
    told, warned, log = time.time, Warned(), logging.getLogger("sampan.registry.server.collector")
    log.addHandler(warned)
    monkeypatch.setattr(time, "time", lambda: told() + jump)
    async with asyncio.timeout(20):
        await warned.said.wait()
    log.removeHandler(warned)
    assert (await client.push_manifest("a/b", "1", client.manifest_of(b"{}"))).status == 201
