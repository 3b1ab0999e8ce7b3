"""Queries on the tables: what is where, said in one transaction each.

Every function takes the connection of the transaction it is part of; see ``tables`` for the data.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.dialects import sqlite

from sampan.oci.digest import Digest
from sampan.registry.server.store import Key
from sampan.registry.server.tables import blobs, holdings, links, manifests, parts, repositories, tags, uploads

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


@dataclass(frozen=True)
class Blob:
    """A blob a repository holds; ``held_at`` is when its lease was last renewed."""

    digest: Digest
    size: int
    key: Key
    held_at: float


@dataclass(frozen=True)
class Part:
    """Bytes of an upload from ``start`` on, an object of their own; ``digest`` is theirs."""

    start: int
    size: int
    key: Key
    digest: Digest


@dataclass(frozen=True)
class StoredManifest:
    """A manifest as pushed."""

    digest: Digest
    media_type: str
    payload: bytes


@dataclass(frozen=True)
class NewManifest:
    """A manifest to record: ``blobs`` and ``children`` are what it points to, ``subject`` what it is about."""

    digest: Digest
    media_type: str
    payload: bytes
    artifact_type: str
    annotations: str
    subject: Digest | None
    blobs: frozenset[Digest]
    children: frozenset[Digest]


@dataclass(frozen=True)
class Referrer:
    """A manifest that has the subject asked for; ``annotations`` is a JSON object or empty."""

    digest: Digest
    media_type: str
    size: int
    artifact_type: str
    annotations: str


@dataclass(frozen=True)
class Found:
    """A repository that a search found."""

    name: str
    description: str
    stars: int
    official: bool


def _insert_new(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that can say ON CONFLICT in the database's own dialect."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # slow to import, and few want it

    return postgresql.insert(table)


# ---------------------------------------------------------------- repositories


def repository_id(connection: Connection, name: str) -> int | None:
    """The repository's row, None when nothing was ever pushed to it."""
    return connection.execute(_REPOSITORY, {"name": name}).scalar()


_REPOSITORY = select(repositories.c.id).where(repositories.c.name == bindparam("name"))


def make_repository(connection: Connection, name: str) -> int:
    """The repository's row, made if need be."""
    found = repository_id(connection, name)
    if found is not None:
        return found
    new = _insert_new(connection, repositories).values(name=name, created_at=time.time(), official=_is_official(name))
    connection.execute(new.on_conflict_do_nothing())
    made = repository_id(connection, name)
    assert made is not None
    return made


def _is_official(name: str) -> bool:
    """``library/busybox`` and ``busybox``: images of the house, as Docker Hub marks them."""
    return "/" not in name.removeprefix("library/")


def catalog(connection: Connection, last: str, limit: int) -> list[str]:
    """Repository names after ``last``, in ASCII order, at most ``limit``."""
    query = select(repositories.c.name).where(repositories.c.name > last)
    return list(connection.execute(query.order_by(repositories.c.name).limit(limit)).scalars())


def search(connection: Connection, term: str, offset: int, limit: int) -> tuple[list[Found], int]:
    """Repositories whose name or description holds ``term``, best first, and how many there are."""
    pattern = f"%{_escape_like(term.lower())}%"
    name, description = repositories.c.name, func.lower(repositories.c.description)
    matches = or_(name.like(pattern, escape="\\"), description.like(pattern, escape="\\"))
    total = connection.execute(select(func.count()).select_from(repositories).where(matches)).scalar_one()
    columns = select(name, repositories.c.description, repositories.c.stars, repositories.c.official)
    ordered = columns.where(matches).order_by(repositories.c.official.desc(), repositories.c.stars.desc(), name)
    rows = connection.execute(ordered.offset(offset).limit(limit))
    return [Found(*row) for row in rows], total


def _escape_like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


# ---------------------------------------------------------------- blobs


_BLOB = (
    select(blobs.c.digest, blobs.c.size, blobs.c.key, holdings.c.held_at)
    .join(holdings, holdings.c.digest == blobs.c.digest)
    .join(repositories, repositories.c.id == holdings.c.repository_id)
    .where(repositories.c.name == bindparam("name"), blobs.c.digest == bindparam("digest"))
)


def find_blob(connection: Connection, name: str, digest: Digest) -> Blob | None:
    """The blob if the repository holds it."""
    row = connection.execute(_BLOB, {"name": name, "digest": digest}).first()
    return Blob(*row) if row else None


def renew_lease(connection: Connection, name: str, digest: Digest) -> bool:
    """Renew the holding's lease; False when the repository no longer holds the blob."""
    repository = select(repositories.c.id).where(repositories.c.name == name).scalar_subquery()
    this = and_(holdings.c.repository_id == repository, holdings.c.digest == digest)
    return connection.execute(update(holdings).where(this).values(held_at=time.time())).rowcount > 0


def add_blob(connection: Connection, name: str, digest: Digest, size: int, key: Key) -> bool:
    """Record a stored blob and give it to the repository; False when it was known already (``key`` is not used)."""
    known = connection.execute(select(blobs.c.key).where(blobs.c.digest == digest)).scalar()
    if known is None:
        connection.execute(insert(blobs).values(digest=digest, size=size, key=key, stored_at=time.time()))
    hold(connection, make_repository(connection, name), digest)
    return known is None


