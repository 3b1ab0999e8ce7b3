"""The first tables: repositories, blobs, holdings, manifests, links, tags."""

from alembic import op

from sampan.registry.server.tables import METADATA

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table of this version."""
    METADATA.create_all(op.get_bind())


def downgrade() -> None:
    """Remove them all."""
    METADATA.drop_all(op.get_bind())
