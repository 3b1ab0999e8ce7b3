"""The content store: what is committed, resumed, followed, refused."""

import threading
import time
from pathlib import Path

import pytest

from sampan.errors import Conflict, DataLoss, EngineError, NotFound
from sampan.oci.digest import Digest, of
from sampan.storage.content import ContentStore

OTHER = of(b"other")


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    (tmp_path / "content").mkdir()
    return ContentStore(tmp_path / "content")


def test_what_is_written_is_read_by_its_digest(content: ContentStore) -> None:
    digest = content.write(b"data")
    assert digest == of(b"data")
    assert digest in content
    assert (content.read(digest), content.size(digest)) == (b"data", 4)
    assert list(content.digests()) == [digest]


def test_an_interrupted_ingest_goes_on_where_it_stopped(content: ContentStore, tmp_path: Path) -> None:
    with content.ingest("layer") as ingest:
        ingest.write(b"first ")
    again = ContentStore(tmp_path / "content")  # the daemon was killed meanwhile
    with again.ingest("layer") as ingest:
        assert ingest.offset == 6
        ingest.write(b"second")
        assert ingest.commit(of(b"first second"), 12) == of(b"first second")
    with again.ingest("layer") as ingest:
        assert ingest.offset == 0


def test_an_ingest_may_start_over(content: ContentStore) -> None:
    with content.ingest("layer") as ingest:
        ingest.write(b"wrong")
        ingest.restart()
        ingest.write(b"right")
        assert ingest.commit() == of(b"right")


@pytest.mark.parametrize(("expected", "size"), [(OTHER, None), (None, 3), (of(b"data"), 5)])
def test_wrong_content_is_refused_and_nothing_stays(
    content: ContentStore, expected: Digest | None, size: int | None
) -> None:
    with content.ingest("layer") as ingest:
        ingest.write(b"data")
        with pytest.raises(DataLoss):
            ingest.commit(expected, size)
    assert not list(content.digests())
    with content.ingest("layer") as ingest:
        assert ingest.offset == 0


def test_a_ref_has_one_writer(content: ContentStore) -> None:
    with content.ingest("layer"), pytest.raises(Conflict):
        content.ingest("layer")
    content.ingest("layer").close()


def test_a_follower_reads_along_to_the_end(content: ContentStore) -> None:
    read = bytearray()
    with content.ingest("layer") as ingest:
        ingest.write(b"a" * 100)
        with ingest.follow() as follower:
            thread = threading.Thread(target=lambda: [read.extend(chunk) for chunk in iter(follower.read, b"")])
            thread.start()
            ingest.write(b"b" * 100)
            ingest.commit()
            thread.join()
    assert read == b"a" * 100 + b"b" * 100


def test_a_follower_learns_that_the_writer_gave_up(content: ContentStore) -> None:
    ingest = content.ingest("layer")
    with ingest.follow() as follower:
        ingest.abort(EngineError("the registry went away"))
        with pytest.raises(EngineError, match="the registry went away"):
            follower.read()


def test_missing_and_damaged_content_are_told_apart(content: ContentStore) -> None:
    with pytest.raises(NotFound):
        content.read(OTHER)
    digest = content.write(b"data")
    content.path(digest).write_bytes(b"tada")
    with pytest.raises(DataLoss, match="damaged"):
        content.read(digest)


def test_deleting_says_what_it_freed(content: ContentStore) -> None:
    digest = content.write(b"data")
    assert content.delete(digest) == 4
    assert content.delete(digest) == 0


def test_old_ingests_are_dropped_and_resumable_young_ones_kept(content: ContentStore, tmp_path: Path) -> None:
    for ref in ("keep", None):
        with content.ingest(ref) as ingest:
            ingest.write(b"data")
    content.drop_ingests(older_than=time.time() - 60)
    assert len(list((tmp_path / "content/ingest").iterdir())) == 1
    content.drop_ingests(older_than=time.time() + 60)
    assert not list((tmp_path / "content/ingest").iterdir())
