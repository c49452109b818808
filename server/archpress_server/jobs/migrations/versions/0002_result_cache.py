"""Jobs that take the result of an equal one; an index for the counts by principal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and the indexes."""
    op.add_column("jobs", sa.Column("result_key", sa.String))
    cached = sa.Column("cached_result", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("jobs", cached)
    op.create_index("jobs_result", "jobs", ["result_key"])
    op.create_index("jobs_principal", "jobs", ["state", "principal"])