def hold(connection: Connection, repository: int, digest: Digest) -> None:
    """Let the repository read the blob, with a fresh lease."""
    now = time.time()
    new = _insert_new(connection, holdings).values(repository_id=repository, digest=digest, held_at=now)
    connection.execute(new.on_conflict_do_update(index_elements=["repository_id", "digest"], set_={"held_at": now}))


def mount_blob(connection: Connection, source: str, target: str, digest: Digest) -> bool:
    """Let ``target`` read a blob that ``source`` holds; False when it does not."""
    if find_blob(connection, source, digest) is None:
        return False
    hold(connection, make_repository(connection, target), digest)
    return True


def holders(connection: Connection, digest: Digest) -> list[str]:
    """Names of repositories that hold the blob."""
    query = select(repositories.c.name).join(holdings).where(holdings.c.digest == digest)
    return list(connection.execute(query.order_by(repositories.c.name)).scalars())


def drop_holding(connection: Connection, name: str, digest: Digest) -> bool:
    """Take the blob away from the repository; False when it had it not."""
    repository = repository_id(connection, name)
    this = and_(holdings.c.repository_id == repository, holdings.c.digest == digest)
    return repository is not None and connection.execute(delete(holdings).where(this)).rowcount > 0


# ---------------------------------------------------------------- uploads to a bucket


def begin_upload(connection: Connection, name: str, upload: str) -> None:
    """Record an empty upload."""
    connection.execute(insert(uploads).values(id=upload, repository=name, size=0, written_at=time.time()))


def upload_size(connection: Connection, name: str, upload: str) -> int | None:
    """Bytes it has; None when the repository has no such upload."""
    query = select(uploads.c.size).where(uploads.c.id == upload, uploads.c.repository == name)
    return connection.execute(query).scalar()


def upload_parts(connection: Connection, upload: str) -> list[Part]:
    """Its parts in order."""
    query = select(parts.c.start, parts.c.size, parts.c.key, parts.c.digest).where(parts.c.upload == upload)
    return [Part(*row) for row in connection.execute(query.order_by(parts.c.start))]


def add_part(connection: Connection, upload: str, part: Part) -> bool:
    """Record a part at the end; False when the upload is gone or does not end where the part starts any more."""
    this = and_(uploads.c.id == upload, uploads.c.size == part.start)
    grown = update(uploads).where(this).values(size=part.start + part.size, written_at=time.time())
    if connection.execute(grown).rowcount == 0:
        return False
    row = {"start": part.start, "size": part.size, "key": part.key, "digest": part.digest}
    connection.execute(insert(parts).values(upload=upload, **row))
    return True


def drop_upload(connection: Connection, upload: str) -> bool:
    """Forget the upload and its parts; False when another did."""
    connection.execute(delete(parts).where(parts.c.upload == upload))
    return connection.execute(delete(uploads).where(uploads.c.id == upload)).rowcount > 0


def stale_uploads(connection: Connection, before: float) -> list[str]:
    """Uploads nobody wrote to since ``before``."""
    return list(connection.execute(select(uploads.c.id).where(uploads.c.written_at < before)).scalars())


# ---------------------------------------------------------------- manifests


_MANIFEST = select(manifests.c.digest, manifests.c.media_type, manifests.c.payload).join(
    repositories, repositories.c.id == manifests.c.repository_id
)
_BY_DIGEST = _MANIFEST.where(repositories.c.name == bindparam("name"), manifests.c.digest == bindparam("reference"))
_BY_TAG = _MANIFEST.join(
    tags, and_(tags.c.repository_id == manifests.c.repository_id, tags.c.digest == manifests.c.digest)
).where(repositories.c.name == bindparam("name"), tags.c.name == bindparam("reference"))


def find_manifest(connection: Connection, name: str, reference: str) -> StoredManifest | None:
    """The manifest by tag or by digest."""
    query = _BY_DIGEST if ":" in reference else _BY_TAG
    row = connection.execute(query, {"name": name, "reference": reference}).first()
    return StoredManifest(*row) if row else None


def missing(connection: Connection, repository: int, manifest: NewManifest, sparse: bool) -> list[Digest]:
    """What the manifest points to and the repository lacks; ``sparse`` lets an index name absent manifests."""
    absent = manifest.blobs - _present(connection, holdings, repository, manifest.blobs)
    if not sparse:
        absent |= manifest.children - _present(connection, manifests, repository, manifest.children)
    return sorted(absent)


def _present(connection: Connection, table: Table, repository: int, wanted: Iterable[Digest]) -> set[Digest]:
    query = select(table.c.digest).where(table.c.repository_id == repository, table.c.digest.in_(wanted))
    return set(connection.execute(query).scalars())


