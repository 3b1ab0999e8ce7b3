"""The first tables: repositories, blobs, holdings, manifests, links, tags."""

from alembic import op

from sampan.registry.server.tables import METADATA

revision = "0001"
down_revision = None

_TABLES = ("repositories", "blobs", "holdings", "manifests", "links", "tags")


def upgrade() -> None:
    """Make every table there was at first."""
    METADATA.create_all(op.get_bind(), tables=[METADATA.tables[name] for name in _TABLES])


def downgrade() -> None:
    """Remove them all."""
    METADATA.drop_all(op.get_bind(), tables=[METADATA.tables[name] for name in _TABLES])
