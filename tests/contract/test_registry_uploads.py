"""The contract of uploads under way, kept by files and by a bucket with the database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from s3_server import bucket

from sampan.errors import DataLoss
from sampan.oci import digest as digests
from sampan.oci.digest import Digest
from sampan.registry.protocol import Code
from sampan.registry.server import records
from sampan.registry.server.config import S3
from sampan.registry.server.database import Database, open_database
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.store import Store
from sampan.registry.server.store.filesystem import FilesystemStore
from sampan.registry.server.store.s3 import BucketStore
from sampan.registry.server.uploads import Uploads
from sampan.registry.server.uploads.bucket import BucketUploads
from sampan.registry.server.uploads.files import FileUploads

DATA = bytes(range(250)) * 12_000


@dataclass
class Place:
    """Two registries' uploads over one store and database."""

    one: Uploads
    two: Uploads
    store: Store
    database: Database

    async def blob(self, digest: Digest, name: str = "a/b") -> bytes:
        """The blob's bytes as a client would get them."""
        found = await self.database.read(lambda connection: records.find_blob(connection, name, digest))
        assert found is not None
        return b"".join([piece async for piece in self.store.read(found.key, 0, found.size)])

    async def copies(self) -> int:
        """How many objects the store has."""
        return len([stored async for stored in self.store.stored()])


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with bucket() as made:
        yield made


@pytest.fixture(params=["files", "bucket"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Each kind in turn, empty."""
    database = open_database(f"sqlite:///{tmp_path}/registry.db")
    store: Store
    if request.param == "files":
        store = FilesystemStore(tmp_path)
        made = Place(FileUploads(tmp_path, store, database), FileUploads(tmp_path, store, database), store, database)
    else:
        store = BucketStore(request.getfixturevalue("s3"))
        made = Place(BucketUploads(store, database), BucketUploads(store, database), store, database)
    yield made
    async for stored in store.stored():
        await store.delete(stored.key)
    await database.close()


async def pieces(data: bytes, failure: Exception | None = None) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 60_000):
        yield data[at : at + 60_000]
    if failure is not None:
        raise failure


async def append(uploads: Uploads, upload: str, data: bytes, name: str = "a/b") -> None:
    async with uploads.writing(name, upload) as writer:
        await writer.append(pieces(data))


async def commit(uploads: Uploads, upload: str, digest: Digest) -> None:
    async with uploads.writing("a/b", upload) as writer:
        await writer.commit(digest)


async def test_an_upload_at_once_becomes_a_blob(place: Place) -> None:
    upload = await place.one.begin("a/b")
    await append(place.one, upload, DATA)
    assert await place.one.offset("a/b", upload) == len(DATA)
    await commit(place.one, upload, digests.of(DATA))
    assert await place.blob(digests.of(DATA)) == DATA
    assert await place.copies() == 1
    await unknown(place, upload)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_any_registry_goes_on_with_an_upload(place: Place, algorithm: str) -> None:
    upload = await place.one.begin("a/b")
    await append(place.one, upload, DATA[:1_000_000])
    assert await place.two.offset("a/b", upload) == 1_000_000
    await append(place.two, upload, DATA[1_000_000:1_000_007])
    await append(place.one, upload, DATA[1_000_007:])
    await commit(place.two, upload, digests.of(DATA, algorithm))
    assert await place.blob(digests.of(DATA, algorithm)) == DATA
    assert await place.copies() == 1


async def test_an_empty_upload_is_an_empty_blob(place: Place) -> None:
    upload = await place.one.begin("a/b")
    await append(place.one, upload, b"")
    await commit(place.one, upload, digests.of(b""))
    assert await place.blob(digests.of(b"")) == b""


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_wrong_digest_is_refused_and_nothing_stays(place: Place, parts: int) -> None:
    upload = await place.one.begin("a/b")
    for _ in range(parts):
        await append(place.one, upload, DATA)
    with pytest.raises(Refusal) as refused:
        await commit(place.one, upload, digests.of(b"other"))
    assert refused.value.reason is Code.DIGEST_INVALID
    assert await place.copies() == 0
    await unknown(place, upload)


async def test_what_came_before_a_cut_is_kept(place: Place) -> None:
    upload = await place.one.begin("a/b")
    with pytest.raises(ConnectionResetError):
        async with place.one.writing("a/b", upload) as writer:
            await writer.append(pieces(DATA[:1_140_000], ConnectionResetError("cut")))
    assert await place.one.offset("a/b", upload) == 1_140_000
    await append(place.one, upload, DATA[1_140_000:])
    await commit(place.one, upload, digests.of(DATA))
    assert await place.blob(digests.of(DATA)) == DATA


async def test_more_than_the_limit_is_refused(place: Place) -> None:
    upload = await place.one.begin("a/b")
    with pytest.raises(DataLoss):
        async with place.one.writing("a/b", upload) as writer:
            await writer.append(pieces(DATA), 1000)


async def test_of_two_that_write_at_once_one_is_refused(place: Place) -> None:
    upload = await place.one.begin("a/b")
    outcomes = await asyncio.gather(
        append(place.one, upload, DATA), append(place.two, upload, DATA), return_exceptions=True
    )
    assert sorted(type(outcome) for outcome in outcomes if outcome is not None) == [Refusal]
    assert await place.one.offset("a/b", upload) == len(DATA)


async def test_of_two_that_finish_at_once_one_makes_the_blob(place: Place) -> None:
    upload = await place.one.begin("a/b")
    await append(place.one, upload, DATA)
    digest = digests.of(DATA)
    outcomes = await asyncio.gather(
        commit(place.one, upload, digest), commit(place.two, upload, digest), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [Refusal]
    assert await place.blob(digest) == DATA


async def test_a_blob_that_is_known_is_stored_once(place: Place) -> None:
    for _ in range(2):
        upload = await place.one.begin("a/b")
        await append(place.one, upload, DATA)
        await commit(place.one, upload, digests.of(DATA))
    assert await place.blob(digests.of(DATA)) == DATA
    assert await place.copies() == 1


async def test_another_repositorys_upload_is_unknown(place: Place) -> None:
    upload = await place.one.begin("a/b")
    with pytest.raises(Refusal) as refused:
        await append(place.one, upload, DATA, name="c/d")
    assert refused.value.reason is Code.BLOB_UPLOAD_UNKNOWN
    await unknown(place, "../../registry.db")


async def test_a_cancelled_upload_is_gone(place: Place) -> None:
    upload = await place.one.begin("a/b")
    await append(place.one, upload, DATA)
    await place.two.cancel("a/b", upload)
    await unknown(place, upload)
    assert await place.copies() == 0


async def test_forgotten_uploads_are_thrown_away(place: Place) -> None:
    upload = await place.one.begin("a/b")
    await append(place.one, upload, DATA)
    assert await place.one.drop_stale(before=1.0) == 0
    assert await place.one.drop_stale(before=4e9) == 1
    await unknown(place, upload)
    assert await place.copies() == 0


async def unknown(place: Place, upload: str) -> None:
    for uploads in (place.one, place.two):
        with pytest.raises(Refusal) as refused:
            await uploads.offset("a/b", upload)
        assert refused.value.reason is Code.BLOB_UPLOAD_UNKNOWN
