"""Manifests and referrers: end-3, end-7, end-9, end-12 of the distribution specification.

A manifest is recorded only when all it points to is in the repository, in the same transaction; so what a tag leads to
is complete as long as nobody deletes blobs by hand.
"""

from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from sampan.oci import descriptor as types
from sampan.oci import digest as digests
from sampan.oci.digest import Digest
from sampan.registry.protocol import (
    CONTENT_DIGEST,
    FILTERS_APPLIED,
    SUBJECT,
    TAG,
    TAG_NAME,
    Code,
)
from sampan.registry.server import answers, records
from sampan.registry.server.blobs import parse_digest
from sampan.registry.server.config import Limits
from sampan.registry.server.payload import describe
from sampan.registry.server.records import NewManifest, Referrer, StoredManifest
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.registry import Registry
from sampan.registry.streams import awaited

_MANY_TAGS = 10


def _parse_reference(reference: str) -> str:
    """A tag or a digest out of a URL; raises Refusal."""
    if ":" in reference:
        return parse_digest(reference)
    if not TAG_NAME.fullmatch(reference):
        raise Refusal(Code.MANIFEST_INVALID, {"tag": reference}, message="invalid tag name")
    return reference


async def manifest_get(registry: Registry, request: web.BaseRequest, name: str, reference: str) -> web.Response:
    """GET and HEAD by tag or digest."""
    wanted = _parse_reference(reference)
    if registry.proxy:
        await registry.proxy.refresh(name, wanted)
    found = await registry.database.read(lambda connection: records.find_manifest(connection, name, wanted))
    if found is None:
        raise await _unknown(registry, name, reference)
    return _send(request, found)


def _send(request: web.BaseRequest, found: StoredManifest) -> web.Response:
    headers = {
        **answers.BASE_HEADERS,
        CONTENT_DIGEST: found.digest,
        "ETag": f'"{found.digest}"',
        "Content-Type": found.media_type,
    }
    if answers.not_modified(request, found.digest):
        return web.Response(status=304, headers=headers)
    return web.Response(body=found.payload, headers=headers)


async def _unknown(registry: Registry, name: str, reference: str) -> Refusal:
    """NAME_UNKNOWN for a repository that is not there, else MANIFEST_UNKNOWN."""
    known = await registry.database.read(lambda connection: records.repository_id(connection, name))
    detail = {"name": name, ("revision" if ":" in reference else "Tag"): reference}
    return Refusal(Code.NAME_UNKNOWN if known is None else Code.MANIFEST_UNKNOWN, detail)


async def manifest_put(registry: Registry, request: web.BaseRequest, name: str, reference: str) -> web.Response:
    """Check a manifest and record it under its digest and its tags."""
    if registry.proxy:
        raise Refusal(Code.UNSUPPORTED, message="this registry is a pull-through cache: push to its upstream")
    wanted = _parse_reference(reference)
    payload = await _read(request, registry.config.limits)
    names = _tags(request, wanted)
    algorithm = digests.algorithm(Digest(wanted)) if ":" in wanted else "sha256"
    manifest = describe(payload, request.headers.get("Content-Type", ""), algorithm)
    if ":" in wanted and manifest.digest != wanted:
        raise Refusal(Code.DIGEST_INVALID, {"expected": wanted, "got": manifest.digest})
    sparse = registry.config.sparse_indexes
    await registry.database.write(lambda connection: record(connection, name, manifest, names, sparse))
    return _created(name, reference, manifest, names)


def _created(name: str, reference: str, manifest: NewManifest, names: list[str]) -> web.Response:
    headers = {"Location": f"/v2/{name}/manifests/{manifest.digest}", CONTENT_DIGEST: manifest.digest}
    if manifest.subject:
        headers[SUBJECT] = manifest.subject
    response = answers.empty(201, headers)
    if ":" in reference:
        for tag in names:
            response.headers.add(TAG, tag)
    return response


def _tags(request: web.BaseRequest, reference: str) -> list[str]:
    """Tags to set: the one in the path, or those in the query beside a digest."""
    if ":" not in reference:
        return [reference]
    names = request.query.getall("tag", [])
    if len(names) > _MANY_TAGS:
        raise Refusal(Code.MANIFEST_INVALID, status=414, message=f"at most {_MANY_TAGS} tags in one request")
    return [_parse_reference(name) for name in names if ":" not in name]


async def _read(request: web.BaseRequest, limits: Limits) -> bytes:
    """The body; raises Refusal (413) when it is longer than a manifest may be."""
    pieces, size = [], 0
    async for piece in awaited(request.content, limits.patience):
        size += len(piece)
        if size > limits.manifest:
            message = f"manifests of more than {limits.manifest} bytes are not accepted"
            raise Refusal(Code.MANIFEST_INVALID, status=413, message=message)
        pieces.append(piece)
    return b"".join(pieces)


def record(connection: Connection, name: str, manifest: NewManifest, names: list[str], sparse: bool) -> None:
    """Record the manifest with its tags; raises Refusal when something it points to is not there."""
    repository = records.make_repository(connection, name)
    absent = records.missing(connection, repository, manifest, sparse)
    if absent:
        sentence = f"manifest references blobs or manifests unknown to this repository: {', '.join(absent)}"
        raise Refusal(Code.MANIFEST_BLOB_UNKNOWN, [{"digest": one} for one in absent], message=sentence)
    records.put_manifest(connection, repository, manifest, names)


async def manifest_delete(registry: Registry, _request: web.BaseRequest, name: str, reference: str) -> web.Response:
    """Remove a tag, or a manifest with all its tags."""
    if not registry.config.deletion:
        raise Refusal(Code.UNSUPPORTED)
    wanted = _parse_reference(reference)

    def drop(connection: Connection) -> bool:
        repository = records.repository_id(connection, name)
        if repository is None:
            return False
        if ":" in wanted:
            return records.drop_manifest(connection, repository, Digest(wanted))
        return records.drop_tag(connection, repository, wanted)

    if not await registry.database.write(drop):
        raise await _unknown(registry, name, reference)
    return answers.empty(202)


# ---------------------------------------------------------------- referrers


async def referrers(registry: Registry, request: web.BaseRequest, name: str, digest: str) -> web.Response:
    """An index of the manifests that have ``digest`` as their subject; empty when there is none."""
    subject = parse_digest(digest)
    kind = request.query.get("artifactType", "")
    found = await registry.database.read(lambda connection: records.referrers(connection, name, subject, kind))
    index = {"schemaVersion": 2, "mediaType": types.OCI_INDEX, "manifests": [_referrer(one) for one in found]}
    headers = {"Content-Type": types.OCI_INDEX} | ({FILTERS_APPLIED: "artifactType"} if kind else {})
    return web.Response(body=msgspec.json.encode(index), headers={**answers.BASE_HEADERS, **headers})


def _referrer(one: Referrer) -> dict[str, Any]:
    descriptor: dict[str, Any] = {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
    if one.artifact_type:
        descriptor["artifactType"] = one.artifact_type
    if one.annotations:
        descriptor["annotations"] = msgspec.Raw(one.annotations.encode())
    return descriptor