def put_manifest(connection: Connection, repository: int, manifest: NewManifest, names: Sequence[str]) -> None:
    """Record the manifest, what it points to, and its tags."""
    now = time.time()
    key = {"repository_id": repository}
    row = {
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "payload": manifest.payload,
        "artifact_type": manifest.artifact_type,
        "annotations": manifest.annotations,
        "subject": manifest.subject,
        "pushed_at": now,
    }
    new = _insert_new(connection, manifests).values(**key, **row)
    renewed = {"pushed_at": now, "media_type": manifest.media_type}
    connection.execute(new.on_conflict_do_update(index_elements=["repository_id", "digest"], set_=renewed))
    for child in manifest.blobs | manifest.children:
        link = _insert_new(connection, links).values(**key, parent=manifest.digest, child=child)
        connection.execute(link.on_conflict_do_nothing())
    for name in names:
        tag = _insert_new(connection, tags).values(**key, name=name, digest=manifest.digest, tagged_at=now)
        moved = {"digest": manifest.digest, "tagged_at": now}
        connection.execute(tag.on_conflict_do_update(index_elements=["repository_id", "name"], set_=moved))


def drop_manifest(connection: Connection, repository: int, digest: Digest) -> bool:
    """Remove the manifest, its links and its tags; False when there was none."""
    of_repository: tuple[tuple[Table, ColumnElement[str]], ...] = ((links, links.c.parent), (tags, tags.c.digest))
    for table, column in of_repository:
        connection.execute(delete(table).where(table.c.repository_id == repository, column == digest))
    this = and_(manifests.c.repository_id == repository, manifests.c.digest == digest)
    return connection.execute(delete(manifests).where(this)).rowcount > 0


def referrers(connection: Connection, name: str, subject: Digest, artifact_type: str) -> list[Referrer]:
    """Manifests of the repository about ``subject``, of one artifact type if given."""
    size = func.length(manifests.c.payload)
    query = (
        select(manifests.c.digest, manifests.c.media_type, size, manifests.c.artifact_type, manifests.c.annotations)
        .join(repositories, repositories.c.id == manifests.c.repository_id)
        .where(repositories.c.name == name, manifests.c.subject == subject)
        .order_by(manifests.c.pushed_at, manifests.c.digest)
    )
    if artifact_type:
        query = query.where(manifests.c.artifact_type == artifact_type)
    return [Referrer(*row) for row in connection.execute(query)]


# ---------------------------------------------------------------- tags


def tag_names(connection: Connection, repository: int, last: str, limit: int) -> list[str]:
    """Tags after ``last`` in ASCII order, at most ``limit``."""
    query = select(tags.c.name).where(tags.c.repository_id == repository, tags.c.name > last)
    return list(connection.execute(query.order_by(tags.c.name).limit(limit)).scalars())


def drop_tag(connection: Connection, repository: int, name: str) -> bool:
    """Remove the tag; its manifest stays. False when there was none."""
    this = and_(tags.c.repository_id == repository, tags.c.name == name)
    return connection.execute(delete(tags).where(this)).rowcount > 0


# ---------------------------------------------------------------- garbage


def drop_untagged(connection: Connection, before: float) -> int:
    """Remove manifests pushed before ``before`` that no tag, index or present subject leads to; returns how many."""
    removed = 0
    same = manifests.alias("subjects")
    tagged = exists().where(tags.c.repository_id == manifests.c.repository_id, tags.c.digest == manifests.c.digest)
    linked = exists().where(links.c.repository_id == manifests.c.repository_id, links.c.child == manifests.c.digest)
    about = exists().where(same.c.repository_id == manifests.c.repository_id, same.c.digest == manifests.c.subject)
    query = select(manifests.c.repository_id, manifests.c.digest).where(
        manifests.c.pushed_at < before, ~tagged, ~linked, ~about
    )
    while found := connection.execute(query).all():
        removed += sum(drop_manifest(connection, repository, digest) for repository, digest in found)
    return removed


def drop_idle_holdings(connection: Connection, before: float) -> int:
    """Take blobs from repositories where no manifest points to them and the lease is over."""
    linked = exists().where(links.c.repository_id == holdings.c.repository_id, links.c.child == holdings.c.digest)
    return connection.execute(delete(holdings).where(holdings.c.held_at < before, ~linked)).rowcount


def drop_unheld_blobs(connection: Connection, before: float, limit: int) -> list[tuple[Key, int]]:
    """Forget blobs no repository holds; returns key and size of what is now to be deleted from the store."""
    held = exists().where(holdings.c.digest == blobs.c.digest)
    query = select(blobs.c.digest, blobs.c.key, blobs.c.size).where(blobs.c.stored_at < before, ~held).limit(limit)
    found = connection.execute(query).all()
    connection.execute(delete(blobs).where(blobs.c.digest.in_([digest for digest, _, _ in found])))
    return [(Key(key), size) for _, key, size in found]


def known_keys(connection: Connection, keys: Sequence[Key]) -> set[Key]:
    """Those of ``keys`` that a blob or a part of an upload has."""
    of_blobs, of_parts = (select(table.c.key).where(table.c.key.in_(keys)) for table in (blobs, parts))
    return set(connection.execute(union(of_blobs, of_parts)).scalars())


def alive(connection: Connection) -> None:
    """Nothing but a question that the database can answer only while it works."""
    connection.execute(select(repositories.c.id).limit(1)).first()
