"""Alembic's environment: run the migrations on the connection ``database.Database`` hands over."""

from alembic import context

from sampan.registry.server.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
