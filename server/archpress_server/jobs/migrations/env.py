"""What Alembic runs: the revisions, on the connection that it is given."""

from __future__ import annotations

from alembic import context

from archpress_server.jobs.schema import metadata

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=metadata,
    version_table=attributes["version_table"],
)
context.run_migrations()
