"""The contract of the registry's storage drivers, kept by files and by a bucket (moto's S3)."""

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from s3_server import bucket

from sampan.errors import NotFound
from sampan.oci import digest as digests
from sampan.registry.server.config import S3
from sampan.registry.server.store import Key, Store, new_key
from sampan.registry.server.store.filesystem import FilesystemStore
from sampan.registry.server.store.s3 import BucketStore

LARGE = bytes(range(251)) * 80_000  # 20 MB: more than one part of a multipart upload


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """A bucket in moto's server."""
    with bucket() as made:
        yield made


@pytest.fixture(params=["files", "bucket"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each driver in turn, empty."""
    made: Store = FilesystemStore(tmp_path) if request.param == "files" else BucketStore(request.getfixturevalue("s3"))
    yield made
    async for stored in made.stored():
        await made.delete(stored.key)
    await made.close()


async def put(store: Store, tmp_path: Path, data: bytes) -> Key:
    source = tmp_path / "source"
    source.write_bytes(data)
    key = new_key(digests.of(data))
    await store.put(key, source)
    assert not source.exists()
    return key


async def read(store: Store, key: Key, start: int, length: int) -> bytes:
    return b"".join([piece async for piece in store.read(key, start, length)])


@pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
async def test_what_was_put_is_read(store: Store, tmp_path: Path, data: bytes) -> None:
    key = await put(store, tmp_path, data)
    assert await read(store, key, 0, len(data)) == data


async def test_a_part_is_read(store: Store, tmp_path: Path) -> None:
    key = await put(store, tmp_path, LARGE)
    assert await read(store, key, 9_000_000, 1_500_000) == LARGE[9_000_000:10_500_000]


async def test_reading_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await read(store, new_key(digests.of(b"never")), 0, 5)


async def test_the_same_content_has_another_key_each_time(store: Store, tmp_path: Path) -> None:
    first, second = await put(store, tmp_path, b"same"), await put(store, tmp_path, b"same")
    await store.delete(first)
    assert await read(store, second, 0, 4) == b"same"


async def test_deleting_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    key = await put(store, tmp_path, b"data")
    await store.delete(key)
    await store.delete(key)
    assert [stored async for stored in store.stored()] == []


async def test_everything_stored_is_listed(store: Store, tmp_path: Path) -> None:
    keys = {await put(store, tmp_path, bytes([number])) for number in range(5)}
    listed = [stored async for stored in store.stored()]
    assert {stored.key for stored in listed} == keys
    assert all(stored.size == 1 and abs(stored.modified - time.time()) < 3600 for stored in listed)


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:
        return bytes(response.read())


async def test_a_url_leads_to_the_content_if_there_is_one(store: Store, tmp_path: Path) -> None:
    key = await put(store, tmp_path, b"data")
    url, file = await store.url(key), store.file(key)
    assert (url is None) != (file is None)
    content = file.read_bytes() if file else await asyncio.to_thread(fetch, str(url))
    assert content == b"data"
