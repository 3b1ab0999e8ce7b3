"""Blobs and uploads over HTTP: end-2, 4 to 6, 10, 11, 13, 14."""

from pathlib import Path
from typing import Any

import pytest

DATA = bytes(range(256)) * 40


def stored_files(root: Path) -> list[Path]:
    return [path for path in (root / "registry" / "blobs").rglob("*") if path.is_file()]


async def begin(client: Any, name: str = "a/b") -> str:
    answer = await client("POST", f"/v2/{name}/blobs/uploads/")
    assert answer.status == 202
    assert answer.headers["Range"] == "0-0"
    return str(answer.headers["Location"])


async def test_the_ping_answers(client: Any) -> None:
    answer = await client("GET", "/v2/")
    assert (answer.status, answer.json) == (200, {})
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


async def test_an_unknown_blob_is_not_found(client: Any) -> None:
    digest = client.digest_of(b"nobody has this")
    assert (await client("GET", f"/v2/a/b/blobs/{digest}")).code == "BLOB_UNKNOWN"
    assert (await client("HEAD", f"/v2/a/b/blobs/{digest}")).status == 404


async def test_a_malformed_digest_is_refused(client: Any) -> None:
    answer = await client("GET", "/v2/a/b/blobs/sha256:123")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


async def test_a_malformed_name_is_refused(client: Any) -> None:
    answer = await client("GET", "/v2/A/tags/list")
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


async def test_a_blob_pushed_whole_comes_back(client: Any) -> None:
    digest = await client.push_blob("a/b", DATA)
    answer = await client("GET", f"/v2/a/b/blobs/{digest}")
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.headers["Docker-Content-Digest"] == digest
    head = await client("HEAD", f"/v2/a/b/blobs/{digest}")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(DATA)), b"")


async def test_a_blob_by_sha512_comes_back(client: Any) -> None:
    import hashlib

    digest = "sha512:" + hashlib.sha512(DATA).hexdigest()
    assert (await client("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", data=DATA)).status == 201
    assert (await client("GET", f"/v2/a/b/blobs/{digest}")).body == DATA


async def test_a_blob_is_not_seen_from_another_repository(client: Any) -> None:
    digest = await client.push_blob("a/b", DATA)
    assert (await client("GET", f"/v2/a/c/blobs/{digest}")).status == 404


@pytest.mark.parametrize(
    ("asked", "expected", "shown"),
    [
        ("bytes=0-9", DATA[:10], "bytes 0-9/10240"),
        ("bytes=10000-", DATA[10000:], "bytes 10000-10239/10240"),
        ("bytes=-5", DATA[-5:], "bytes 10235-10239/10240"),
        ("bytes=10-999999", DATA[10:], "bytes 10-10239/10240"),
    ],
)
async def test_a_range_of_a_blob_comes_back(client: Any, asked: str, expected: bytes, shown: str) -> None:
    digest = await client.push_blob("a/b", DATA)
    answer = await client("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": asked})
    assert (answer.status, answer.body, answer.headers["Content-Range"]) == (206, expected, shown)


async def test_a_range_beyond_the_end_is_refused(client: Any) -> None:
    digest = await client.push_blob("a/b", DATA)
    answer = await client("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=10240-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10240")


async def test_several_ranges_give_the_whole_blob(client: Any) -> None:
    digest = await client.push_blob("a/b", DATA)
    answer = await client("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=0-1,5-6"})
    assert (answer.status, answer.body) == (200, DATA)


async def test_a_known_blob_is_not_sent_again(client: Any) -> None:
    digest = await client.push_blob("a/b", DATA)
    answer = await client("GET", f"/v2/a/b/blobs/{digest}", headers={"If-None-Match": f'"{digest}"'})
    assert (answer.status, answer.body) == (304, b"")


async def test_an_upload_in_chunks_grows_and_ends(client: Any) -> None:
    location = await begin(client)
    first = await client("PATCH", location, data=DATA[:1000], headers={"Content-Range": "0-999"})
    assert (first.status, first.headers["Range"]) == (202, "0-999")
    status = await client("GET", location)
    assert (status.status, status.headers["Range"]) == (204, "0-999")
    second = await client("PATCH", location, data=DATA[1000:5000], headers={"Content-Range": "1000-4999"})
    assert second.headers["Range"] == "0-4999"
    digest = client.digest_of(DATA)
    headers = {"Content-Range": f"5000-{len(DATA) - 1}"}
    done = await client("PUT", f"{location}?digest={digest}", data=DATA[5000:], headers=headers)
    assert (done.status, done.headers["Location"]) == (201, f"/v2/a/b/blobs/{digest}")
    assert (await client("GET", done.headers["Location"])).body == DATA
    assert (await client("GET", location)).code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("bounds", ["5-14", "20-29", "0-9", "nonsense"])
