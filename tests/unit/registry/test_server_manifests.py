"""Manifests, tags, referrers, catalog and search over HTTP."""

import json
from typing import Any

import pytest

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


async def test_a_manifest_comes_back_by_tag_and_by_digest(client: Any) -> None:
    digest = await client.push_image("a/b", "1.0", b"{}", b"layer")
    for reference in ("1.0", digest):
        answer = await client("GET", f"/v2/a/b/manifests/{reference}")
        assert answer.status == 200
        assert client.digest_of(answer.body) == digest
        assert answer.headers["Content-Type"] == MANIFEST
        assert answer.headers["Docker-Content-Digest"] == digest
        head = await client("HEAD", f"/v2/a/b/manifests/{reference}")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(answer.body)))


async def test_unknown_manifests_and_repositories_are_told_apart(client: Any) -> None:
    await client.push_image("a/b", "1.0")
    assert (await client("GET", "/v2/a/b/manifests/2.0")).code == "MANIFEST_UNKNOWN"
    assert (await client("GET", "/v2/x/y/manifests/2.0")).code == "NAME_UNKNOWN"


async def test_a_manifest_of_absent_blobs_is_refused(client: Any) -> None:
    await client.push_blob("a/b", b"{}")
    answer = await client.push_manifest("a/b", "1.0", client.manifest_of(b"{}", b"absent"))
    assert (answer.status, answer.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert answer.json["errors"][0]["detail"] == [{"digest": client.digest_of(b"absent")}]
    assert (await client("GET", "/v2/a/b/manifests/1.0")).status == 404


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"not json", MANIFEST),
        (b'{"schemaVersion": 1}', MANIFEST),
        (b'{"schemaVersion": 2}', MANIFEST),
        (b'{"schemaVersion": 2, "mediaType": "application/x-unknown"}', "application/x-unknown"),
        (b'{"schemaVersion": 2, "mediaType": "%s", "manifests": []}' % INDEX.encode(), MANIFEST),
    ],
)
async def test_what_is_no_manifest_is_refused(client: Any, body: bytes, kind: str) -> None:
    answer = await client.push_manifest("a/b", "1.0", body, kind)
    assert (answer.status, answer.code) == (400, "MANIFEST_INVALID")


async def test_a_manifest_too_large_is_refused(serve: Any) -> None:
    from sampan.registry.server.config import Limits

    client = await serve(limits=Limits(manifest=1000))
    answer = await client.push_manifest("a/b", "1.0", b" " * 1001)
    assert answer.status == 413


async def test_a_manifest_under_another_digest_is_refused(client: Any) -> None:
    await client.push_blob("a/b", b"{}")
    answer = await client.push_manifest("a/b", client.digest_of(b"x"), client.manifest_of(b"{}"))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


async def test_a_manifest_pushed_by_digest_can_be_tagged_at_once(client: Any) -> None:
    await client.push_blob("a/b", b"{}")
    raw = client.manifest_of(b"{}")
    answer = await client.push_manifest("a/b", f"{client.digest_of(raw)}?tag=one&tag=two", raw)
    assert (answer.status, answer.headers.getall("OCI-Tag")) == (201, ["one", "two"])
    assert (await client("GET", "/v2/a/b/tags/list")).json["tags"] == ["one", "two"]


async def test_an_index_needs_its_manifests(serve: Any) -> None:
    client = await serve()
    digest = await client.push_image("a/b", "1.0")
    size = len((await client("GET", f"/v2/a/b/manifests/{digest}")).body)
    entry = {"mediaType": MANIFEST, "digest": digest, "size": size}
    absent = {**entry, "digest": client.digest_of(b"absent")}
    whole = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    sparse = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry, absent]}).encode()
    assert (await client.push_manifest("a/b", "all", whole, INDEX)).status == 201
    assert (await client.push_manifest("a/b", "part", sparse, INDEX)).code == "MANIFEST_BLOB_UNKNOWN"
    lenient = await serve(sparse_indexes=True)
    assert (await lenient.push_manifest("a/b", "part", sparse, INDEX)).status == 201


async def test_deleting_a_tag_keeps_the_manifest(client: Any) -> None:
    digest = await client.push_image("a/b", "1.0")
    assert (await client("DELETE", "/v2/a/b/manifests/1.0")).status == 202
    assert (await client("GET", "/v2/a/b/manifests/1.0")).status == 404
    assert (await client("GET", f"/v2/a/b/manifests/{digest}")).status == 200


