"""The registry's tables.

    repositories ──< tags ──> manifests ──< links >── blobs or manifests of the same repository
         │                        │
         └──< holdings >── blobs  └── subject (a digest; its manifest may be absent)

A blob's bytes are in the storage driver under ``key``; a manifest's are here, because it is small and must appear
together with its links and tags. ``holdings`` says which repository may read which blob; ``held_at`` is its lease:
it is renewed whenever a client is told that the blob is there, and spared by the collector until the grace is over.
``uploads`` and their ``parts`` are those of a bucket (see ``uploads.bucket``).
Times are seconds since 1970. Migrations are under ``migrations``; all of them together make exactly these.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()

_ID = BigInteger().with_variant(Integer, "sqlite")
_DIGEST = String(140)


def _repository() -> Column[int]:
    return Column(
        "repository_id", _ID, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True, nullable=False
    )


repositories = Table(
    "repositories",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("stars", Integer, nullable=False, server_default="0"),
    Column("official", Boolean, nullable=False, server_default="0"),
    Column("created_at", Float, nullable=False),
)

blobs = Table(
    "blobs",
    METADATA,
    Column("digest", _DIGEST, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("key", String(255), nullable=False, unique=True),
    Column("stored_at", Float, nullable=False),
)

holdings = Table(
    "holdings",
    METADATA,
    _repository(),
    Column("digest", _DIGEST, ForeignKey("blobs.digest"), primary_key=True),
    Column("held_at", Float, nullable=False),
    Index("holdings_by_digest", "digest"),
)

manifests = Table(
    "manifests",
    METADATA,
    _repository(),
    Column("digest", _DIGEST, primary_key=True),
    Column("media_type", String(255), nullable=False),
    Column("artifact_type", String(255), nullable=False, server_default=""),
    Column("subject", _DIGEST, nullable=True),
    Column("annotations", Text, nullable=False, server_default=""),
    Column("payload", LargeBinary, nullable=False),
    Column("pushed_at", Float, nullable=False),
    Index("manifests_by_subject", "repository_id", "subject"),
)

links = Table(
    "links",
    METADATA,
    _repository(),
    Column("parent", _DIGEST, primary_key=True),
    Column("child", _DIGEST, primary_key=True),
    Index("links_by_child", "repository_id", "child"),
)

uploads = Table(
    "uploads",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("repository", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("written_at", Float, nullable=False),
)

parts = Table(
    "parts",
    METADATA,
    Column("upload", String(36), ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("key", String(255), nullable=False),
    Column("digest", _DIGEST, nullable=False),
    Index("parts_by_key", "key"),
)

tags = Table(
    "tags",
    METADATA,
    _repository(),
    Column("name", String(128), primary_key=True),
    Column("digest", _DIGEST, nullable=False),
    Column("tagged_at", Float, nullable=False),
    Index("tags_by_digest", "repository_id", "digest"),
)
