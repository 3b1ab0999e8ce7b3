"""Uploads to a bucket and their parts."""

from alembic import op

from sampan.registry.server.tables import parts, uploads

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the two tables."""
    for table in (uploads, parts):
        table.create(op.get_bind())


def downgrade() -> None:
    """Remove them."""
    for table in (parts, uploads):
        table.drop(op.get_bind())