async def test_deleting_a_manifest_takes_its_tags_along(client: Any) -> None:
    digest = await client.push_image("a/b", "1.0")
    await client.push_image("a/b", "latest")
    assert (await client("DELETE", f"/v2/a/b/manifests/{digest}")).status == 202
    assert (await client("GET", "/v2/a/b/tags/list")).json["tags"] == []
    assert (await client("DELETE", f"/v2/a/b/manifests/{digest}")).code == "MANIFEST_UNKNOWN"


async def test_tags_come_in_pages(client: Any) -> None:
    for tag in ("b", "a", "B", "c"):
        await client.push_image("a/b", tag)
    assert (await client("GET", "/v2/a/b/tags/list")).json == {"name": "a/b", "tags": ["B", "a", "b", "c"]}
    first = await client("GET", "/v2/a/b/tags/list?n=3")
    assert first.json["tags"] == ["B", "a", "b"]
    assert first.headers["Link"] == '</v2/a/b/tags/list?last=b&n=3>; rel="next"'
    second = await client("GET", "/v2/a/b/tags/list?last=b&n=3")
    assert (second.json["tags"], "Link" in second.headers) == (["c"], False)
    assert (await client("GET", "/v2/a/b/tags/list?n=0")).json["tags"] == []


async def test_a_page_of_no_number_is_refused(client: Any) -> None:
    await client.push_image("a/b", "1")
    assert (await client("GET", "/v2/a/b/tags/list?n=many")).code == "PAGINATION_NUMBER_INVALID"


async def test_the_catalog_comes_in_pages(client: Any) -> None:
    for name in ("x", "a/b", "c"):
        await client.push_image(name, "1")
    first = await client("GET", "/v2/_catalog?n=2")
    assert first.json == {"repositories": ["a/b", "c"]}
    assert (await client("GET", first.headers["Link"][1:].partition(">")[0])).json == {"repositories": ["x"]}


async def test_referrers_are_listed_and_filtered(client: Any) -> None:
    subject = await client.push_image("a/b", "1.0")
    pointer = {"mediaType": MANIFEST, "digest": subject, "size": 1}
    await client.push_blob("a/b", b"{}")
    raw = client.manifest_of(b"{}", subject=pointer, artifactType="text/sbom", annotations={"k": "v"})
    pushed = await client.push_manifest("a/b", client.digest_of(raw), raw)
    assert pushed.headers["OCI-Subject"] == subject
    other = client.manifest_of(b"{}", subject=pointer)
    await client.push_manifest("a/b", client.digest_of(other), other)
    answer = await client("GET", f"/v2/a/b/referrers/{subject}")
    assert answer.headers["Content-Type"] == INDEX
    assert [one["artifactType"] for one in answer.json["manifests"]] == [
        "text/sbom",
        "application/vnd.oci.image.config.v1+json",
    ]
    filtered = await client("GET", f"/v2/a/b/referrers/{subject}?artifactType=text/sbom")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert filtered.json["manifests"] == [
        {
            "mediaType": MANIFEST,
            "digest": client.digest_of(raw),
            "size": len(raw),
            "artifactType": "text/sbom",
            "annotations": {"k": "v"},
        }
    ]


async def test_nothing_refers_to_what_nobody_knows(client: Any) -> None:
    answer = await client("GET", f"/v2/a/b/referrers/{client.digest_of(b'x')}")
    assert (answer.status, answer.json["manifests"]) == (200, [])


async def test_a_subject_may_come_later(client: Any) -> None:
    later = client.manifest_of(b"{}", b"layer")
    pointer = {"mediaType": MANIFEST, "digest": client.digest_of(later), "size": len(later)}
    await client.push_image("a/b", "sig", b"{}", subject=pointer)
    assert len((await client("GET", f"/v2/a/b/referrers/{client.digest_of(later)}")).json["manifests"]) == 1


async def test_search_finds_by_a_part_of_the_name(client: Any) -> None:
    await client.push_image("me/web_app", "1")
    await client.push_image("library/webapp", "1")
    found = (await client("GET", "/v1/search?q=web&n=10")).json
    assert [(one["name"], one["is_official"]) for one in found["results"]] == [
        ("library/webapp", True),
        ("me/web_app", False),
    ]
    assert [one["name"] for one in (await client("GET", "/v1/search?q=b_a")).json["results"]] == ["me/web_app"]
    assert (await client("GET", "/v1/_ping")).json is True


async def test_metrics_and_health_answer(client: Any) -> None:
    await client.push_image("a/b", "1")
    text = (await client("GET", "/metrics")).body.decode()
    assert 'sampan_registry_requests_total{method="PUT",operation="manifest",status="201"} 1.0' in text
    assert (await client("GET", "/healthz")).json == {"status": "ok"}