async def test_a_chunk_out_of_order_is_refused_and_changes_nothing(client: Any, bounds: str) -> None:
    location = await begin(client)
    await client("PATCH", location, data=DATA[:10], headers={"Content-Range": "0-9"})
    answer = await client("PATCH", location, data=DATA[10:20], headers={"Content-Range": bounds})
    assert (answer.status, answer.headers["Range"]) == (416, "0-9")
    assert (await client("GET", location)).headers["Range"] == "0-9"


async def test_a_chunk_of_the_wrong_length_is_refused(client: Any) -> None:
    location = await begin(client)
    answer = await client("PATCH", location, data=b"12345", headers={"Content-Range": "0-9"})
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")


async def test_a_wrong_digest_is_refused_and_nothing_stays(client: Any, tmp_path: Path) -> None:
    digest = client.digest_of(b"something else")
    answer = await client("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", data=DATA)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert stored_files(tmp_path) == []
    assert list((tmp_path / "registry" / "uploads").iterdir()) == []


async def test_a_cancelled_upload_is_gone(client: Any) -> None:
    location = await begin(client)
    assert (await client("DELETE", location)).status == 204
    assert (await client("PATCH", location, data=DATA)).code == "BLOB_UPLOAD_UNKNOWN"


async def test_an_upload_belongs_to_its_repository(client: Any) -> None:
    upload = (await begin(client)).rpartition("/")[2]
    assert (await client("GET", f"/v2/other/blobs/uploads/{upload}")).code == "BLOB_UPLOAD_UNKNOWN"
    assert (await client("GET", "/v2/a/b/blobs/uploads/..%2f..%2fx")).status == 404


async def test_an_upload_goes_on_after_a_restart(serve: Any) -> None:
    before = await serve()
    location = await begin(before)
    await before("PATCH", location, data=DATA[:3000])
    after = await serve()
    assert (await after("GET", location)).headers["Range"] == "0-2999"
    digest = after.digest_of(DATA)
    assert (await after("PUT", f"{location}?digest={digest}", data=DATA[3000:])).status == 201
    assert (await after("GET", f"/v2/a/b/blobs/{digest}")).body == DATA


async def test_a_blob_is_mounted_from_another_repository(client: Any, tmp_path: Path) -> None:
    digest = await client.push_blob("a/b", DATA)
    answer = await client("POST", f"/v2/c/d/blobs/uploads/?mount={digest}&from=a/b")
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/c/d/blobs/{digest}")
    assert (await client("GET", f"/v2/c/d/blobs/{digest}")).body == DATA
    assert len(stored_files(tmp_path)) == 1


async def test_a_blob_is_found_and_mounted_without_naming_where_from(client: Any) -> None:
    digest = await client.push_blob("a/b", DATA)
    assert (await client("POST", f"/v2/c/d/blobs/uploads/?mount={digest}")).status == 201


async def test_a_mount_of_what_is_not_there_begins_an_upload(client: Any) -> None:
    digest = client.digest_of(DATA)
    answer = await client("POST", f"/v2/c/d/blobs/uploads/?mount={digest}&from=a/b")
    assert answer.status == 202
    assert "/blobs/uploads/" in answer.headers["Location"]


async def test_a_blob_pushed_twice_is_stored_once(client: Any, tmp_path: Path) -> None:
    await client.push_blob("a/b", DATA)
    await client.push_blob("c/d", DATA)
    assert len(stored_files(tmp_path)) == 1


async def test_a_deleted_blob_is_gone_here_and_not_elsewhere(client: Any) -> None:
    digest = await client.push_blob("a/b", DATA)
    await client.push_blob("c/d", DATA)
    assert (await client("DELETE", f"/v2/a/b/blobs/{digest}")).status == 202
    assert (await client("GET", f"/v2/a/b/blobs/{digest}")).status == 404
    assert (await client("DELETE", f"/v2/a/b/blobs/{digest}")).status == 404
    assert (await client("GET", f"/v2/c/d/blobs/{digest}")).status == 200


async def test_deletion_can_be_switched_off(serve: Any) -> None:
    client = await serve(deletion=False)
    digest = await client.push_blob("a/b", DATA)
    assert (await client("DELETE", f"/v2/a/b/blobs/{digest}")).code == "UNSUPPORTED"


async def test_a_method_nobody_handles_is_refused(client: Any) -> None:
    answer = await client("POST", "/v2/a/b/tags/list")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert (await client("GET", "/nothing/here")).status == 404
